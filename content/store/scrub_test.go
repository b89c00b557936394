package store

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"
	"pgregory.net/rapid"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

func TestScrubPlan(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	in := func(d time.Duration, left int64) scrubItem { return scrubItem{left: left, due: now.Add(d)} }
	const day = 24 * time.Hour
	for _, test := range []struct {
		name  string
		items []scrubItem
		next  int64 // its bytes
		pace  float64
	}{
		{"nothing", nil, 0, 0},
		{"one, spread over its time", []scrubItem{in(10*day, 864_000)}, 864_000, 1},
		{"the earlier first, whatever it has", []scrubItem{in(20*day, 100), in(10*day, 864_000)}, 864_000, 1},
		{"both in time", []scrubItem{in(20*day, 10*864_000), in(10*day, 864_000)}, 864_000, 5.5},
		{"late", []scrubItem{in(20*day, 100), in(-time.Second, 7)}, 7, math.Inf(1)},
		{"due now", []scrubItem{in(0, 7)}, 7, math.Inf(1)},
	} {
		next, pace := planScrub(test.items, now)
		if (next == nil) != (test.next == 0) || next != nil && next.left != test.next || math.Abs(pace-test.pace) > 1e-9 {
			t.Errorf("%s: %+v at %v bytes/s", test.name, next, pace)
		}
	}
}

// Whoever reads what is planned, as fast as is planned, has read everything when
// it is due.
func TestScrubPlanKeepsItsTimes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
		var items []scrubItem
		for range rapid.IntRange(1, 20).Draw(t, "contents") {
			items = append(items, scrubItem{
				left: rapid.Int64Range(1, 1<<34).Draw(t, "left"),
				due:  now.Add(time.Duration(rapid.Int64Range(int64(time.Minute), int64(700*time.Hour)).Draw(t, "due"))),
			})
		}
		for len(items) > 0 {
			next, pace := planScrub(items, now)
			if math.IsInf(pace, 1) {
				t.Fatal("late")
			}
			// All of it, or what can be read in ten minutes.
			took := min(float64(next.left)/pace, 600)
			now = now.Add(time.Duration(took * 1e9))
			next.left -= int64(math.Ceil(took * pace * 1.000001))
			if next.left <= 0 {
				if now.After(next.due.Add(time.Second)) {
					t.Fatalf("read %v after it was due", now.Sub(next.due))
				}
				items = items[1:]
			}
		}
	})
}

// startScrub opens a store that runs in a bubble, syncs seldom and scrubs.
func startScrub(t *testing.T, cfg Config) (*Store, func()) {
	cfg.SyncEvery = time.Hour
	s, err := Open(cfg, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() { defer close(stop); s.Run(ctx) }()
	return s, func() { cancel(); <-stop; s.Close() }
}

// bornNow makes a content one that was added now: files have the world's time, and
// a bubble its own.
func bornNow(t *testing.T, c *Content) {
	t.Helper()
	if err := os.Chtimes(filepath.Join(c.dir, rootName), time.Time{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	c.care.used.Store(time.Now().Unix())
}

func spoilAt(t *testing.T, c *Content, at int64) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(c.dir, filesName, c.manifest.Files[0].Path), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("rotten"), at); err != nil {
		t.Fatal(err)
	}
}

// Everything is read again in the period, spread over it, across restarts; what is
// wrong is found.
func TestScrubFindsDamageInItsPeriod(t *testing.T) {
	const day = 24 * time.Hour
	dir := t.TempDir()
	var all []*storetest.Sample
	for seed := range uint64(3) {
		all = append(all, storetest.File(t, seed+1, 150_000, storetest.Small))
	}
	synctest.Test(t, func(t *testing.T) {
		var told []content.ID
		cfg := Config{Dir: dir, Hooks: Hooks{Damaged: func(c *Content) { told = append(told, c.id) }}}
		s, stop := startScrub(t, cfg)
		began := time.Now()
		for _, x := range all {
			c := begin(t, s, x)
			put(t, c, x, x.Refs()...)
			if err := c.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			bornNow(t, c)
		}
		if got := s.ScrubbedSince(); got.Sub(began).Abs() > time.Second {
			t.Errorf("read or written since %v, want %v", got, began)
		}
		rotten, _ := s.Get(all[1].ID)
		time.Sleep(10 * day)
		spoilAt(t, rotten, 100_000)
		for range 30 {
			time.Sleep(day)
			stop() // every day, as people do
			s, stop = startScrub(t, cfg)
			rotten, _ = s.Get(all[1].ID)
		}
		synctest.Wait()
		if len(told) == 0 || !rotten.Damaged() || rotten.Complete() {
			t.Errorf("told %d times, damaged %v", len(told), rotten.Damaged())
		}
		for i, id := range told {
			if id != all[1].ID {
				t.Errorf("told of another: %v", i)
			}
		}
		// A third of a period later or earlier, all but the gap was read.
		if got := s.ScrubbedSince(); time.Since(got) > 31*day || got.Sub(began) < 20*day {
			t.Errorf("all is read since %v, %v after it was written", got, got.Sub(began))
		}
		put(t, rotten, all[1], all[1].Refs()...)
		if err := rotten.Flush(t.Context()); err != nil || rotten.Damaged() || !rotten.Complete() {
			t.Errorf("damaged %v after it was brought again, %v", rotten.Damaged(), err)
		}
		stop()
	})
}

// A large content is read bit by bit over the whole period, whoever restarts the
// node meanwhile, and no faster than the limit when it is late.
func TestScrubIsSpreadAndLimited(t *testing.T) {
	const day = 24 * time.Hour
	x := storetest.File(t, 1, 40<<20, storetest.Large)
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{Dir: dir, ScrubRate: 1 << 20}
		s, stop := startScrub(t, cfg)
		c := begin(t, s, x)
		put(t, c, x, x.Refs()...)
		if err := c.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		bornNow(t, c)
		stop()
		time.Sleep(8 * day) // what was written is stale by now
		s, stop = startScrub(t, cfg)
		time.Sleep(day)
		if n := s.stats.Scrubbed.Load(); n > 6<<20 {
			t.Errorf("%d bytes in a day of thirty", n)
		}
		time.Sleep(12 * day)
		synctest.Wait()
		n := s.stats.Scrubbed.Load()
		if n < 10<<20 || n > 35<<20 {
			t.Errorf("%d of %d bytes two thirds through", n, len(x.Data))
		}
		stop()
		s, stop = startScrub(t, cfg)
		time.Sleep(9*day + time.Hour)
		synctest.Wait()
		if again := s.stats.Scrubbed.Load(); again < 40<<20-n || again > 40<<20-n+17<<20 {
			t.Errorf("%d bytes after a restart, %d were left", again, 40<<20-n)
		}
		stop()

		// Switched off for months: late, and still polite.
		time.Sleep(200 * day)
		s, stop = startScrub(t, cfg)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		// What the limiter gives at once, and what it gives in that time.
		if n := s.stats.Scrubbed.Load(); n < 20<<20 || n > (16+31)<<20 {
			t.Errorf("%d bytes in 30 s at a limit of 1 MiB a second", n)
		}
		stop()
	})
}

