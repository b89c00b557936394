package wan

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	ms  = time.Millisecond
	mtu = 1500
)

func newLink(t testing.TB, s Settings, seed uint64) *Link {
	t.Helper()
	l, err := NewLink(s, 1, seed)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func parsed(t testing.TB, text string) Settings {
	t.Helper()
	s, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// arrival is a packet that left a link.
type arrival struct {
	Packet
	at   time.Duration
	fate Fate
}

// taken returns all that left by now.
func taken(l *Link, now time.Duration) (all []arrival) {
	for {
		p, at, fate, ok := l.Take(now)
		if !ok {
			return all
		}
		all = append(all, arrival{p, at, fate})
	}
}

// A story offers packets and changes settings at their times, and says what came
// of each packet. A line is "TIME send SIZE [xN]" or "TIME set SETTINGS".
func story(t *testing.T, settings, script string) string {
	t.Helper()
	l := newLink(t, parsed(t, settings), 1)
	var out []arrival
	id := 0
	for line := range strings.Lines(script) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		now, err := time.ParseDuration(f[0])
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, taken(l, now)...)
		switch f[1] {
		case "set":
			s, err := l.Settings().With(strings.Join(f[2:], " "))
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Set(now, s); err != nil {
				t.Fatal(err)
			}
		case "send":
			size, times := 0, 1
			fmt.Sscanf(f[2], "%d", &size)
			if len(f) > 3 {
				fmt.Sscanf(f[3], "x%d", &times)
			}
			for range times {
				p := Packet{ID: id, Size: size}
				id++
				if !l.Offer(now, p) {
					out = append(out, arrival{p, now, Full})
				}
			}
		default:
			t.Fatalf("line %q", line)
		}
	}
	out = append(out, taken(l, math.MaxInt64)...)
	slices.SortStableFunc(out, func(a, b arrival) int { return a.ID - b.ID })
	var b strings.Builder
	for _, a := range out {
		fmt.Fprintf(&b, "%d %v %s\n", a.ID, a.at, []string{Delivered: "there", Full: "full", Lost: "lost", Out: "out"}[a.fate])
	}
	return b.String()
}

func TestLinkStories(t *testing.T) {
	for _, c := range []struct {
		name, settings, script, want string
	}{
		{"nothing set hands on at once", "", "5ms send 1500 x2", "0 5ms there\n1 5ms there\n"},
		{"delay is the same for all", "delay=20ms", "0s send 100\n3ms send 1500", "0 20ms there\n1 23ms there\n"},
		{"one after the other at the rate", "rate=12mbit delay=10ms", "0s send 1500 x3", "0 11ms there\n1 12ms there\n2 13ms there\n"},
		{"an idle link saves nothing up", "rate=12mbit", "0s send 1500\n100ms send 1500 x2", "0 1ms there\n1 101ms there\n2 102ms there\n"},
		{"overhead takes time", "rate=12mbit overhead=1000", "0s send 500 x2", "0 1ms there\n1 2ms there\n"},
		{"a buffer in time, full", "rate=12mbit buffer=3ms", "0s send 1500 x5", "0 1ms there\n1 2ms there\n2 3ms there\n3 0s full\n4 0s full\n"},
		{"a buffer in bytes, full", "rate=12mbit buffer=3000B", "0s send 1500 x3", "0 1ms there\n1 2ms there\n2 0s full\n"},
		{"there is room again when a packet has left whole", "rate=12mbit buffer=2ms", "0s send 1500 x2\n999us send 1500\n1ms send 1500", "0 1ms there\n1 2ms there\n2 999µs full\n3 3ms there\n"},
		{"a packet larger than the buffer enters an empty link", "rate=12mbit buffer=100B", "0s send 1500 x2", "0 1ms there\n1 0s full\n"},
		{"what fits goes in though a larger one did not", "rate=12mbit buffer=1600B", "0s send 1500 x2\n0s send 100", "0 1ms there\n1 0s full\n2 1.066667ms there\n"},
		{"all lost", "rate=12mbit loss=100% delay=1s", "0s send 1500 x2", "0 1ms lost\n1 2ms lost\n"},
		{"outage by the time of leaving the queue", "rate=12mbit delay=50ms outage=2ms+2ms", "0s send 1500 x5", "0 51ms there\n1 2ms out\n2 3ms out\n3 54ms there\n4 55ms there\n"},
		{"outages come again", "outage=1ms+1ms/10ms", "0s send 1\n1ms send 1\n2ms send 1\n10ms send 1\n11ms send 1\n21ms send 1\n22ms send 1", "0 0s there\n1 1ms out\n2 2ms there\n3 10ms there\n4 11ms out\n5 21ms out\n6 22ms there\n"},
		{"an outage counts from when it was set", "", "10ms set outage=0s+5ms\n10ms send 1\n14ms send 1\n15ms send 1", "0 10ms out\n1 14ms out\n2 15ms there\n"},
		{"a lower rate holds for what waits", "rate=12mbit", "0s send 1500 x2\n500us set rate=6mbit", "0 1.5ms there\n1 3.5ms there\n"},
		{"a higher rate too", "rate=12mbit", "0s send 1500 x2\n500us set rate=24mbit", "0 750µs there\n1 1.25ms there\n"},
		{"no rate lets go of all that waits", "rate=12mbit", "0s send 1500 x2\n500us set rate=unlimited", "0 500µs there\n1 500µs there\n"},
		{"a smaller buffer drops nothing that waits", "rate=12mbit buffer=10ms", "0s send 1500 x3\n0s set buffer=1ms\n0s send 1500", "0 1ms there\n1 2ms there\n2 3ms there\n3 0s full\n"},
		{"overhead counts from when it was set", "rate=12mbit buffer=3000B", "0s send 1500 x2\n0s set overhead=1000\n2ms send 500", "0 1ms there\n1 2ms there\n2 3ms there\n"},
		{"a shorter delay overtakes nothing", "delay=100ms", "0s send 1\n10ms set delay=10ms\n20ms send 1\n95ms send 1", "0 100ms there\n1 100ms there\n2 105ms there\n"},
		{"unless it may", "delay=100ms reorder=yes", "0s send 1\n10ms set delay=10ms\n20ms send 1", "0 100ms there\n1 30ms there\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := story(t, c.settings, c.script); got != c.want {
				t.Errorf("got:\n%swant:\n%s", got, c.want)
			}
		})
	}
}

