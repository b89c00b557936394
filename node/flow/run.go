package flow

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/discovery"
)

const (
	// maxSources bounds the peers that one flow asks. Beyond it there is nothing
	// to win: 64 sources at 16 Mbit/s fill a gigabit.
	maxSources = 64

	tickBusy = 100 * time.Millisecond // while something is asked
	tickIdle = time.Second            // while nothing is: rests and bans run out

	tellProgress = 250 * time.Millisecond
)

// A Flow is one content on its way to this node.
type Flow struct {
	cfg    Config
	id     content.ID
	chunks int
	inbox  *inbox
	queue  *queue
	need   chan struct{}
	status atomic.Pointer[Status]
	abort  atomic.Pointer[context.CancelCauseFunc]

	unwanted [len(bandwidth.Links)]atomic.Int64 // bytes, by link

	// Run's.
	core  *core
	feeds map[sourceID]*feed
	last  sourceID
	told  time.Time // when Config.Plan was told of progress

	gate sync.RWMutex // held by sinks while they use the target
	over bool         // no sink may use it any more
}

// New returns a flow for what cfg.Target lacks. It panics if something required is
// missing from cfg.
func New(cfg Config) *Flow {
	cfg = cfg.withDefaults()
	f := &Flow{
		cfg: cfg, id: cfg.Target.ID(), chunks: len(cfg.Target.Manifest().Chunks),
		inbox: newInbox(), queue: newQueue(), need: make(chan struct{}, 1), feeds: map[sourceID]*feed{},
	}
	f.core = newCore(rules{
		content: f.id, seed: cfg.Seed, flying: cfg.Flying, banFor: cfg.BanFor, rank: cfg.Rank, readers: cfg.Readers,
		shares: cfg.Plan != nil,
	}, cfg.Target.Manifest().Chunks)
	f.resume()
	f.report(time.Now())
	return f
}

// resume tells the core what the target has.
func (f *Flow) resume() {
	t, whole := f.cfg.Target, f.cfg.Target.Have()
	for i, ch := range t.Manifest().Chunks {
		if whole.Contains(uint32(i)) {
			f.core.resume(i, 0, 0, 0)
			continue
		}
		verified := t.Verified(i)
		if verified == 0 {
			continue // its list may be known; asking again costs 600 bytes
		}
		blocks, ok := t.Blocks(i)
		if !ok {
			continue
		}
		missing := ch.Size
		for b := range blocks {
			if verified>>b&1 != 0 {
				missing -= blocks[b].Size
			}
		}
		f.core.resume(i, uint8(len(blocks)), verified, missing)
	}
}

// Add lets a source be asked, until it is done. A peer that was added before is
// asked through the new source only. Sources beyond maxSources are ignored. It may
// be called before Run and while it runs; after that it does nothing.
func (f *Flow) Add(src Source) { f.inbox.add(src) }

// Prefer has these chunks (indices in the manifest) asked for before any others, in
// this order, for a reader of a content that still comes; it takes the place of what
// the same reader preferred before, which may be all: then it has left. Readers take
// turns: what each wants first is asked for before what any wants next. What is here,
// or not in the content, is ignored, and so is what is over 64 chunks, or 64 readers.
// It doesn't block, and may be called at any time and often.
func (f *Flow) Prefer(reader uint64, chunks ...int) { f.inbox.prefer(reader, chunks) }

// Seated, Unseated, Crewed, Answered, Freed and Revoked are what Config.Plan's answers
// come as: somebody shares out what is asked of other sites from now on, and knows
// nothing of what was proposed before; nobody does, so all may be asked for; this node
// is one of those who bring something, and whether any of them has found a source; what
// became of a proposal; what others don't bring any more; what somebody else brings
// instead. They don't block.
func (f *Flow) Seated()                       { f.inbox.put(seated{}) }
func (f *Flow) Unseated()                     { f.inbox.put(unseated{}) }
func (f *Flow) Crewed(carrier, found bool)    { f.inbox.put(crewed{carrier, found}) }
func (f *Flow) Answered(granted, taken []int) { f.inbox.put(answered{granted, taken}) }
func (f *Flow) Freed(chunks []int)            { f.inbox.put(freed{chunks}) }
func (f *Flow) Revoked(chunks []int)          { f.inbox.put(revoked{chunks}) }

// Need gives a token when more sources are wanted: some chunk is at none of them,
// or none of them does what it should. While that lasts it comes again, after 1 s
// at first and 30 s at last.
func (f *Flow) Need() <-chan struct{} { return f.need }

// Status says how far the flow is. It is up to 100 ms old.
func (f *Flow) Status() Status {
	st := *f.status.Load()
	for i := range st.Shares {
		st.Shares[i].Unwanted = f.unwanted[i].Load()
	}
	return st
}

// Run fetches until every block is verified and written; it returns nil then. It
// doesn't give up by itself: it ends with the cause of ctx if that ends, and with
// the target's error if the target can't take a block. Run once.
func (f *Flow) Run(ctx context.Context) error {
	ctx, abort := context.WithCancelCause(ctx)
	defer abort(nil)
	f.abort.Store(&abort)
	var group sync.WaitGroup
	for range f.cfg.Workers {
		group.Go(func() { f.work(f.fatal) })
	}
	err := f.loop(ctx, &group)
	abort(nil)
	f.inbox.close()
	f.queue.close()
	group.Wait()
	f.report(time.Now())
	f.gate.Lock()
	f.over = true
	f.gate.Unlock()
	return err
}

