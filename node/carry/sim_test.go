package carry

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// seeds returns how many towns a test runs: P2PNODE_CARRY_SEEDS, as in 1000 or
// 7:8 for one of them.
func seeds(t *testing.T, usual uint64) (from, to uint64) {
	s := os.Getenv("P2PNODE_CARRY_SEEDS")
	if s == "" {
		return 1, usual + 1
	}
	if n, err := fmt.Sscanf(s, "%d:%d", &from, &to); n == 2 && err == nil {
		return from, to
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("P2PNODE_CARRY_SEEDS is %q: want a number, or FROM:TO", s)
	}
	return 1, n + 1
}

// eachTown runs a story for each seed.
func eachTown(t *testing.T, usual uint64, story func(*town)) {
	from, to := seeds(t, usual)
	for seed := from; seed < to; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newTown(t, seed, 12.5e6)
				story(w)
				w.end()
			})
		})
	}
}

// end ends all that runs.
func (w *town) end() {
	for _, p := range w.people {
		p.end()
	}
	w.group.Wait()
}

// settled reports whether all that is wanted is where it is wanted.
func (w *town) settled() bool {
	for _, p := range w.people {
		for _, f := range p.fetches {
			if !f.done && !p.dead {
				return false
			}
		}
	}
	return true
}

func (w *town) copies(good int) float64 {
	return float64(w.goods[good].crossed) / float64(w.goods[good].total)
}

// Where nothing happens each chunk crosses the WAN once.
func TestCalmTownFetchesOnce(t *testing.T) {
	eachTown(t, 10, func(w *town) {
		w.abroad = []*abroad{{"publisher", true}}
		good := w.add(40)
		for i := range 6 {
			w.move(fmt.Sprint("m", i), honest, 0)
		}
		for _, p := range w.people {
			w.after(time.Second+w.some(2*time.Second), func() { p.want(good) })
		}
		w.after(4*time.Second, func() {})
		w.live(time.Minute, func() bool { return time.Since(w.start) > 3100*time.Millisecond && w.settled() })
		w.t.Logf("seed %d: %v, %.3f copies, gap %v %s", w.seed, time.Since(w.start), w.copies(good), w.gap, w.which)
		if c := w.copies(good); c > 1.03 {
			w.t.Errorf("seed %d: %.3f copies", w.seed, c)
		}
	})
}

// What a member says last, that it has all, arrives though its line is ended then.
func TestLastWordArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 1, 12.5e6)
		w.abroad = []*abroad{{"publisher", true}}
		good := w.add(4)
		p, o := w.move("a", honest, 0), w.move("b", honest, 0)
		pass := func(d time.Duration) {
			over := false
			w.after(d, func() { over = true })
			w.live(time.Hour, func() bool { return over })
		}
		pass(time.Second)
		if id, _ := p.Planner(w.goods[good].id); id != p.id {
			p, o = o, p
		}
		f := o.want(good)
		w.live(time.Minute, func() bool { return f.done })
		pass(openWithin + time.Second)
		if plan := p.planner.(*Planner).plans[w.goods[good].id].plan; !plan.Holds(o.id) {
			t.Error("the planner doesn't know who has it")
		}
		w.end()
	})
}
