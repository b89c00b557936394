package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/discovery"
	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/node/flow"
	"github.com/p2pnode/p2pnode/node/trust"
)

// reportEvery is how often a get tells how it stands.
const reportEvery = 200 * time.Millisecond

// A delivery is one person's get: it finds, fetches, and writes a copy.
type delivery struct {
	node     *Node
	ref      ref
	start    time.Time
	patience time.Duration // for a first source
	patient  bool          // it was told how long
	seeds    []string
	output   outputCheck
	move     bool
	drafts   *drafting // nil if the copy is to be a link
	leave    func()    // ends the use of the content; nil before it is known which

	mu      sync.Mutex
	release signedRelease
	id      content.ID
	fetch   *fetch
	before  brought // by fetches before that one
	running bool    // a fetch was under way: it isn't given up for the disk any more
	tried   func() []string
	here    int64 // bytes held before
	written int64 // of the user's copy
	total   int64 // of the content, once it is written

	others  bool          // others have what is to be moved open, and that is waited for
	disk    error         // what the store's disk refuses, while that is waited for
	stuckAt int64         // bytes that were here when it was waited for last
	nextTry time.Duration // until the disk is tried again
}

// brought is what fetches brought.
type brought struct {
	local  int64 // from this disk
	left   int64 // of seeds, that weren't looked at
	from   api.ByLink
	givers api.ByLink // who gave that
	wasted api.Wasted
}

// brought returns what a fetch brought so far.
func (f *fetch) brought() brought {
	b := brought{local: f.localBytes()}
	if f.isSettled() {
		b.left = f.preparation.left.Load()
	}
	if fs, ok := f.flowStatus(); ok {
		b.from, _, b.givers, b.wasted = byLink(fs)
	}
	return b
}

func (b brought) plus(o brought) brought {
	b.local += o.local
	b.left = max(b.left, o.left) // of the same seeds
	b.from.LAN += o.from.LAN
	b.from.WAN += o.from.WAN
	b.from.Origin += o.from.Origin
	b.givers.LAN = max(b.givers.LAN, o.givers.LAN) // the same ones, for the most part
	b.givers.WAN = max(b.givers.WAN, o.givers.WAN)
	b.givers.Origin = max(b.givers.Origin, o.givers.Origin)
	b.wasted = b.wasted.Plus(o.wasted)
	return b
}

// Get implements api.Node.
func (l local) Get(ctx context.Context, r api.GetRequest, report func(api.FlowStatus)) (api.GetResult, error) {
	what, err := parseRef(r.Ref)
	if err != nil {
		return api.GetResult{}, api.Errorf(api.Usage, "See what is here: p2pnode content ls", "%w", err)
	}
	if r.Move && r.Link {
		return api.GetResult{}, api.Errorf(api.Usage, "Choose one", "a copy can't be moved and linked")
	}
	if _, err := os.Stat(filepath.Dir(r.Output)); errors.Is(err, fs.ErrNotExist) { // rather than once all is here
		return api.GetResult{}, (&delivery{}).explainExport(r.Output, err)
	}
	d := &delivery{node: l.Node, ref: what, start: time.Now(), patience: l.cfg.FirstSource, seeds: slices.Concat(r.Seeds, l.cfg.Seeds), move: r.Move, output: outputCheck{r.Output, r.Overwrite}, leave: func() {}}
	defer func() { d.leave() }()
	if !r.Move && !r.Link {
		d.drafts = newDrafting(ctx, r.Output)
		defer func() { d.drafts.take().Discard() }()
	}
	if report != nil {
		stop := d.reports(report)
		defer stop()
	}
	if r.Timeout > 0 {
		var cancel context.CancelFunc
		d.patience, d.patient = time.Duration(r.Timeout), true
		ctx, cancel = context.WithTimeout(ctx, d.patience)
		defer cancel()
	}
	defer l.gets.add(d)()
	c, output, err := d.deliver(ctx, r)
	if err != nil {
		return api.GetResult{}, err
	}
	res := d.result(c, output)
	if r.Move {
		if _, err := l.remove(c); err != nil {
			return api.GetResult{}, fmt.Errorf("%s is there, but this node still has it too: %w", output, err)
		}
		res.Moved = true
	}
	return res, nil
}

// exports bounds how often a copy is begun anew because what was here isn't any
// more. That the disk failed doesn't count: it is waited for.
const exports = 4

