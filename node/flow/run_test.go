package flow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/libp2p/go-libp2p/core/peer"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/discovery"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newFlow(target Target, change ...func(*Config)) *Flow {
	cfg := Config{Target: target, Rank: simpleRank, Log: zap.NewNop(), Workers: 2, Seed: 1}
	for _, c := range change {
		c(&cfg)
	}
	return New(cfg)
}

// start runs f until the test ends it or it is done; stop returns what it returned.
func start(t *testing.T, f *Flow) (stop func() error, done <-chan error) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	return func() error { cancel(); return <-ended }, ended
}

// wait returns what Run returned.
func wait(t *testing.T, done <-chan error, limit time.Duration) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(limit):
		t.Fatalf("not done after %v", limit)
		return nil
	}
}

func checkWhole(t *testing.T, m *memTarget, sources ...*memSource) {
	t.Helper()
	m.close()
	if !m.complete() {
		t.Error("the target isn't whole")
	}
	synctest.Wait()
	for _, s := range sources {
		s.mu.Lock()
		if s.lent != 0 {
			t.Errorf("%s: %d blocks were not released", s.peer, s.lent)
		}
		if s.followed != 0 {
			t.Errorf("%s is still followed", s.peer)
		}
		s.mu.Unlock()
	}
}

func TestRunFetchesFromSeveralSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOriginal(t, 200)
		m := newTarget(o)
		a, b := newMemSource(o, "a", 2*mb), newMemSource(o, "b", 1*mb)
		defer a.leave()
		defer b.leave()
		b.link = bandwidth.WAN
		f := newFlow(m)
		f.Add(a)
		f.Add(b)
		if err := f.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		checkWhole(t, m, a, b)
		if len(a.sent) == 0 || len(b.sent) == 0 {
			t.Errorf("a sent %d blocks, b %d", len(a.sent), len(b.sent))
		}
		st := f.Status()
		lan, wan := st.Shares[0], st.Shares[1]
		if !st.Complete || st.Done != st.Total || st.Total != lan.Verified+wan.Verified || lan.Verified == 0 || wan.Verified == 0 {
			t.Errorf("status %+v", st)
		}
		if lan.Givers != 1 || wan.Givers != 1 || st.Shares[2].Givers != 0 {
			t.Errorf("one gave over each link, not %+v", st.Shares)
		}
		var waste int64
		for _, s := range st.Shares {
			waste += s.Duplicate + s.Corrupt + s.Unwanted
		}
		if waste > st.Total/20 {
			t.Errorf("%d of %d bytes wasted", waste, st.Total)
		}
	})
}

func TestRunResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOriginal(t, 60)
		m := newTarget(o)
		a := newMemSource(o, "a", 1*mb)
		defer a.leave()
		first := newFlow(m)
		first.Add(a)
		stop, _ := start(t, first)
		time.Sleep(time.Second)
		if err := stop(); !errors.Is(err, context.Canceled) {
			t.Fatalf("stopped flow returned %v", err)
		}
		m.mu.Lock()
		before := len(m.writes)
		m.mu.Unlock()
		if before == 0 || m.complete() {
			t.Fatalf("%d blocks were written before: nothing to test", before)
		}
		a.mu.Lock()
		sent := len(a.sent)
		a.mu.Unlock()
		time.Sleep(time.Second)
		a.mu.Lock()
		if len(a.sent) > sent+1 {
			t.Errorf("%d blocks were sent after the flow had stopped", len(a.sent)-sent)
		}
		clear(a.sent)
		a.mu.Unlock()

		second := newFlow(m)
		resumed := second.Status()
		second.Add(a)
		if err := second.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		checkWhole(t, m, a)
		for at, n := range m.writes {
			if n != 1 {
				t.Errorf("block %v was written %d times", at, n)
			}
		}
		st := second.Status()
		if st.Resumed == 0 || st.Resumed != resumed.Done || st.Resumed+st.Shares[0].Verified != st.Total {
			t.Errorf("status %+v", st)
		}
	})
}

func TestRunOfWholeTargetEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, chunks := range []int{0, 3} {
			o := newOriginal(t, chunks)
			m := newTarget(o)
			for i := range o.lists {
				m.known[i], m.verified[i] = true, allBlocks(uint8(len(o.lists[i])))
			}
			f := newFlow(m)
			if err := f.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if st := f.Status(); !st.Complete || st.Resumed != st.Total {
				t.Errorf("status %+v", st)
			}
		}
	})
}

type banList map[peer.ID]time.Time

func (b banList) Ban(p peer.ID, until time.Time) { b[p] = until }
func (b banList) Banned(p peer.ID) time.Time     { return b[p] }