// A content that can't be read, and isn't damaged, keeps no other from being read.
func TestScrubGoesOnWithoutWhatCantBeRead(t *testing.T) {
	bad, good := storetest.File(t, 1, 60_000, storetest.Small), storetest.File(t, 2, 60_000, storetest.Small)
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := openAt(t, dir)
		for _, x := range []*storetest.Sample{bad, good} { // the bad one is due first
			c := begin(t, s, x)
			put(t, c, x, x.Refs()...)
			if err := c.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			bornNow(t, c)
			sleep(t.Context(), 10*24*time.Hour)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		sleep(t.Context(), 60*24*time.Hour)
		name := filepath.Join(s.folder(bad.ID), filesName, bad.Manifest.Files[0].Path)
		if err := os.Rename(name, filepath.Join(dir, "elsewhere")); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(dir, "elsewhere"), name); err != nil { // which nothing follows
			t.Skip("not on windows: links need a right there")
		}
		s, stop := startScrub(t, Config{Dir: dir})
		start := time.Now()
		sleep(t.Context(), time.Hour)
		synctest.Wait()
		if c, _ := s.Get(good.ID); c.lastScrub().Before(start.Add(-time.Second)) {
			t.Errorf("not read in an hour, and late since long; read last %v", c.lastScrub())
		}
		if c, _ := s.Get(bad.ID); c.Damaged() {
			t.Error("what can't be opened passes for damaged")
		}
		stop()
	})
}

// Who removes a content, and holds up all others with that, doesn't wait for the
// scrub to have its turn.
func TestScrubThatGivesWayHoldsNothing(t *testing.T) {
	sample := storetest.File(t, 1, 60_000, storetest.Small)
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := openAt(t, dir)
		c := begin(t, s, sample)
		put(t, c, sample, sample.Refs()...)
		ctx, stop := context.WithCancel(t.Context())
		go func() {
			for ctx.Err() == nil {
				s.served.Add(1 << 20)
				sleep(ctx, 100*time.Millisecond)
			}
		}()
		x := &scrubber{store: s, limiter: rate.NewLimiter(rate.Inf, largestChunk), seenAt: time.Now()}
		sleep(ctx, time.Second)
		done := make(chan struct{})
		go func() { defer close(done); x.read(ctx, c, 1<<20, false) }()
		sleep(ctx, 5*time.Second)
		start := time.Now()
		if err := s.Remove(c.id); err != nil {
			t.Error(err)
		}
		if waited := time.Since(start); waited > time.Second {
			t.Errorf("removed after %v", waited)
		}
		stop()
		<-done
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestScrubGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Store{}
		x := &scrubber{store: s, seenAt: time.Now()}
		time.Sleep(time.Second)
		if waited := x.yield(t.Context(), time.Minute); waited != 0 {
			t.Errorf("waits %v for nobody", waited)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 200 { // 20 s at 10 MiB/s
				s.served.Add(1 << 20)
				time.Sleep(100 * time.Millisecond)
			}
		}()
		time.Sleep(500 * time.Millisecond)
		if waited := x.yield(t.Context(), 5*time.Second); waited != 5*time.Second {
			t.Errorf("waits %v of 5 s for who reads on", waited)
		}
		if waited := x.yield(t.Context(), time.Minute); waited < 14*time.Second || waited > 17*time.Second {
			t.Errorf("waits %v for who reads for another 15 s", waited)
		}
		<-done
	})
}