// deliver brings the content here and writes the copy.
func (d *delivery) deliver(ctx context.Context, r api.GetRequest) (c *store.Content, output string, err error) {
	for try := 1; ; try++ {
		c, err = d.bring(ctx)
		if errors.Is(err, fs.ErrExist) {
			return nil, "", d.explainExport(r.Output, err)
		}
		if err != nil {
			return nil, "", d.explain(err)
		}
		if r.Move {
			if err := d.alone(ctx, c); err != nil {
				return nil, "", d.explain(err)
			}
		}
		output = outputPath(c.Manifest(), r.Output)
		options := store.ExportOptions{Overwrite: r.Overwrite, Durable: r.Move, Draft: d.drafts.take(), Progress: d.wrote}
		switch {
		case r.Move:
			options.Link = store.MayLink
		case r.Link:
			options.Link = store.MustLink
		}
		err = c.Export(ctx, output, options)
		if err == nil {
			return c, output, nil
		}
		d.wrote(0, 0)
		switch {
		case ctx.Err() != nil:
			return nil, "", d.explain(ctx.Err())
		case c.Failed() && ofDisk(err):
			try--
			if err := d.awaitDisk(ctx, err); err != nil {
				return nil, "", d.explain(err)
			}
		case try == exports || !d.isLost(c, err):
			return nil, "", d.explainExport(output, err)
		}
	}
}

// alone waits until nobody else has the content open that is to be moved.
func (d *delivery) alone(ctx context.Context, c *store.Content) error {
	pinned := func() error { // what is published here, too: nobody else may have it
		if !c.Pinned() {
			return nil
		}
		return api.Errorf(api.Usage, "Leave out --move, or unpin it first: p2pnode content unpin "+c.ID().String(), "%s is pinned: this node is to keep it", d.ref)
	}
	if err := pinned(); err != nil {
		return err
	}
	waits := func(on bool) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.others = on
	}
	waits(true)
	if err := d.node.uses.alone(ctx, c.ID()); err != nil {
		return err
	}
	waits(false)
	return pinned()
}

// use notes that the content is used, by this delivery.
func (d *delivery) use(ctx context.Context, id content.ID) error {
	if !d.move {
		leave, err := d.node.uses.enter(ctx, id)
		if err == nil {
			d.leave = leave
		}
		return err
	}
	leave, ok := d.node.uses.move(id)
	if !ok {
		return api.Errorf(api.Busy, "Leave out --move, or run it again when that one is done", "another get --move of %s is under way, and one only can have it", d.ref)
	}
	d.leave = leave
	return nil
}

// isLost reports whether an export failed because some of the content isn't here
// any more: it went bad, was evicted since it came, or the disk lost it.
func (d *delivery) isLost(c *store.Content, err error) bool {
	now, ok := d.node.store.Get(c.ID())
	return errors.Is(err, content.ErrCorrupt) || !ok || now != c || !c.Complete()
}

// bring makes the content whole in the store.
func (d *delivery) bring(ctx context.Context) (*store.Content, error) {
	id, known, err := d.identify(ctx)
	if err != nil {
		return nil, err
	}
	if d.id == (content.ID{}) {
		if err := d.use(ctx, id); err != nil {
			return nil, err
		}
	}
	d.mu.Lock()
	d.id = id
	d.mu.Unlock()
	if c, ok := d.node.store.Get(id); ok && d.fetch == nil {
		d.mu.Lock()
		d.here = c.Progress()
		d.mu.Unlock()
	}
	for {
		c, err := d.node.fetch(ctx, wish{id: id, releases: known, patience: d.patience, seeds: d.seeds, output: &d.output}, d.follow)
		if err == nil || !ofDisk(err) || !d.wasRunning() {
			return c, err
		}
		if err := d.awaitDisk(ctx, err); err != nil {
			return nil, err
		}
		known = d.node.stillValid(d.node.catalogue.of(id)) // the release may have come with the manifest
	}
}

// follow is told the fetch that brings the content, and when it is another one.
func (d *delivery) follow(f *fetch) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fetch != nil && d.fetch != f {
		d.before = d.before.plus(d.fetch.brought())
		d.running = d.running || d.fetch.roomy.Load()
	}
	d.fetch, d.tried = f, f.scout.Tried
	d.drafts.follow(f)
}

// wasRunning reports whether a fetch for this get had a manifest and room.
func (d *delivery) wasRunning() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.running || d.fetch != nil && d.fetch.roomy.Load()
}