func TestRunBansWhoLies(t *testing.T) {
	for _, how := range []string{"blocks", "lists"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOriginal(t, 50)
				m := newTarget(o)
				liar, honest := newMemSource(o, "liar", 10*mb), newMemSource(o, "honest", 1*mb)
				defer liar.leave()
				defer honest.leave()
				if liar.badly = how == "lists"; !liar.badly {
					liar.change = func(_, _ int, data []byte) { data[0] ^= 1 }
				}
				bans := banList{}
				f := newFlow(m, func(c *Config) { c.Bans = bans })
				f.Add(liar)
				f.Add(honest)
				if err := f.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				if until := bans["liar"]; len(bans) != 1 || until.Before(time.Now().Add(50*time.Minute)) {
					t.Errorf("bans: %v", bans)
				}
				if corrupt := f.Status().Shares[0].Corrupt; (corrupt > 0) != (how == "blocks") {
					t.Errorf("%d corrupt bytes", corrupt)
				}
				checkWhole(t, m, liar, honest)

				// The next flow knows it.
				clear(liar.sent)
				again := newTarget(o)
				f = newFlow(again, func(c *Config) { c.Bans = bans })
				f.Add(liar)
				stop, _ := start(t, f)
				time.Sleep(5 * time.Second)
				if len(liar.sent) != 0 {
					t.Error("a banned peer was asked")
				}
				if st := f.Status(); st.Waiting != discovery.NoSource && st.Waiting != discovery.IsBanned {
					t.Errorf("waits because of %v", st.Waiting)
				}
				stop()
			})
		})
	}
}

func TestRunSurvivesSourcesThatComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOriginal(t, 100)
		m := newTarget(o)
		f := newFlow(m)
		_, done := start(t, f)
		<-f.Need() // nobody there
		synctest.Wait()
		if st := f.Status(); st.Waiting != discovery.NoSource {
			time.Sleep(2 * time.Second) // a status is as old as a tick
			if st = f.Status(); st.Waiting != discovery.NoSource {
				t.Errorf("without a source it waits because of %v", st.Waiting)
			}
		}
		for i := range 5 {
			s := newMemSource(o, "publisher", 1*mb)
			f.Add(s)
			time.Sleep(500 * time.Millisecond)
			s.leave()
			if i == 0 {
				<-f.Need()
			}
			time.Sleep(time.Second)
		}
		last := newMemSource(o, "publisher", 1*mb)
		defer last.leave()
		f.Add(last)
		if err := wait(t, done, time.Minute); err != nil {
			t.Fatal(err)
		}
		checkWhole(t, m, last)
		for at, n := range m.writes {
			if n != 1 {
				t.Errorf("block %v was written %d times", at, n)
			}
		}
	})
}

func TestRunTakesWhatComesToBeHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOriginal(t, 30)
		m := newTarget(o)
		s := newMemSource(o, "grows", 10*mb)
		defer s.leave()
		s.has = roaring.New()
		f := newFlow(m)
		f.Add(s)
		_, done := start(t, f)
		for i := range 30 {
			time.Sleep(100 * time.Millisecond)
			s.grow(i)
		}
		if err := wait(t, done, time.Second); err != nil {
			t.Fatal(err)
		}
		checkWhole(t, m, s)
	})
}

// A peer that reconnects before its old session is known to be dead.
func TestRunPrefersTheNewSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOriginal(t, 50)
		m := newTarget(o)
		dead, live := newMemSource(o, "p", 1e-3), newMemSource(o, "p", 1*mb)
		defer dead.leave()
		defer live.leave()
		f := newFlow(m)
		f.Add(dead)
		_, done := start(t, f)
		time.Sleep(500 * time.Millisecond)
		f.Add(live)
		time.Sleep(50 * time.Millisecond)
		dead.mu.Lock()
		if dead.followed != 0 {
			t.Error("the old session is followed beside the new one")
		}
		dead.mu.Unlock()
		if err := wait(t, done, 5*time.Second); err != nil {
			t.Fatal(err)
		}
		checkWhole(t, m, dead, live)
	})
}

func TestRunEndsWithOurOwnTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOriginal(t, 50)
		m := newTarget(o)
		m.write = func(chunk, _ int) error {
			if chunk == 33 {
				return fmt.Errorf("write: %w", content.ErrNoSpace)
			}
			return nil
		}
		s := newMemSource(o, "s", 1*mb)
		defer s.leave()
		f := newFlow(m)
		f.Add(s)
		_, done := start(t, f)
		if err := wait(t, done, time.Minute); !errors.Is(err, content.ErrNoSpace) {
			t.Fatalf("a full disk ends the flow with %v", err)
		}
		m.close()
		time.Sleep(time.Second)
		if st := f.Status(); st.Shares[0].Corrupt != 0 {
			t.Error("the source was blamed for it")
		}
		f.Add(s) // does nothing
		synctest.Wait()
		if s.lent != 0 || s.followed != 0 {
			t.Errorf("%d blocks not released, followed %d times", s.lent, s.followed)
		}
	})
}

func TestCauseOfContextIsReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		f := newFlow(newTarget(newOriginal(t, 1)))
		time.AfterFunc(time.Second, func() { cancel(content.ErrNotFound) })
		if err := f.Run(ctx); !errors.Is(err, content.ErrNotFound) {
			t.Errorf("Run returned %v", err)
		}
	})
}

