package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/node/origin"
)

// How an address becomes a content
//
// Its server is asked what it has (origin.Probe): a single file, of a known size,
// named as the server or the address says. The bytes are streamed, cut and hashed
// once, as those of a file would be. Usually they go to a stage and are read back
// like any publication; with Remote nothing is kept but the manifest and the
// block lists, which is what a fetch needs to take the blocks from the server
// itself. There is nothing to read back then: what was hashed is what the server
// gave, and a server that gives something else later is refused block by block.

// probeOrigin finds out what is at the address to add; nil if there are files to add.
func (n *Node) probeOrigin(ctx context.Context, r api.AddRequest) (*origin.Resource, error) {
	addresses := 0
	for _, p := range r.Paths {
		if api.IsAddress(p) {
			addresses++
		}
	}
	switch {
	case addresses == 0 && r.Remote:
		return nil, api.Errorf(api.Usage, "p2pnode add URL --remote", "only what is on an HTTP server can stay there")
	case addresses == 0:
		return nil, nil
	case len(r.Paths) > 1:
		return nil, api.Errorf(api.Usage, "p2pnode add URL, one at a time", "an address is a content of its own")
	case r.Unpack || r.Reference:
		return nil, api.Errorf(api.Usage, "Download it, and add the file", "what is on a server can't be unpacked, nor served in place")
	}
	if err := content.CheckURL(r.Paths[0]); err != nil {
		return nil, api.Errorf(api.Usage, "Give an address that everybody may know: a manifest goes to every endpoint", "%w", err)
	}
	res, err := n.web.Probe(ctx, r.Paths[0])
	switch {
	case err != nil:
		return nil, explainOrigin(err)
	case r.Remote && !res.Ranges:
		return nil, api.Errorf(api.Failed, "Keep a copy here: add it without --remote", "%s can't stay on its server: %w", res.Name, origin.ErrNoRange)
	case r.Remote && res.Validator == "":
		return nil, api.Errorf(api.Failed, "If it has just been put there, say it again. Else keep a copy here: add it without --remote", "%s can't stay on its server: that gives neither a strong ETag nor a Last-Modified a second old, so nobody could tell when it changes", res.Name)
	}
	return &res, nil
}

// explainOrigin says in the API's words why a server's answer is of no use.
func explainOrigin(err error) error {
	switch {
	case errors.Is(err, content.ErrNotFound):
		return api.Errorf(api.NotFound, "Check the address", "%w", err)
	case errors.Is(err, origin.ErrNotAllowed):
		return api.Errorf(api.NotPermitted, "Have the server listed in this node's configuration: origin.allow", "%w", err)
	case errors.Is(err, content.ErrChanged):
		return api.Errorf(api.Failed, "Add it again when the server has its final version", "%w", err)
	}
	return err
}

// publishOrigin makes a content of what is at an address and puts it into the
// store; fresh says that it wasn't there, not even in part.
func (n *Node) publishOrigin(ctx context.Context, r api.AddRequest, from *origin.Resource, kind string, start time.Time, report func(api.Progress)) (c *store.Content, made *published, fresh bool, err error) {
	opt := publishOptions{
		Type: kind, Labels: r.Labels, Workers: n.cfg.Workers,
		Known:    n.store.Known,
		Pages:    max(0, n.cfg.pageBudget()),
		Progress: func(phase string, done, total int64) { reader(phase, start, report)(done, total) },
	}
	open := func(ctx context.Context) (io.ReadCloser, error) { return n.web.Open(ctx, *from, 0) }
	if r.Remote {
		if made, err = publishRemote(ctx, nil, from, open, opt); err != nil {
			return nil, nil, false, explainOrigin(err)
		}
		_, held := n.store.Get(made.Encoded.ID)
		if c, err = n.keepLists(ctx, made); err != nil && c != nil && !held {
			err = errors.Join(err, n.store.Remove(c.ID()))
		}
		return c, made, !held, err
	}

	room, err := n.store.Reserve(n.store.Cost([]content.File{{Size: from.Size}}))
	if err != nil {
		return nil, nil, false, err
	}
	defer room.Release()
	tell := opt.Progress
	opt.Progress = func(phase string, done, total int64) {
		if phase == publishReads {
			room.Wrote(done)
		}
		tell(phase, done, total)
	}
	stage, err := n.store.Stage()
	if err != nil {
		return nil, nil, false, err
	}
	defer stage.Abort() // nothing, once committed
	if made, err = publishRemote(ctx, stage, from, open, opt); err != nil {
		return nil, nil, false, explainOrigin(err)
	}
	_, held := n.store.Get(made.Encoded.ID)
	if c, err = stage.Commit(made.Encoded, made.Blocks); err != nil {
		return nil, nil, false, err
	}
	return c, made, !held, nil
}