// fatal ends Run with an error of ours.
func (f *Flow) fatal(err error) { (*f.abort.Load())(err) }

func (f *Flow) loop(ctx context.Context, group *sync.WaitGroup) error {
	ticker := time.NewTicker(tickBusy)
	defer ticker.Stop()
	period := tickBusy
	var events []stamped
	for ticked := true; ; {
		var sources []Source
		events, sources = f.inbox.take(events)
		for _, ev := range events {
			f.core.step(ev.at, ev.event)
		}
		clear(events)
		for _, src := range sources {
			f.join(ctx, group, src)
		}
		// After what happened before it: a frame that waits in the inbox is no
		// silence.
		now := time.Now()
		if ticked {
			f.core.step(now, tick{})
		}
		done := f.act(now)
		if ticked || done || len(sources) > 0 {
			f.report(now)
		}
		if done {
			return nil
		}
		if p := f.period(); p != period {
			period = p
			ticker.Reset(period)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
			ticked = true
		case <-f.inbox.wake:
			ticked = false
		}
	}
}

func (f *Flow) period() time.Duration {
	if len(f.core.requests) > 0 {
		return tickBusy
	}
	return tickIdle
}

// join starts a feed, and ends the one that the peer had before.
func (f *Flow) join(ctx context.Context, group *sync.WaitGroup, src Source) {
	now := time.Now()
	for id, d := range f.feeds {
		if f.core.byID[id] == nil { // left
			delete(f.feeds, id)
			d.stop()
		}
	}
	if len(f.core.sources) >= maxSources && f.core.byPeer[src.Peer()] == nil {
		f.cfg.Log.Debug("source not needed", zap.String("peer", discovery.PeerName(src.Peer())), zap.Stringer("content", f.id))
		return
	}
	f.last++
	d := newFeed(f, f.last, src)
	if old := f.core.byPeer[d.peer]; old != nil {
		f.feeds[old.id].stop()
		delete(f.feeds, old.id)
	}
	f.core.step(now, joined{Source: d.id, Peer: d.peer, Link: d.link, Banned: f.cfg.Bans.Banned(d.peer), Last: d.last, Site: d.site})
	ctx, d.stop = context.WithCancel(ctx)
	f.feeds[d.id] = d
	group.Go(func() { d.run(ctx) })
}

// act does what the core wants; it reports whether all is done.
func (f *Flow) act(now time.Time) bool {
	fx := f.core.ready(now)
	for _, c := range fx.cancels {
		if d := f.feeds[c.Source]; d != nil {
			d.order(func() { d.narrow(c.Request, c.Keep) })
		}
	}
	for _, a := range fx.asks {
		d := f.feeds[a.Source]
		d.order(func() { d.ask(a) })
	}
	for _, b := range fx.bans {
		f.cfg.Bans.Ban(b.Peer, b.Until)
		f.cfg.Log.Warn("peer banned for bad bytes", zap.String("peer", discovery.PeerName(b.Peer)), zap.Stringer("content", f.id), zap.Time("until", b.Until))
	}
	f.tell(now, fx)
	if fx.need {
		select {
		case f.need <- struct{}{}:
		default:
		}
	}
	if len(fx.decisions) > 0 {
		f.cfg.Ring.Add(fx.decisions...)
		f.log(fx.decisions)
	}
	return fx.done
}

// tell tells who shares the work out.
func (f *Flow) tell(now time.Time, fx effects) {
	to := f.cfg.Plan
	if to == nil {
		return
	}
	if len(fx.took) > 0 {
		to.Took(slices.Clone(fx.took))
	}
	if len(fx.released) > 0 {
		to.Release(slices.Clone(fx.released))
	}
	if len(fx.gained) > 0 {
		to.Has(slices.Clone(fx.gained))
	}
	if now.Sub(f.told) >= tellProgress && len(f.core.share.granted) > 0 {
		f.told = now
		to.Progress(f.core.tally.far(), f.core.carrying())
	}
	if p := fx.proposal; p != nil {
		to.Propose(p.n, p.chunks, p.insist)
	}
}

func (f *Flow) log(ds []Decision) {
	for _, d := range ds {
		level := zap.DebugLevel
		if d.Verb == Wait && f.last > 0 { // before its first source every flow waits
			level = zap.InfoLevel
		}
		if e := f.cfg.Log.Check(level, logText[d.Verb]); e != nil {
			fields := []zap.Field{zap.Stringer("content", d.Content), zap.Stringer("reason", d.Reason)}
			if d.Chunk != NoChunk {
				fields = append(fields, zap.Int("chunk", d.Chunk))
			}
			if d.Peer != "" {
				fields = append(fields, zap.String("peer", discovery.PeerName(d.Peer)))
			}
			e.Write(fields...)
		}
	}
}

var logText = func() (text [verbCount]string) {
	for v := range text {
		text[v] = fmt.Sprintf("flow: %s", Verb(v))
	}
	text[Wait] = "flow waits"
	return text
}()

func (f *Flow) report(now time.Time) {
	st := f.core.status(now)
	f.status.Store(&st)
}
