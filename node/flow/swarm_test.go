package flow

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/p2pnode/p2pnode/bandwidth"
)

const (
	mb  = 1e6
	kib = 1 << 10
)

// seeds is how many swarms each test runs; -seeds=1000 for a long look.
var seeds = flag.Uint64("seeds", 5, "how many swarms each test runs")

func eachSeed(t *testing.T, run func(t *testing.T, seed uint64)) {
	for seed := uint64(1); seed <= *seeds; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { run(t, seed) })
	}
}

// alone returns the time a swarm of one peer takes.
func alone(t *testing.T, seed uint64, chunks int, p simPeer) time.Duration {
	w := newSwarm(t, seed, chunks)
	w.join(&p)
	return w.run(time.Hour)
}

func TestFastSourceFillsItsPipe(t *testing.T) {
	for _, p := range []simPeer{
		{name: "loopback", link: bandwidth.LAN, rate: 800 * mb, latency: time.Millisecond / 4},
		{name: "lan", link: bandwidth.LAN, rate: 118 * mb, latency: time.Millisecond},
		{name: "wan", link: bandwidth.WAN, rate: 2.5 * mb, latency: 50 * time.Millisecond},
		{name: "far", link: bandwidth.WAN, rate: 12 * mb, latency: 300 * time.Millisecond},
	} {
		t.Run(p.name, func(t *testing.T) {
			w := newSwarm(t, 1, 500)
			w.join(&p)
			took := w.run(time.Hour)
			wire := time.Duration(float64(w.total()) / p.rate * 1e9)
			if best := wire + 4*p.latency; took > best*105/100 {
				t.Errorf("took %v, the wire needs %v", took, best)
			}
			if w.waste() != 0 {
				t.Errorf("%.1f%% wasted with one source", 100*w.waste())
			}
		})
	}
}

func TestSourcesShareTheWork(t *testing.T) {
	eachSeed(t, func(t *testing.T, seed uint64) {
		w := newSwarm(t, seed, 200)
		var rate float64
		for i, r := range []float64{100, 50, 20, 10} {
			rate += r * mb
			w.join(&simPeer{name: fmt.Sprint("p", i), link: bandwidth.LAN, rate: r * mb, latency: time.Millisecond})
		}
		took := w.run(time.Hour)
		if best := float64(w.total()) / rate; took.Seconds() > 1.15*best {
			t.Errorf("took %v, together they need %.2fs", took, best)
		}
		if w.waste() > 0.05 {
			t.Errorf("%.1f%% wasted", 100*w.waste())
		}
	})
}

// G25: 9 of 10 peers at 1 KiB/s, from a content of 16 chunks to one of 1,000.
func TestSlowPeersCostNoTimeG25(t *testing.T) {
	fast := simPeer{name: "fast", link: bandwidth.LAN, rate: 10 * mb, latency: 2 * time.Millisecond}
	for _, chunks := range []int{16, 100, 500} {
		t.Run(fmt.Sprint(chunks), func(t *testing.T) {
			eachSeed(t, func(t *testing.T, seed uint64) {
				best := alone(t, seed, chunks, fast)
				w := newSwarm(t, seed, chunks)
				for i := range 9 {
					w.join(&simPeer{name: fmt.Sprint("slow", i), link: bandwidth.LAN, rate: kib, latency: 2 * time.Millisecond})
				}
				p := fast
				w.join(&p)
				if took := w.run(time.Hour); took > best*3/2 {
					t.Errorf("took %v, the fast peer alone %v", took, best)
				}
				if w.waste() > 0.05 {
					t.Errorf("%.1f%% wasted", 100*w.waste())
				}
			})
		})
	}
}

func TestSilentPeersCostNoTime(t *testing.T) {
	fast := simPeer{name: "fast", link: bandwidth.WAN, rate: 10 * mb, latency: 40 * time.Millisecond}
	eachSeed(t, func(t *testing.T, seed uint64) {
		best := alone(t, seed, 100, fast)
		w := newSwarm(t, seed, 100)
		for i := range 9 {
			w.join(&simPeer{name: fmt.Sprint("dead", i), link: bandwidth.LAN, latency: 40 * time.Millisecond})
		}
		p := fast
		w.join(&p)
		if took := w.run(time.Hour); took > best*3/2 {
			t.Errorf("took %v, the fast peer alone %v", took, best)
		}
	})
}

// A slow link is no reason to ask for everything twice.
func TestSlowSourcesAlikeWasteLittle(t *testing.T) {
	eachSeed(t, func(t *testing.T, seed uint64) {
		w := newSwarm(t, seed, 40)
		for i := range 4 {
			w.join(&simPeer{name: fmt.Sprint("p", i), link: bandwidth.WAN, rate: 20 * kib, latency: 200 * time.Millisecond})
		}
		took := w.run(2 * time.Hour)
		if best := float64(w.total()) / (80 * kib); took.Seconds() > 1.25*best {
			t.Errorf("took %v, together they need %.0fs", took, best)
		}
		if w.waste() > 0.05 {
			t.Errorf("%.1f%% wasted", 100*w.waste())
		}
	})
}