// A source whose Request hangs holds up nobody else.
func TestRunIsNotHeldUpByOneSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOriginal(t, 50)
		m := newTarget(o)
		s := newMemSource(o, "s", 1*mb)
		defer s.leave()
		h := &hangingSource{newMemSource(o, "hangs", 1*mb), make(chan struct{})}
		defer h.leave()
		f := newFlow(m)
		f.Add(h)
		f.Add(s)
		_, done := start(t, f)
		// Run waits for its goroutines: let the hanging one go after a while.
		time.AfterFunc(20*time.Second, func() { close(h.free) })
		if err := wait(t, done, 21*time.Second); err != nil {
			t.Fatal(err)
		}
		if whole := f.Status(); !whole.Complete {
			t.Errorf("%+v", whole)
		}
		for _, d := range f.cfg.Ring.All() {
			if d.Verb == Finish && d.Time.Sub(f.cfg.Ring.All()[0].Time) > 10*time.Second {
				t.Errorf("finished after %v", d.Time.Sub(f.cfg.Ring.All()[0].Time))
			}
		}
		checkWhole(t, m, s)
	})
}

type hangingSource struct {
	*memSource
	free chan struct{}
}

func (h *hangingSource) Request(id content.ID, chunk int, want uint64, list bool, sink Sink) (func(uint64), error) {
	<-h.free
	return nil, errGone
}

// What comes behind a cancel is told with the rest, after the end of the flow too.
func TestUnwantedBytesAreWasted(t *testing.T) {
	o := newOriginal(t, 1)
	f := newFlow(newTarget(o))
	for _, l := range []bandwidth.Link{bandwidth.LAN, bandwidth.WAN, 0} {
		src := newIdleSource(o)
		src.link = l
		s := &sink{feed: newFeed(f, 1, src)}
		s.End(context.Canceled)
		s.Unwanted(1000)
	}
	shares := f.Status().Shares
	if got := []int64{shares[0].Unwanted, shares[1].Unwanted, shares[2].Unwanted}; !slices.Equal(got, []int64{1000, 2000, 0}) {
		t.Errorf("unwanted by link: %d", got)
	}
}

// A block that nobody asked for is its sender's fault, and harms nothing.
func TestSinkRefusesWhatWasNotAsked(t *testing.T) {
	o := newOriginal(t, 2)
	f := newFlow(newTarget(o))
	d := newFeed(f, 1, newIdleSource(o))
	released := 0
	block := func(s *sink, i int) { s.Block(i, []byte{1}, func() { released++ }) }

	withList := &sink{feed: d, ask: ask{Request: 1, Want: ^uint64(0), List: true}, want: ^uint64(0)}
	block(withList, 0) // before the list
	if err := withList.List(o.nodes[0]); err != nil {
		t.Fatal(err)
	}
	block(withList, len(o.lists[0])) // beyond it
	some := &sink{feed: d, ask: ask{Request: 2, Chunk: 1, Want: 1}, want: 1}
	block(some, 1)
	block(some, 64)
	block(some, -1)
	block(some, 0) // this one was asked for
	block(some, 0) // once
	evs, _ := f.inbox.take(nil)
	var corrupt, queued int
	for _, e := range evs {
		switch ev := e.event.(type) {
		case judged:
			if ev.Verdict != Corrupt {
				t.Errorf("%+v", ev)
			}
			corrupt++
		case arrived:
			queued++
		}
	}
	if queued -= corrupt; corrupt != 6 || queued != 1 || released != 6 {
		t.Errorf("%d blocks corrupt, %d queued, %d released", corrupt, queued, released)
	}
}

// What comes when a flow is over is given back, and touches nothing.
func TestSinkOfFlowThatIsOver(t *testing.T) {
	o := newOriginal(t, 1)
	m := newTarget(o)
	f := newFlow(m)
	s := &sink{feed: newFeed(f, 1, newIdleSource(o)), ask: ask{Request: 1, Want: 3}, want: 3}
	released := 0
	s.Block(0, o.data[0][0], func() { released++ }) // queued
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m.write = func(int, int) error { return nil }
	f.cfg.Workers = 0 // so that it stays in the queue
	if err := f.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	m.close()
	if released != 1 {
		t.Error("a block that was queued was not released")
	}
	s.Block(1, o.data[0][1], func() { released++ })
	if released != 2 {
		t.Error("a block that came later was not released")
	}
	if err := s.List(o.nodes[0]); !errors.Is(err, errOver) {
		t.Errorf("List returned %v", err)
	}
	s.End(nil)
}

func newIdleSource(o *original) *memSource {
	return &memSource{original: o, peer: "idle", link: bandwidth.LAN}
}

func TestRingKeepsTheLast(t *testing.T) {
	r := NewRing(3)
	for i := range 5 {
		r.Add(Decision{Chunk: i})
		got := r.All()
		if len(got) != min(i+1, 3) || got[len(got)-1].Chunk != i || got[0].Chunk != max(0, i-2) {
			t.Errorf("after %d: %+v", i, got)
		}
	}
}
