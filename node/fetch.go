package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/discovery/rank"
	"github.com/p2pnode/p2pnode/node/exchange"
	"github.com/p2pnode/p2pnode/node/flow"
)

// errNoRelease says that a content was found but nobody who may publish signed
// for it.
var errNoRelease = errors.New("no publisher of this enterprise signed it")

// An unfound error says that nobody who has a content was found, and what was
// tried.
type unfoundError struct {
	what  string
	after time.Duration
	tried []string
}

func (e *unfoundError) Error() string {
	return fmt.Sprintf("nobody who has %s was found in %s", e.what, roughly(e.after))
}

// roughly rounds a time for people: what took less than a second took some time.
func roughly(d time.Duration) time.Duration {
	if d < time.Second {
		return max(d.Round(10*time.Millisecond), 10*time.Millisecond)
	}
	return d.Round(time.Second)
}

func (e *unfoundError) Unwrap() error { return content.ErrNotFound }

// A wish says what a fetch is to bring, and how.
type wish struct {
	id       content.ID
	releases []signedRelease // known before
	patience time.Duration   // for a first source
	// seeds are files of the user's that may have some of it.
	seeds []string
	// stream says that somebody reads it while it comes: what is asked for first
	// counts for more than what could be saved by looking around first. Until it is
	// said which, nothing is: the manifest may be all that is wanted.
	stream bool
	// output, unless nil, is asked before anything is fetched.
	output *outputCheck
}

// A fetch brings one content here. There is one at a time for a content; who
// else wants it waits for that one.
type fetch struct {
	wish
	node  *Node
	scout *scout
	crew  *crewman

	slots    chan struct{} // right to ask for the manifest
	guesses  chan struct{} // the same, of a publisher that has yet to say what it holds
	manifest chan holding  // the first that a holder gave and a release vouches for
	settled  chan struct{} // closed when target and preparation are set
	begun    chan struct{} // closed when flow is set
	joined   chan struct{} // closed when the first source joined the flow
	join     sync.Once
	wanted   chan struct{} // closed when somebody wants more than the manifest
	want     sync.Once
	done     chan struct{}

	roomy       atomic.Bool // there was room for what is missing
	standing    []standing  // files at the output that may be the same
	target      *store.Content
	preparation *preparation
	flow        *flow.Flow
	asked       time.Time // when it was asked for

	mu      sync.Mutex
	refused error            // why the last manifest was
	wishes  map[uint64][]int // what readers wait for, while there is no flow
}

// A fetchTable has the fetches under way, and what those that ended brought.
type fetchTable struct {
	mu    sync.Mutex
	byID  map[content.ID]*fetch
	ended shares
	local int64 // that those that ended had from this disk
}

// fetch brings a content into the store, whole and verified. What is here already
// counts only with a release that is valid now: its publisher may have been
// revoked since, and a crash may have come before the release. Several callers may
// fetch the same, the first one's wish counts; status is told the fetch.
func (n *Node) fetch(ctx context.Context, w wish, status func(*fetch)) (*store.Content, error) {
	for {
		if c, ok := n.store.Get(w.id); ok && c.Complete() && len(w.releases) > 0 {
			n.learn(c, w.releases)
			return c, nil
		}
		f, mine := n.fetches.begin(n, w)
		status(f)
		if mine {
			c, err := f.run(ctx)
			n.fetches.end(f)
			return c, err
		}
		settled := f.settled
		if w.output == nil {
			settled = nil
		}
		for waits := true; waits; {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-settled:
				if _, err := w.output.refuse(f.target.Manifest()); err != nil {
					return nil, err
				}
				settled = nil
			case <-f.done: // it may have been called off: then it is our turn
				waits = false
			}
		}
	}
}

func (t *fetchTable) begin(n *Node, w wish) (f *fetch, mine bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f, ok := t.byID[w.id]; ok {
		if !w.stream {
			f.isWanted()
		}
		return f, false
	}
	f = &fetch{
		wish: w, node: n, asked: time.Now(),
		slots: make(chan struct{}, maxManifests), guesses: make(chan struct{}, 1), manifest: make(chan holding),
		settled: make(chan struct{}), begun: make(chan struct{}), joined: make(chan struct{}), wanted: make(chan struct{}), done: make(chan struct{}),
		wishes: make(map[uint64][]int),
	}
	if !w.stream {
		f.isWanted()
	}
	f.scout = n.newScout(content.Hash(w.id), f.use)
	f.crew = newCrewman(f)
	t.byID[w.id] = f
	return f, true
}

func (t *fetchTable) end(f *fetch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byID, f.id)
	t.local += f.localBytes()
	if s, ok := f.flowStatus(); ok {
		t.ended.add(s)
	}
	close(f.done)
}