func TestSourceDiesInTheMiddle(t *testing.T) {
	eachSeed(t, func(t *testing.T, seed uint64) {
		w := newSwarm(t, seed, 200)
		var ps []*simPeer
		for i := range 3 {
			ps = append(ps, w.join(&simPeer{name: fmt.Sprint("p", i), link: bandwidth.WAN, rate: 10 * mb, latency: 20 * time.Millisecond}))
		}
		w.after(2*time.Second, func() { w.leave(ps[1]) })
		// 2 s with three, the rest with two
		best := 2 + (float64(w.total())-2*30*mb)/(20*mb)
		if took := w.run(time.Hour); took.Seconds() > 1.1*best {
			t.Errorf("took %v, want about %.1fs", took, best)
		}
		if w.waste() > 0.05 {
			t.Errorf("%.1f%% wasted", 100*w.waste())
		}
	})
}

// A source whose network is gone says nothing; the others take over in seconds.
func TestSourceGoesSilentInTheMiddle(t *testing.T) {
	eachSeed(t, func(t *testing.T, seed uint64) {
		w := newSwarm(t, seed, 100)
		a := w.join(&simPeer{name: "a", link: bandwidth.LAN, rate: 10 * mb, latency: 2 * time.Millisecond})
		w.join(&simPeer{name: "b", link: bandwidth.LAN, rate: 10 * mb, latency: 2 * time.Millisecond})
		var held []int
		w.after(2*time.Second, func() {
			a.rate = 0
			for _, r := range w.core.byID[a.id].open {
				held = append(held, r.chunk)
			}
		})
		relieved := time.Duration(0)
		w.after(2*time.Second+1600*time.Millisecond, func() {
			for _, i := range held {
				if u := w.core.under[i]; u != nil && len(u.open) == 1 && u.open[0].source.peer == "a" {
					t.Errorf("chunk %d still waits for a alone, 1.6s after it fell silent", i)
				}
			}
			relieved = w.now.Sub(w.start)
		})
		w.run(time.Hour)
		if len(held) == 0 || relieved == 0 {
			t.Fatal("a was asked for nothing: nothing was tested")
		}
	})
}

// G11, G12: liars among the sources cost two bad blocks each, and the content
// is right.
func TestLiarsAreBanned(t *testing.T) {
	eachSeed(t, func(t *testing.T, seed uint64) {
		w := newSwarm(t, seed, 200)
		var liars []*simPeer
		for i := range 3 {
			liars = append(liars, w.join(&simPeer{
				name: fmt.Sprint("liar", i), link: bandwidth.LAN, rate: 50 * mb, latency: time.Millisecond,
				honest: func(n int) bool { return n%3 != 0 },
			}))
		}
		for i := range 7 {
			w.join(&simPeer{name: fmt.Sprint("p", i), link: bandwidth.LAN, rate: 10 * mb, latency: time.Millisecond})
		}
		w.run(time.Minute)
		for _, p := range liars {
			if p.bans != 1 {
				t.Errorf("%s was banned %d times after %d bad blocks", p.name, p.bans, p.bad)
			}
			if n := w.core.byPeer[w.core.byID[p.id].peer].bad; n > 2*simBlocks {
				t.Errorf("%s: %d bad blocks were looked at", p.name, n)
			}
		}
		if w.waste() > 0.05 {
			t.Errorf("%.1f%% wasted", 100*w.waste())
		}
	})
}

// G11: one honest source is enough.
func TestOneHonestSourceIsEnoughG11(t *testing.T) {
	eachSeed(t, func(t *testing.T, seed uint64) {
		w := newSwarm(t, seed, 60)
		for i := range 9 {
			p := &simPeer{name: fmt.Sprint("liar", i), link: bandwidth.LAN, rate: 50 * mb, latency: time.Millisecond}
			switch i % 3 {
			case 0:
				p.honest = func(int) bool { return false }
			case 1:
				p.refuse = true
			case 2:
				p.rate = 0
			}
			w.join(p)
		}
		w.join(&simPeer{name: "honest", link: bandwidth.WAN, rate: 10 * mb, latency: 30 * time.Millisecond})
		w.run(time.Minute)
	})
}

func TestLateSourceIsUsed(t *testing.T) {
	eachSeed(t, func(t *testing.T, seed uint64) {
		w := newSwarm(t, seed, 200)
		w.join(&simPeer{name: "slow", link: bandwidth.WAN, rate: 1 * mb, latency: 50 * time.Millisecond})
		w.after(20*time.Second, func() {
			w.join(&simPeer{name: "fast", link: bandwidth.LAN, rate: 100 * mb, latency: time.Millisecond})
		})
		took := w.run(time.Hour)
		if most := 20 + float64(w.total())/(100*mb) + 1; took.Seconds() > most {
			t.Errorf("took %v, want at most %.1fs", took, most)
		}
		if w.waste() > 0.01 {
			t.Errorf("%.1f%% wasted", 100*w.waste())
		}
	})
}