func (f *fetch) isSettled() bool {
	if f == nil {
		return false
	}
	select {
	case <-f.settled:
		return true
	default:
		return false
	}
}

// identify returns which content is meant, and the releases that say so.
func (d *delivery) identify(ctx context.Context) (content.ID, []signedRelease, error) {
	if d.ref.name == "" {
		known := d.node.stillValid(d.node.catalogue.of(d.ref.id))
		if len(known) > 0 {
			d.named(known[0])
		}
		return d.ref.id, known, nil
	}
	find, cancel := context.WithTimeout(ctx, d.patience)
	defer cancel()
	r, err := d.node.resolve(find, d.ref, d.patient, func(tried func() []string) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.tried = tried
	})
	if err != nil {
		if _, other := errors.AsType[*versionError](err); !other && errors.Is(err, content.ErrNotFound) {
			err = &unfoundError{what: d.ref.String(), after: time.Since(d.start), tried: d.attempts()}
		}
		return content.ID{}, nil, err
	}
	d.named(r)
	return r.Content, []signedRelease{r}, nil
}

func (d *delivery) named(r signedRelease) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.release = r
}

func (d *delivery) wrote(done, total int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.written, d.total = done, total
}

func (d *delivery) attempts() []string {
	d.mu.Lock()
	tried := d.tried
	d.mu.Unlock()
	if tried == nil {
		return nil
	}
	return tried()
}

// reports tells status until stop is called.
func (d *delivery) reports(report func(api.FlowStatus)) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(reportEvery)
		defer tick.Stop()
		for {
			report(d.status())
			select {
			case <-quit:
				return
			case <-tick.C:
			}
		}
	}()
	return func() { close(quit); <-done }
}

// flowStatus returns the flow's status if there is one by now.
func (f *fetch) flowStatus() (flow.Status, bool) {
	if f == nil {
		return flow.Status{}, false
	}
	select {
	case <-f.begun:
		st := f.flow.Status()
		if early := f.preparation.early; early != nil { // it brought some of what was there
			for i, s := range early.Status().Shares {
				st.Resumed -= s.Verified
				st.Shares[i].Verified += s.Verified
				st.Shares[i].Givers = max(st.Shares[i].Givers, s.Givers)
				st.Shares[i].Duplicate += s.Duplicate
				st.Shares[i].Corrupt += s.Corrupt
				st.Shares[i].Unwanted += s.Unwanted
			}
		}
		return st, true
	default:
		return flow.Status{}, false
	}
}

func (d *delivery) status() api.FlowStatus {
	d.mu.Lock()
	f := d.fetch
	st := api.FlowStatus{
		Name: d.release.Name, Version: d.release.Version, Phase: api.Finding,
		Elapsed: api.Seconds(time.Since(d.start)),
	}
	if d.id != (content.ID{}) {
		st.Content = d.id.String()
	}
	id, written, total, before, others, disk := d.id, d.written, d.total, d.before, d.others, d.disk
	d.mu.Unlock()
	sum := before.plus(f.brought())
	st.Local, st.From, st.Givers, st.Wasted = sum.local, sum.from, sum.givers, sum.wasted
	f.stands(&st)
	if others {
		st.Phase, st.Reason, st.Rate, st.Left = api.Waiting, api.ForOthers, 0, 0
	}
	if disk != nil {
		st.Phase, st.Reason, st.Rate, st.Left, st.Sources = api.Waiting, api.ForDisk, 0, 0, api.ByLink{}
		st.Detail, st.Next = d.node.diskText(disk)
		if c, ok := d.node.store.Get(id); ok {
			st.Done, st.Total = c.Progress(), c.Manifest().Size()
		}
		return st
	}
	if total > 0 {
		st.Phase, st.Reason, st.Done, st.Total, st.Left = api.Writing, "", written, total, 0
	}
	return st
}

func (d *delivery) result(c *store.Content, output string) api.GetResult {
	d.mu.Lock()
	f, before := d.fetch, d.before
	m := c.Manifest()
	r := api.GetResult{
		Content: c.ID().String(), Name: d.release.Name, Version: d.release.Version, Output: output,
		Size: m.Size(), Files: countFiles(m), Here: d.here, Verified: true, Elapsed: api.Seconds(time.Since(d.start)),
	}
	d.mu.Unlock()
	sum := before.plus(f.brought())
	r.Local, r.From, r.Givers, r.Wasted, r.SeedsLeft = sum.local, sum.from, sum.givers, sum.wasted, sum.left
	if fs, ok := f.flowStatus(); ok { // what it found here, but for what this get had brought
		r.Here = max(0, fs.Resumed-sum.local-before.from.Total())
	}
	if r.Name == "" {
		if known := d.node.catalogue.of(c.ID()); len(known) > 0 {
			r.Name, r.Version = known[0].Name, known[0].Version
		}
	}
	return r
}

