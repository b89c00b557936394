package node

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/car"
	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/node/api"
)

// Phases of carrying a content in a file.
const (
	carryWrites = "write"
	carryReads  = "import"
)

// Export implements api.Node.
func (l local) Export(ctx context.Context, what string, r api.ExportRequest, report func(api.Progress)) (api.ExportResult, error) {
	c, err := l.held(what)
	if err != nil {
		return api.ExportResult{}, err
	}
	defer c.Hold()()
	if !c.Complete() {
		return api.ExportResult{}, api.Errorf(api.NotFound, "Get the rest first: p2pnode get "+c.ID().String()+" -o PATH", "export %s: not all of it is here", what)
	}
	known := l.stillValid(l.catalogue.of(c.ID()))
	if len(known) == 0 {
		return api.ExportResult{}, api.Errorf(api.NotPermitted, "Ask the publisher for a release: p2pnode add --name N on the publisher's node", "export %s: %w", what, errNoRelease)
	}
	known = known[:min(len(known), car.MaxReleases)]
	start := time.Now()
	written, err := writeCAR(ctx, c, known, r, start, report)
	if err != nil {
		return api.ExportResult{}, explainExport(r.Output, err)
	}
	return api.ExportResult{
		Content: c.ID().String(), Name: known[0].Name, Version: known[0].Version, Output: r.Output,
		Size: c.Manifest().Size(), Written: written, Releases: len(known), Elapsed: api.Seconds(time.Since(start)),
	}, nil
}

// writeCAR writes the file beside its place, and moves it there when it is whole
// and on the disk. It returns its size.
func writeCAR(ctx context.Context, c *store.Content, known []signedRelease, r api.ExportRequest, start time.Time, report func(api.Progress)) (size int64, err error) {
	if info, err := os.Lstat(r.Output); err == nil && (!r.Overwrite || !info.Mode().IsRegular()) {
		return 0, fmt.Errorf("%s: %w", r.Output, fs.ErrExist)
	}
	f, err := os.CreateTemp(filepath.Dir(r.Output), "."+filepath.Base(r.Output)+"-*")
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreClosed(f.Close()), os.Remove(f.Name()))
		}
	}()
	envelopes := make([][]byte, len(known))
	for i, k := range known {
		envelopes[i] = k.envelope
	}
	tell := reader(carryWrites, start, report)
	if err := car.Write(ctx, f, c, envelopes, func(done int64) { tell(done, c.Manifest().Size()) }); err != nil {
		return 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if err := errors.Join(f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return 0, err
	}
	return info.Size(), os.Rename(f.Name(), r.Output)
}

func ignoreClosed(err error) error {
	if errors.Is(err, fs.ErrClosed) {
		return nil
	}
	return err
}

func explainExport(output string, err error) error {
	switch {
	case errors.Is(err, content.ErrCorrupt):
		return api.Errorf(api.Corrupt, "Find what is damaged: p2pnode content verify ID, then get it again", "%w", err)
	case errors.Is(err, fs.ErrExist):
		return api.Errorf(api.Failed, "Give another --output, or --overwrite to replace it", "%w", err)
	case errors.Is(err, fs.ErrNotExist):
		return api.Errorf(api.Failed, "Make the folder "+filepath.Dir(output)+" first", "%w", err)
	}
	return err
}

// Import implements api.Node. The file may come from anybody: nothing is stored
// before a publisher's signature was found, no block that doesn't match its hash,
// and nothing stays of a file that turns out to be wrong. If the node ends
// meanwhile, the next import goes on from what is verified.
func (l local) Import(ctx context.Context, r api.ImportRequest, report func(api.Progress)) (api.ImportResult, error) {
	start := time.Now()
	f, err := os.Open(r.Path)
	if err != nil {
		return api.ImportResult{}, explainImport(err)
	}
	defer f.Close()
	b, err := car.Open(bufio.NewReaderSize(f, 1<<20))
	if err != nil {
		return api.ImportResult{}, explainImport(fmt.Errorf("%s: %w", r.Path, err))
	}
	known := l.releases(b.Releases, func(k signedRelease) bool { return k.Content == b.ID })
	if len(known) == 0 { // a file of the content alone, whose release is known here
		known = l.stillValid(l.catalogue.of(b.ID))
	}
	if len(known) == 0 {
		return api.ImportResult{}, explainImport(fmt.Errorf("%s: %w", r.Path, errNoRelease))
	}
	enc, err := b.Manifest()
	if err != nil {
		return api.ImportResult{}, explainImport(fmt.Errorf("%s: %w", r.Path, err))
	}
	c, here, err := l.take(ctx, b, enc, known, reader(carryReads, start, report))
	if err != nil {
		return api.ImportResult{}, explainImport(fmt.Errorf("%s: %w", r.Path, err))
	}
	for _, k := range known {
		l.catalogue.add(k)
	}
	l.exchange.Arrived()
	l.announceWhole(c)
	m, newest := c.Manifest(), known[0]
	for _, k := range known {
		if k.Sequence > newest.Sequence {
			newest = k
		}
	}
	return api.ImportResult{
		Content: b.ID.String(), Name: newest.Name, Version: newest.Version, Size: m.Size(), Here: here, Files: countFiles(m),
		Releases: len(known), Signer: cmp.Or(newest.signer.Name, newest.signer.Peer.String()), Elapsed: api.Seconds(time.Since(start)),
	}, nil
}

// take puts what a file holds into the store; here is what was there before. What
// was begun for a file that is wrong is removed, unless a get brings it too.
func (n *Node) take(ctx context.Context, b *car.Bundle, enc content.Encoded, known []signedRelease, tell func(done, total int64)) (c *store.Content, here int64, err error) {
	_, held := n.store.Get(b.ID)
	c, room, err := n.store.Receive(enc)
	if err != nil {
		return nil, 0, err
	}
	defer room.Release()
	room.Reused() // all of it is in the file
	defer func() {
		if err != nil && !held && !n.fetches.brings(b.ID) {
			err = errors.Join(err, n.store.Remove(b.ID))
		}
	}()
	here = c.Progress()
	for _, k := range known {
		if err := c.AddRelease(k.envelope); err != nil {
			return nil, 0, fmt.Errorf("keep release of %s: %w", k.Name, err)
		}
	}
	if err := b.Copy(ctx, c, func(done int64) { tell(done, c.Manifest().Size()) }); err != nil {
		return nil, 0, err
	}
	return c, here, c.Flush(ctx)
}

// brings reports whether a content is being fetched.
func (t *fetchTable) brings(id content.ID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.byID[id]
	return ok
}

func explainImport(err error) error {
	switch {
	case errors.Is(err, errNoRelease):
		return api.Errorf(api.NotPermitted, "Ask for a file of: p2pnode content export, on a node of this enterprise", "%w", err)
	case errors.Is(err, content.ErrCorrupt), errors.Is(err, content.ErrFormat), errors.Is(err, content.ErrPath):
		return api.Errorf(api.Corrupt, "Copy the file again from where it was made: p2pnode content export", "%w", err)
	case errors.Is(err, content.ErrNoSpace):
		return api.Errorf(api.NoSpace, makeRoom, "%w", err)
	case errors.Is(err, fs.ErrNotExist):
		return api.Errorf(api.Usage, "", "%w", err)
	}
	return err
}