func TestPublisherRestarts(t *testing.T) {
	eachSeed(t, func(t *testing.T, seed uint64) {
		w := newSwarm(t, seed, 100)
		p := w.join(&simPeer{name: "publisher", link: bandwidth.WAN, rate: 10 * mb, latency: 20 * time.Millisecond})
		w.after(3*time.Second, func() { w.leave(p) })
		w.after(13*time.Second, func() { w.join(p) })
		took := w.run(time.Hour)
		if most := 10 + float64(w.total())/(10*mb) + 0.5; took.Seconds() > most {
			t.Errorf("took %v, want at most %.1fs", took, most)
		}
		// Asked for more sources at once, then after 1, 2, 4 s ...
		var calls int
		for _, at := range w.needs {
			if at >= 3*time.Second && at < 13*time.Second {
				calls++
			}
		}
		if calls < 3 || calls > 5 {
			t.Errorf("%d calls for sources in 10 s without one: %v", calls, w.needs)
		}
	})
}

// Sources that fetch themselves have little at first, and more later.
func TestPartialSourcesGrow(t *testing.T) {
	eachSeed(t, func(t *testing.T, seed uint64) {
		const chunks = 120
		w := newSwarm(t, seed, chunks)
		for i := range 4 {
			p := &simPeer{name: fmt.Sprint("p", i), link: bandwidth.LAN, rate: 20 * mb, latency: time.Millisecond, has: roaring.New()}
			w.join(p)
			var grow func()
			grow = func() {
				for range 3 {
					p.has.Add(uint32(w.rng.IntN(chunks)))
				}
				w.tell(p)
				w.after(50*time.Millisecond, grow)
			}
			w.after(50*time.Millisecond, grow)
		}
		w.run(time.Hour)
		if w.waste() > 0.05 {
			t.Errorf("%.1f%% wasted", 100*w.waste())
		}
	})
}

// Our own disk standing still is nobody's fault.
func TestSlowDiskBlamesNobody(t *testing.T) {
	w := newSwarm(t, 1, 100)
	w.disk = func(at time.Duration) time.Duration {
		if at > time.Second && at < 6*time.Second {
			return 6*time.Second - at
		}
		return time.Millisecond
	}
	for _, name := range []string{"a", "b"} {
		w.join(&simPeer{name: name, link: bandwidth.LAN, rate: 20 * mb, latency: time.Millisecond})
	}
	if took := w.run(time.Hour); took < 6*time.Second {
		t.Fatalf("took %v: the disk held nothing up", took)
	}
	if w.waste() > 0 {
		t.Errorf("%.1f%% wasted", 100*w.waste())
	}
	for _, d := range w.decisions {
		if d.Verb == Rest || d.Verb == Doubt {
			t.Errorf("after %v: %s %s: %s", d.Time.Sub(epoch), d.Verb, string(d.Peer), d.Reason)
		}
	}
}

// Who would be late with the last chunks isn't asked for them.
func TestSlowSourceIsNotAskedForTheEnd(t *testing.T) {
	eachSeed(t, func(t *testing.T, seed uint64) {
		w := newSwarm(t, seed, 100)
		w.join(&simPeer{name: "fast", link: bandwidth.LAN, rate: 20 * mb, latency: time.Millisecond})
		w.join(&simPeer{name: "slow", link: bandwidth.LAN, rate: 0.5 * mb, latency: time.Millisecond})
		took := w.run(time.Hour)
		if best := float64(w.total()) / (20.5 * mb); took.Seconds() > 1.1*best {
			t.Errorf("took %v, together they need %.1fs", took, best)
		}
		relieved := 0
		for _, d := range w.decisions {
			if d.Verb == Cancel && d.Peer == "slow" {
				relieved++
			}
		}
		if relieved > 3 {
			t.Errorf("slow had to be relieved of %d chunks", relieved)
		}
	})
}

// A source that claims what it hasn't is left alone for longer and longer.
func TestRefuserRests(t *testing.T) {
	w := newSwarm(t, 1, 10)
	p := w.join(&simPeer{name: "empty", link: bandwidth.LAN, rate: 1 * mb, latency: time.Millisecond, refuse: true})
	w.after(5*time.Minute, func() { w.leave(p); p.refuse = false; w.join(p) })
	w.run(time.Hour)
	asked := 0
	for _, n := range w.asked {
		asked += n
	}
	if asked > 40 {
		t.Errorf("%d requests in 5 minutes to a source that has nothing", asked)
	}
}