// countFiles returns the regular files of a content.
func countFiles(m *content.Manifest) int {
	n := 0
	for _, f := range m.Files {
		if !f.Mode.IsDir() {
			n++
		}
	}
	return n
}

// explain makes of an error what a person can act on.
func (d *delivery) explain(err error) error {
	again := "Run the same command again: what is verified is kept, and it goes on from there"
	var un *unfoundError
	var gone *spoiltError
	var version *versionError
	switch {
	case errors.As(err, &version):
		e := api.Errorf(api.NotFound, "Get the newest: p2pnode get "+d.ref.name+" -o PATH. If this one is about to be published, wait for it: --timeout TIME", "%w", err)
		e.Tried = d.attempts()
		return e
	case errors.As(err, &gone):
		e := api.Errorf(api.NotFound, "Put the file back as it was, or publish what is there now, on a publisher's node: p2pnode add "+gone.address+" --remote --name N", "%w", err)
		e.Tried = d.attempts()
		return e
	case errors.As(err, &un):
		e := api.Errorf(api.NotFound, "See who is connected: p2pnode peer ls. Check the network: p2pnode doctor. Wait longer: --timeout", "%w", err)
		e.Tried = un.tried
		return e
	case errors.Is(err, errNoRelease), errors.Is(err, trust.ErrRollback), errors.Is(err, trust.ErrEquivocation):
		return api.Errorf(api.NotPermitted, "Ask the publisher for a release: p2pnode add --name N on the publisher's node", "%w", err)
	case errors.Is(err, content.ErrNoSpace):
		return api.Errorf(api.NoSpace, makeRoom+", then run the same command again", "%w", err)
	case errors.Is(err, syscall.EROFS):
		return api.Errorf(api.Failed, "Mount the disk of "+d.node.store.Dir()+" for writing, then run the same command again", "%w", err)
	case errors.Is(err, context.DeadlineExceeded) && d.disk != nil:
		detail, _ := d.node.diskText(d.disk)
		return api.Errorf(api.TimedOut, again, "%s is not complete after %s, it waits for disk: %s: %w", d.ref, roughly(time.Since(d.start)), detail, err)
	case errors.Is(err, context.DeadlineExceeded) && d.others:
		return api.Errorf(api.TimedOut, "Leave out --move, or run it again when they are done", "%s is here, but after %s others have it open still, and it can't be moved: %w", d.ref, roughly(time.Since(d.start)), err)
	case errors.Is(err, context.DeadlineExceeded):
		if d.fetch.hadSource() {
			why := "its sources are slow"
			if fs, ok := d.fetch.flowStatus(); ok && fs.Waiting != 0 {
				why = "it waits: " + fs.Waiting.String()
				if fs.Waiting == discovery.IsBanned {
					why = "everything that has it gave other bytes than were published, and isn't asked for a while"
				}
			}
			return api.Errorf(api.TimedOut, again, "%s is not complete after %s, %s: %w", d.ref, roughly(time.Since(d.start)), why, err)
		}
		e := api.Errorf(api.NotFound, "See who is connected: p2pnode peer ls. Check the network: p2pnode doctor", "nobody who has %s was found in %s", d.ref, roughly(time.Since(d.start)))
		e.Tried = d.attempts()
		return e
	}
	return err
}

func (d *delivery) explainExport(output string, err error) error {
	switch {
	case errors.Is(err, content.ErrNoSpace):
		return api.Errorf(api.NoSpace, "Make room or give another --output, then run the same command again: nothing is fetched twice", "%w", err)
	case errors.Is(err, store.ErrNoLink):
		return api.Errorf(api.Failed, "Leave out --link, or give an --output on the disk of the node's store", "%w", err)
	case errors.Is(err, fs.ErrExist):
		return api.Errorf(api.Failed, "Give another --output, or --overwrite to replace what differs", "%w", err)
	case errors.Is(err, fs.ErrNotExist):
		return api.Errorf(api.Failed, "Make the folder "+filepath.Dir(output)+" first", "%w", err)
	}
	return err
}