// all returns the fetches under way.
func (t *fetchTable) all() []*fetch {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]*fetch, 0, len(t.byID))
	for _, f := range t.byID {
		out = append(out, f)
	}
	return out
}

// run does the fetch: manifest and release unless they are here, then the flow.
func (f *fetch) run(ctx context.Context) (*store.Content, error) {
	ctx, cancel := context.WithCancel(ctx)
	var g errgroup.Group
	defer func() { cancel(); _ = g.Wait() }()
	g.Go(func() error { return f.crew.Run(ctx) })
	g.Go(func() error { return f.scout.Run(ctx) })

	start := time.Now()
	patience := time.NewTimer(f.patience)
	defer patience.Stop()
	var room *store.Reservation
	defer func() {
		if room != nil {
			room.Release()
		}
	}()
	met := false // somebody who has it
	c, ok := f.node.store.Get(f.id)
	if !ok || len(f.releases) == 0 {
		h, err := f.await(ctx, start, patience)
		if err != nil {
			return nil, err
		}
		patience.Stop()
		met = true
		m, err := content.Decode(h.encoded.ID, h.encoded.Root, h.encoded.Segments)
		if err != nil {
			return nil, err
		}
		if err := f.look(m); err != nil {
			return nil, err
		}
		if c, room, err = f.begin(h); err != nil {
			return nil, err
		}
	} else if err := f.look(c.Manifest()); err != nil {
		return nil, err
	}
	defer c.Hold()()
	f.settle(c)
	f.crew.settled()
	select {
	case <-f.wanted:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if room == nil {
		var err error
		if room, err = c.Reserve(f.node.versions(f.node.catalogue.of(f.id))...); err != nil {
			return nil, err
		}
	}
	f.roomy.Store(true)
	if err := f.prepare(ctx); err != nil {
		return nil, err
	}
	room.Reused()
	if !met {
		patience.Reset(f.patience) // nobody was looked for while this disk was
	}
	flowing, giveUp := context.WithCancelCause(ctx) // not ctx: the scout has that
	defer giveUp(nil)
	web := newOrigins(f.node.web, c, f.hasSource, f.node.log.Named("origin"))
	f.flow = f.newFlow(web.Bans(f.node.bans), false)
	f.crew.begin(f.flow)
	g.Go(func() error { return web.Run(flowing) })
	for _, s := range web.Sources() {
		f.flow.Add(s)
	}
	f.start()
	g.Go(func() error {
		joined := f.joined
		look := time.NewTicker(hearOut / 10)
		defer look.Stop()
		var alone alone
		for {
			select {
			case <-flowing.Done():
				return nil
			case now := <-look.C:
				if err := alone.judge(now, f, web); err != nil {
					giveUp(err)
				}
			case <-f.preparation.learnt:
				web.Learnt()
			case <-f.flow.Need():
				f.scout.Look()
			case <-joined:
				patience.Stop()
				joined = nil
			case <-patience.C:
				if f.crew.found() {
					patience.Reset(f.patience)
				} else {
					giveUp(f.unfound(start))
				}
			}
		}
	})
	err := f.flow.Run(flowing)
	if cause := context.Cause(flowing); err != nil && errors.Is(cause, content.ErrNotFound) {
		return nil, cause
	}
	if err != nil {
		return nil, err
	}
	f.crew.seat.Done()
	f.node.announceContent(c)
	return c, nil
}

// newFlow returns a flow to the content: of all that it lacks, or of what readers
// prefer.
func (f *fetch) newFlow(bans flow.Bans, readers bool) *flow.Flow {
	var plan flow.Plan
	if !readers { // what somebody waits for while the disk is looked through is little
		plan = seatPlan{f.crew.seat}
	}
	return flow.New(flow.Config{
		Plan: plan, Target: f.target, Rank: rank.Rank, Outcome: outcome, Workers: f.node.cfg.Workers, Readers: readers,
		Ring: f.node.ring, Bans: bans, Log: f.node.log.Named("flow"),
	})
}

// hasSource notes that somebody has some of the content.
func (f *fetch) hasSource() { f.join.Do(func() { close(f.joined) }) }

// hadSource reports whether anybody with some of the content was ever asked.
func (f *fetch) hadSource() bool {
	if f == nil {
		return false
	}
	select {
	case <-f.joined:
		return true
	default:
		return false
	}
}

func (f *fetch) unfound(start time.Time) error {
	return &unfoundError{what: f.id.String(), after: time.Since(start), tried: f.scout.Tried()}
}

// begin makes the content in the store, with room for what is missing of it if that
// is wanted, and tells others that it is here. The room may come with an error.
func (f *fetch) begin(h holding) (c *store.Content, room *store.Reservation, err error) {
	if f.stream { // nothing is evicted for a manifest, unless there is no other way
		c, err = f.node.store.Begin(h.encoded)
	}
	if !f.stream || errors.Is(err, content.ErrNoSpace) {
		c, room, err = f.node.store.Receive(h.encoded, f.node.versions(h.releases)...)
	}
	if err != nil {
		return nil, nil, err
	}
	for _, r := range h.releases {
		if err := c.AddRelease(r.envelope); err != nil {
			return nil, room, fmt.Errorf("keep release of %s: %w", r.Name, err)
		}
		f.node.catalogue.add(r)
	}
	f.node.exchange.Arrived()
	f.node.announceContent(c)
	return c, room, nil
}

// learn keeps releases of a content that is here already, so that it can be had,
// here and by others, by every name that it was asked for. What can't be kept is
// no reason to go without the content.
func (n *Node) learn(c *store.Content, releases []signedRelease) {
	for _, r := range releases {
		if n.catalogue.has(r) {
			continue
		}
		if err := c.AddRelease(r.envelope); err != nil {
			n.log.Warn("release not kept", zap.String("name", r.Name), zap.Error(err))
			continue
		}
		n.catalogue.add(r)
		n.announceName(r.Name)
	}
}

// versions returns the contents that the names of some releases have stood for here.
func (n *Node) versions(releases []signedRelease) (ids []content.ID) {
	for _, r := range releases {
		for _, known := range n.catalogue.named(r.Name) {
			ids = append(ids, known.Content)
		}
	}
	return ids
}

// use makes what it can of a session: the manifest first, if it is still wanted,
// then a source of the flow, until either ends.
func (f *fetch) use(ctx context.Context, x *exchange.Session) {
	var claimed atomic.Pointer[roaring.Bitmap]
	if !f.ask(ctx, x, &claimed) {
		return
	}
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		f.preparation.lister.ask(ctx, x, f.node.link(x.Peer()) == bandwidth.LAN, f.node.log)
	}()
	defer func() { <-asked }() // ends as this does: with ctx, or the session
	if !f.node.permits(x.Peer()) {
		return
	}
	s := &source{Session: x, link: f.node.link(x.Peer()), joined: f.hasSource, publishes: f.node.published(f.id, x.Peer()), site: f.node.site.At(x.Peer()), claimed: claimed.Load()}
	if early := f.preparation.early; early != nil {
		early.Add(s)
	}
	select {
	case <-f.begun:
	case <-ctx.Done():
		return
	case <-x.Done():
		return
	}
	f.flow.Add(s)
	select {
	case <-ctx.Done():
	case <-x.Done():
	}
}