// keepLists puts a manifest and its block lists into the store, without a block.
// With an error, too, it returns the content if it was made.
func (n *Node) keepLists(ctx context.Context, made *published) (*store.Content, error) {
	c, err := n.store.Begin(made.Encoded)
	if err != nil {
		return nil, err
	}
	for i, blocks := range made.Blocks {
		node, err := content.EncodeBlocks(blocks)
		if err == nil {
			err = c.SetBlocks(i, node)
		}
		if err != nil {
			return c, fmt.Errorf("keep the lists of %s: %w", c.ID(), err)
		}
	}
	return c, c.Flush(ctx)
}

// publishRemote makes a content of the single file that open gives, and copies it
// into stage, unless that is nil. The manifest names the address, if its server
// gives parts. Errors are those of publish, and of node/origin.
func publishRemote(ctx context.Context, stage publishStage, from *origin.Resource, open func(context.Context) (io.ReadCloser, error), opt publishOptions) (*published, error) {
	file := content.File{Path: from.Name, Size: from.Size, Mode: 0o644, ModTime: from.Modified.UTC()}
	if from.Modified.IsZero() {
		file.ModTime = time.Unix(0, 0).UTC() // the same file is to be the same content tomorrow
	}
	m := &content.Manifest{Type: opt.Type, Labels: opt.Labels, Files: []content.File{file}}
	if from.Ranges {
		m.Origins = []content.Origin{{URL: from.URL, File: 0}}
	}
	if err := checkEarly(m); err != nil {
		return nil, err
	}
	if stage == nil {
		opt.Pages = 0 // nothing is written, nor read back
	}
	p := newPublisher(stage, stage != nil, []publishEntry{{File: file}}, opt)
	p.total = from.Size
	if err := p.readFrom(ctx, open); err != nil {
		return nil, fmt.Errorf("add %s: %w", from.Name, err)
	}
	m.Chunks = p.chunks
	enc, err := m.Encode()
	if err != nil {
		return nil, err
	}
	if stage != nil {
		if err := p.verify(ctx, m); err != nil {
			return nil, err
		}
	}
	made := &published{Encoded: enc, Manifest: m, Blocks: p.blocks, Files: 1, New: m.Size()}
	if opt.Known != nil {
		known, err := opt.Known(ctx, m, p.blocks)
		if err != nil {
			return nil, err
		}
		made.New -= known
	}
	return made, nil
}

// readFrom is read for a single file that isn't one of this machine.
func (p *publisher) readFrom(ctx context.Context, open func(context.Context) (io.ReadCloser, error)) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.feedFrom(ctx, open) })
	for range p.workers {
		group.Go(func() error { return p.work(ctx) })
	}
	group.Go(func() error { return p.gather(ctx) })
	return group.Wait()
}

func (p *publisher) feedFrom(ctx context.Context, open func(context.Context) (io.ReadCloser, error)) error {
	e := &p.entries[0]
	from, err := open(ctx)
	if err != nil {
		return err
	}
	defer from.Close()
	if p.copies {
		err = p.copyFrom(ctx, e, from)
	} else {
		err = p.pump(ctx, e, from, nil)
	}
	if err != nil {
		return err
	}
	if _, err := from.Read(make([]byte, 1)); err != io.EOF { // what comes after the last byte
		return err
	}
	close(p.order)
	close(p.jobs)
	return nil
}

func (p *publisher) copyFrom(ctx context.Context, e *publishEntry, from io.Reader) error {
	to, err := p.stage.Create(e.Path)
	if err != nil {
		return stageError(e.Path, err)
	}
	group, ctx := errgroup.WithContext(ctx)
	cut := make(chan *publishPiece, 2)
	group.Go(func() error {
		defer close(cut)
		return p.pump(ctx, e, from, cut)
	})
	group.Go(func() error { return p.write(ctx, e, to, cut) })
	err = group.Wait()
	return errors.Join(err, stageError(e.Path, to.Close()))
}
