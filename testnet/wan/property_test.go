package wan

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/p2pnode/p2pnode/bandwidth"
)

func drawSettings(t *rapid.T, label string) Settings {
	span := func(name string, most time.Duration) time.Duration {
		return time.Duration(rapid.Int64Range(0, int64(most)).Draw(t, label+name))
	}
	s := Settings{
		Rate:     bandwidth.Rate(rapid.SampledFrom([]int64{0, 1, 9_999, 64_000, 2_000_000, 33_333_333, 100_000_000, int64(maxRate)}).Draw(t, label+"rate")),
		Overhead: rapid.SampledFrom([]int{0, 14, 38}).Draw(t, label+"overhead"),
		Delay:    span("delay", 300*ms),
		Reorder:  rapid.Bool().Draw(t, label+"reorder"),
	}
	if rapid.Bool().Draw(t, label+"jittery") {
		s.Jitter = span("jitter", 50*ms)
	}
	if rapid.Bool().Draw(t, label+"by time") {
		s.Buffer.Time = span("buffer", 500*ms)
	} else {
		s.Buffer.Bytes = rapid.IntRange(1, 100_000).Draw(t, label+"bytes")
	}
	switch rapid.IntRange(0, 2).Draw(t, label+"loss") {
	case 1:
		s.Loss.Mean = Share(rapid.Int64Range(0, int64(whole)).Draw(t, label+"share"))
	case 2:
		s.Loss = Loss{Mean: Share(rapid.Int64Range(1, int64(whole)/4).Draw(t, label+"share")), Burst: rapid.IntRange(1, 50).Draw(t, label+"burst")}
	}
	if rapid.Bool().Draw(t, label+"outage") {
		s.Outages = []Outage{{At: span("at", 100*ms), For: 1 + span("for", 50*ms), Every: 100 * ms}}
	}
	return s
}

// Packets are offered and settings changed at random times, and what must hold is
// looked at all the time.
func TestLinkProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const classes = 3
		s := drawSettings(t, "")
		l, err := NewLink(s, classes, rapid.Uint64().Draw(t, "seed"))
		if err != nil {
			t.Fatalf("%v: %v", s, err)
		}
		changes := rapid.Bool().Draw(t, "changes")
		orderly := !s.Reorder
		var (
			now      time.Duration
			offered  int
			entered  int
			last     = -1
			lastAt   time.Duration
			seen     = map[int]bool{}
			took     [classes]int64
			arrivals []arrival
		)
		take := func() {
			for {
				next, ok := l.Next()
				p, at, fate, got := l.Take(now)
				if got && (!ok || next > now) {
					t.Fatalf("at %v: took packet %d, and next was %v (%v)", now, p.ID, next, ok)
				}
				if next, ok := l.Next(); !got && ok && next <= now {
					t.Fatalf("at %v: nothing to take, and next is %v", now, next)
				}
				if !got {
					return
				}
				if at > now || seen[p.ID] {
					t.Fatalf("at %v: packet %d, of %v, seen before: %v", now, p.ID, at, seen[p.ID])
				}
				seen[p.ID] = true
				took[p.Class]++
				if fate != Delivered {
					continue
				}
				if at < lastAt {
					t.Fatalf("packet %d arrived at %v, behind one of %v", p.ID, at, lastAt)
				}
				if orderly && p.ID < last {
					t.Fatalf("packet %d behind %d", p.ID, last)
				}
				last, lastAt = p.ID, at
				arrivals = append(arrivals, arrival{p, at, fate})
			}
		}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now += time.Duration(rapid.Int64Range(0, int64(5*ms)).Draw(t, "gap"))
			if rapid.Bool().Draw(t, "take") {
				take()
			}
			if changes && rapid.IntRange(0, 20).Draw(t, "change") == 0 {
				s = drawSettings(t, "new ")
				orderly = orderly && !s.Reorder
				if err := l.Set(now, s); err != nil {
					t.Fatalf("%v: %v", s, err)
				}
			}
			p := Packet{ID: offered, Size: rapid.IntRange(1, 1500).Draw(t, "size"), Class: rapid.IntRange(0, classes-1).Draw(t, "class")}
			offered++
			before, had := l.Waiting()
			if l.Offer(now, p) {
				entered++
				_, has := l.Waiting()
				if depth := s.Buffer.bytes(s.Rate); s.Rate > 0 && has > depth && has > p.Size+s.Overhead {
					t.Fatalf("%d bytes in the queue, its depth is %d (before: %d packets of %d bytes)", has, depth, before, had)
				}
			}
			held(t, l, int64(offered))
		}
		now = math.MaxInt64 / 2
		take()
		held(t, l, int64(offered))
		if packets, bytes := l.Waiting(); packets != 0 || bytes != 0 || l.line.len() != 0 {
			t.Fatalf("at the end %d packets of %d bytes wait, %d are on the line", packets, bytes, l.line.len())
		}
		if len(seen) != entered {
			t.Fatalf("%d entered, %d came out", entered, len(seen))
		}
		for i, c := range l.Counts() {
			if took[i] != c.Left || c.Left != c.Delivered.Packets+c.Lost.Packets+c.Out.Packets {
				t.Fatalf("class %d: %d taken, counted %+v", i, took[i], c)
			}
		}
		if !changes && s.Jitter == 0 {
			neverFaster(t, s, arrivals)
		}
	})
}

// held checks that nothing is lost sight of.
func held(t *rapid.T, l *Link, offered int64) {
	var all, ended int64
	for _, c := range l.Counts() {
		all += c.Offered.Packets
		ended += c.Delivered.Packets + c.Full.Packets + c.Lost.Packets + c.Out.Packets
	}
	waiting, _ := l.Waiting()
	if all != offered || all != ended+int64(waiting+l.line.len()) {
		t.Fatalf("%d offered, counted %d; %d have ended, %d wait, %d on the line", offered, all, ended, waiting, l.line.len())
	}
}

// neverFaster checks that between any two arrivals no more came than the rate
// lets through. The first packet of an interval was sent before it.
func neverFaster(t *rapid.T, s Settings, all []arrival) {
	if s.Rate == 0 {
		return
	}
	for i := range all {
		bits := 0.0
		for _, a := range all[i+1:] {
			bits += float64(a.Size+s.Overhead) * 8
			// A tenth of a bit for the rounding of the sum itself.
			if most := float64(s.Rate) * float64(a.at-all[i].at) / 1e9; bits > most+0.1 {
				t.Fatalf("%v bits in %v, at most %v fit", bits, a.at-all[i].at, most)
			}
		}
	}
}