// carry offers n packets of the MTU, one each gap, and returns what left.
func carry(t testing.TB, settings string, n int, gap time.Duration, seed uint64) ([]arrival, *Link) {
	t.Helper()
	l := newLink(t, parsed(t, settings), seed)
	var out []arrival
	for i := range n {
		now := time.Duration(i) * gap
		out = append(out, taken(l, now)...)
		l.Offer(now, Packet{ID: i, Size: mtu})
	}
	return append(out, taken(l, math.MaxInt64)...), l
}

func TestSameSeedSameFates(t *testing.T) {
	const settings = "rate=20mbit buffer=20ms delay=20ms jitter=5ms reorder=yes loss=3% burst=4"
	a, _ := carry(t, settings, 5000, 500*time.Microsecond, 7)
	b, _ := carry(t, settings, 5000, 500*time.Microsecond, 7)
	c, _ := carry(t, settings, 5000, 500*time.Microsecond, 8)
	if !slices.Equal(a, b) {
		t.Error("the same seed gave other fates")
	}
	if slices.Equal(a, c) {
		t.Error("another seed gave the same fates")
	}
}

func TestJitterChangesNoLosses(t *testing.T) {
	lost := func(settings string) (ids []int) {
		all, _ := carry(t, settings, 5000, ms, 3)
		for _, a := range all {
			if a.fate == Lost {
				ids = append(ids, a.ID)
			}
		}
		return ids
	}
	if a, b := lost("loss=5%"), lost("loss=5% jitter=3ms"); len(a) == 0 || !slices.Equal(a, b) {
		t.Errorf("%d lost without jitter, %d others with it", len(a), len(b))
	}
}

func TestOutageChangesNoLaterLosses(t *testing.T) {
	lost := func(settings string) (ids []int) {
		all, _ := carry(t, settings, 5000, ms, 3)
		for _, a := range all {
			if a.fate == Lost && a.ID >= 2000 {
				ids = append(ids, a.ID)
			}
		}
		return ids
	}
	if a, b := lost("loss=5%"), lost("loss=5% outage=1s+1s"); len(a) == 0 || !slices.Equal(a, b) {
		t.Errorf("%d lost without an outage before, %d others after one", len(a), len(b))
	}
}

func TestJitterIsEvenAndOnTopOfDelay(t *testing.T) {
	for _, reorder := range []string{"no", "yes"} {
		// Packets so far apart that order costs nothing.
		all, _ := carry(t, "delay=20ms jitter=10ms reorder="+reorder, 20_000, 10*ms, 1)
		var quarter [4]int
		for _, a := range all {
			extra := a.at - time.Duration(a.ID)*10*ms - 20*ms
			if extra < 0 || extra > 10*ms {
				t.Fatalf("packet %d took %v over its delay", a.ID, extra)
			}
			quarter[min(3, extra/(2500*time.Microsecond))]++
		}
		for _, n := range quarter {
			// Six deviations of a binomial with a quarter of 20,000.
			if n < 5000-368 || n > 5000+368 {
				t.Errorf("reorder=%s: quarters of the jitter: %v, want about 5000 each", reorder, quarter)
				break
			}
		}
	}
}

func TestReorderingHappensWhereAllowed(t *testing.T) {
	passed := func(settings string) (n int) {
		all, _ := carry(t, settings, 1000, ms, 1)
		for i := 1; i < len(all); i++ {
			if all[i].ID < all[i-1].ID {
				n++
			}
		}
		return n
	}
	if n := passed("delay=20ms jitter=10ms"); n > 0 {
		t.Errorf("%d packets came behind later ones", n)
	}
	if n := passed("delay=20ms jitter=10ms reorder=yes"); n < 100 {
		t.Errorf("%d of 1000 packets came behind later ones, want many", n)
	}
}

// What the requirements ask of the real thing, of the model: exact.
func TestRateDelayAndLossAreWhatWasAsked(t *testing.T) {
	for _, rate := range []int{2, 20, 100} {
		for _, delay := range []int{0, 20, 300} {
			for _, buffer := range []int{20, 500} {
				settings := fmt.Sprintf("rate=%dmbit delay=%dms buffer=%dms", rate, delay, buffer)
				packet := time.Duration(mtu * 8 * 1000 / rate) // ns: bits / (bits a us)
				// Twice as much as it can carry, for 10 s.
				all, l := carry(t, settings, int(10*time.Second/(packet/2)), packet/2, 1)
				got := l.Counts()[0].Delivered
				span := all[len(all)-1].at - time.Duration(delay)*ms
				if mbit := float64(got.Bytes*8) / span.Seconds() / 1e6; math.Abs(mbit-float64(rate)) > float64(rate)/1e4 {
					t.Errorf("%s: %.3f Mbit/s", settings, mbit)
				}
				longest := time.Duration(0)
				for _, a := range all {
					longest = max(longest, a.at-time.Duration(a.ID)*(packet/2))
				}
				most := time.Duration(delay+buffer) * ms
				if longest > most || longest < most-packet {
					t.Errorf("%s: the slowest packet took %v, want %v", settings, longest, most)
				}
			}
		}
	}
}
