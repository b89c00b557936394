package node

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/car"
	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/content/store/disk"
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
	switch info, err := os.Lstat(r.Output); {
	case err == nil && info.IsDir():
		return 0, fmt.Errorf("%s: %w", r.Output, errFolder)
	case err == nil && (!r.Overwrite || !info.Mode().IsRegular()):
		return 0, fmt.Errorf("%s: %w", r.Output, fs.ErrExist)
	}
	dir := filepath.Dir(r.Output)
	f, err := os.OpenFile(filepath.Join(dir, ".p2pnode-"+rand.Text()), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return 0, &fs.PathError{Op: "write into", Path: dir, Err: p.Err} // nobody knows the file's name
	}
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreClosed(f.Close()), disk.RemoveIfThere(disk.OS{}, f.Name()))
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
	if err := f.Sync(); err != nil {
		return 0, err
	}
	disk.Forget(f, 0, info.Size())
	if err := f.Close(); err != nil {
		return 0, err
	}
	if err := moveCAR(f.Name(), r.Output, r.Overwrite); err != nil {
		return 0, err
	}
	if err := (disk.OS{}).SyncFolder(dir); err != nil && !disk.Foreign(err) {
		return 0, err
	}
	return info.Size(), nil
}

// moveCAR gives a file its name. Unless it may overwrite, it takes no other's: two
// may export to one place, or somebody else may have put a file there meanwhile.
func moveCAR(from, to string, overwrite bool) error {
	if overwrite {
		return disk.OS{}.Rename(from, to)
	}
	err := os.Link(from, to)
	if err == nil {
		return os.Remove(from)
	}
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: %w", to, fs.ErrExist)
	}
	// A file has one name on a USB stick's file system: this one claims it.
	claim, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := claim.Close(); err != nil {
		return err
	}
	if err := (disk.OS{}).Rename(from, to); err != nil {
		return errors.Join(err, os.Remove(to))
	}
	return nil
}
func ignoreClosed(err error) error {
	if errors.Is(err, fs.ErrClosed) {
		return nil
	}
	return err
}

var (
	errFolder = errors.New("it is a folder")
	errNoCAR  = errors.New("it is no file")
)

func explainExport(output string, err error) error {
	dir := filepath.Dir(output)
	info, missing := os.Stat(dir)
	switch {
	case errors.Is(err, content.ErrCorrupt):
		return api.Errorf(api.Corrupt, "Find what is damaged: p2pnode content verify ID, then get it again", "%w", err)
	case errors.Is(err, errFolder):
		return api.Errorf(api.Usage, "Name the file: -o "+filepath.Join(output, "FILE.car"), "%w", err)
	case errors.Is(err, fs.ErrExist):
		return api.Errorf(api.Failed, "Give another --output, or --overwrite to replace it", "%w", err)
	case errors.Is(err, fs.ErrNotExist) && missing != nil:
		return api.Errorf(api.Failed, "Make the folder "+dir+" first", "%w", err)
	case missing == nil && !info.IsDir():
		return api.Errorf(api.Failed, "Give another --output", "%s is no folder", dir)
	case disk.Full(err):
		return api.Errorf(api.NoSpace, "Make room there, or give another --output", "%w", err)
	}
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return api.Errorf(api.Failed, "Give an --output in a folder that the node can write to: it is the node that writes, as the user that it runs as", "%w", err)
	}
	return err
}

// Import implements api.Node. The file may come from anybody: nothing is stored
// before a publisher's signature was found, no block that doesn't match its hash,
// and nothing stays of a file that turns out to be wrong. If the node ends
// meanwhile, the next import goes on from what is verified.
func (l local) Import(ctx context.Context, r api.ImportRequest, report func(api.Progress)) (api.ImportResult, error) {
	start := time.Now()
	f, err := openCAR(r.Path)
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
	leave, err := l.imports.enter(ctx, b.ID)
	if err != nil {
		return api.ImportResult{}, err
	}
	defer leave()
	c, here, err := l.take(ctx, b, enc, known, reader(carryReads, start, report))
	if err != nil {
		return api.ImportResult{}, explainImport(fmt.Errorf("%s: %w", r.Path, err))
	}
	for _, k := range known {
		l.catalogue.add(k)
	}
	l.exchange.Arrived()
	l.announceContent(c)
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

// imports has the contents that are being imported: each once at a time, since an
// import whose file is wrong takes back what it brought.
type imports struct {
	mu   sync.Mutex
	byID map[content.ID]chan struct{} // closed when it is over
}

func newImports() imports { return imports{byID: make(map[content.ID]chan struct{})} }

// enter waits until nobody else imports a content.
func (t *imports) enter(ctx context.Context, id content.ID) (leave func(), err error) {
	for {
		t.mu.Lock()
		other, busy := t.byID[id]
		if !busy {
			mine := make(chan struct{})
			t.byID[id] = mine
			t.mu.Unlock()
			return func() {
				t.mu.Lock()
				delete(t.byID, id)
				t.mu.Unlock()
				close(mine)
			}, nil
		}
		t.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// openCAR opens a file to import. It doesn't wait for a pipe's writer, nor read
// what has no end.
func openCAR(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|openAtOnce, 0)
	if err != nil {
		return nil, err
	}
	switch info, err := f.Stat(); {
	case err != nil:
		return nil, errors.Join(err, f.Close())
	case !info.Mode().IsRegular():
		return nil, errors.Join(fmt.Errorf("%s: %w", path, errNoCAR), f.Close())
	}
	disk.Expect(f)
	return f, nil
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
	case errors.Is(err, errNoCAR):
		return api.Errorf(api.Usage, "Give a file on a disk that p2pnode content export wrote: pipes and folders can't be imported", "%w", err)
	case errors.Is(err, errNoRelease):
		return api.Errorf(api.NotPermitted, "Ask for a file of: p2pnode content export, on a node of this enterprise", "%w", err)
	case errors.Is(err, content.ErrCorrupt), errors.Is(err, content.ErrFormat), errors.Is(err, content.ErrPath):
		return api.Errorf(api.Corrupt, "Copy the file again from where it was made: p2pnode content export", "%w", err)
	case errors.Is(err, content.ErrNoSpace):
		return api.Errorf(api.NoSpace, makeRoom, "%w", err)
	case errors.Is(err, fs.ErrNotExist):
		return api.Errorf(api.Usage, "Give a file of the machine that the node runs on", "%w", err)
	}
	return err
}
