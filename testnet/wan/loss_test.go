package wan

import (
	"math"
	"math/rand/v2"
	"testing"
)

// runs lets a channel decide about n packets: the share it lost, the mean length
// of its stays in the bad state and the share of packets that met it there.
func runs(l Loss, n int, seed uint64) (lost, stay, bad float64) {
	c := channel{rng: rand.New(rand.NewPCG(seed, 1))}
	entered, in := 0, 0
	for range n {
		before := c.bad
		if c.loses(l) {
			lost++
		}
		if c.bad {
			in++
			if !before {
				entered++
			}
		}
	}
	return lost / float64(n), float64(in) / float64(max(entered, 1)), float64(in) / float64(n)
}

func TestLossIsAsMuchAsAsked(t *testing.T) {
	const n = 1_000_000
	for _, share := range []Share{0, 1_000, 10_000, 50_000, whole / 2, whole} {
		p := float64(share) / float64(whole)
		got, _, _ := runs(Loss{Mean: share}, n, 1)
		if off := math.Abs(got - p); off > 5*math.Sqrt(p*(1-p)/n) {
			t.Errorf("loss=%v: lost %v", share, got)
		}
	}
}

func TestBurstsAreAsLongAsAsked(t *testing.T) {
	const n = 2_000_000
	for _, l := range []Loss{
		{Mean: 10_000, Burst: 4},
		{Mean: 50_000, Burst: 20},
		{Mean: 20_000, Burst: 10, Bad: 500_000},
		{Mean: 20_000, Burst: 10, Bad: 500_000, Good: 1_000},
		{Mean: 500_000, Burst: 2},
		{Mean: 500_000, Burst: 1},
	} {
		if err := l.check(); err != nil {
			t.Fatal(err)
		}
		lost, stay, bad := runs(l, n, 1)
		// The stays are what varies. Their lengths are geometric: the deviation of
		// the mean of k of them is at most Burst/sqrt(k), and the share of losses
		// varies by the same part of itself, good and bad stays alike.
		k := float64(n) * l.badTime() / float64(l.Burst)
		part := 5 * math.Sqrt(2/k)
		for _, v := range []struct {
			what      string
			got, want float64
		}{
			{"share lost", lost, float64(l.Mean) / float64(whole)},
			{"packets of a burst", stay, float64(l.Burst)},
			{"share of bad time", bad, l.badTime()},
		} {
			if math.Abs(v.got-v.want) > part*v.want {
				t.Errorf("%+v: %s: %v, want %v", l, v.what, v.got, v.want)
			}
		}
	}
}