// outcome says in the flow's words how a request ended.
func outcome(err error) flow.Outcome {
	switch {
	case errors.Is(err, content.ErrNotFound):
		return flow.Refused
	case errors.Is(err, exchange.ErrBusy):
		return flow.Busy
	case errors.Is(err, exchange.ErrGone):
		return flow.Gone
	}
	return flow.Cancelled
}

// A source is a session as a flow asks it.
type source struct {
	*exchange.Session
	link   bandwidth.Link
	joined func() // called when it turns out to hold something
	// publishes: it signed a release of this.
	publishes bool
	site      string
	claimed   *roaring.Bitmap // what it said that it has, before; nil if nothing
}

// Site implements flow.Sited.
func (s *source) Site() string { return s.site }

// Publishes implements flow.Publisher.
func (s *source) Publishes() bool { return s.publishes }

// Link implements flow.Source.
func (s *source) Link() bandwidth.Link { return s.link }

// Follow implements flow.Source. What the peer said when it was asked for the manifest
// counts until it says more, which takes a round trip.
func (s *source) Follow(id content.ID, chunks int, f func(*roaring.Bitmap)) (func(), error) {
	tell := func(have *roaring.Bitmap) {
		if !have.IsEmpty() {
			s.joined()
		}
		f(have)
	}
	if s.claimed != nil {
		have := s.claimed.Clone()
		have.RemoveRange(uint64(chunks), anyChunks)
		if !have.IsEmpty() {
			tell(have)
		}
	}
	return s.Session.Follow(id, chunks, tell)
}

// Request implements flow.Source.
func (s *source) Request(id content.ID, chunk int, want uint64, list bool, sink flow.Sink) (func(uint64), error) {
	return s.Session.Request(exchange.Request{Content: id, Chunk: chunk, Want: want, List: list, Sink: sink})
}
