package foreground

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// G.107, table B.1: ratings and what people think of them.
func TestOpinionIsThatOfTheTable(t *testing.T) {
	for r, want := range map[float64]float64{90: 4.34, 80: 4.03, 70: 3.60, 60: 3.10, 50: 2.58, 0: 1, 100: 4.5} {
		if got := opinion(r); math.Abs(got-want) > 0.0065 {
			t.Errorf("R of %v: %.3f, want %.2f", r, got, want)
		}
	}
}

func TestQualityIsThatOfThePaper(t *testing.T) {
	for _, c := range []struct {
		delay   time.Duration
		missing float64
		want    float64
	}{
		{0, 0, 94.2},
		{100 * time.Millisecond, 0, 91.8},
		{277300 * time.Microsecond, 0, 94.2 - 6.6552 - 11},
		{0, 0.01, 94.2 - 30*math.Log(1.15)},
		{10 * time.Second, 0, 0},
	} {
		if got := quality(c.delay, c.missing); math.Abs(got-c.want) > 1e-6 {
			t.Errorf("%v, %v missing: %v, want %v", c.delay, c.missing, got, c.want)
		}
	}
}

// Nothing gets better by more delay or more loss.
func TestOpinionFallsWithDelayAndLoss(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		delay := time.Duration(rapid.Int64Range(0, int64(2*time.Second)).Draw(t, "delay"))
		missing := rapid.Float64Range(0, 1).Draw(t, "missing")
		better := opinion(quality(delay, missing))
		more := time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "more"))
		moreMissing := rapid.Float64Range(missing, 1).Draw(t, "more missing")
		worse := opinion(quality(delay+more, moreMissing))
		if worse > better+1e-9 || better < 1 || better > 4.5 {
			t.Fatalf("%v, %v: %v; %v more, %v: %v", delay, missing, better, more, moreMissing, worse)
		}
	})
}

func TestPlayoutDelaySuitsTheTalk(t *testing.T) {
	const ms = time.Millisecond
	steady := func(n int, d time.Duration) (out []time.Duration) {
		for range n {
			out = append(out, d)
		}
		return out
	}
	none := talk{sent: 100}.best()
	still := talk{steady(100, 20*ms), 100}.best()
	// One that is very late is better missed than waited for.
	straggler := talk{append(steady(99, 20*ms), time.Second), 100}.best()
	lost := talk{steady(99, 20*ms), 100}.best()
	// Where half are late, it is the other way round.
	half := talk{append(steady(50, 20*ms), steady(50, 100*ms)...), 100}.best()
	late := talk{steady(100, 100*ms), 100}.best()
	switch {
	case none != 1:
		t.Errorf("nothing was heard: %v, want 1", none)
	case still < 4.3 || still > 4.45:
		t.Errorf("20 ms and nothing lost: %v, want 4.4", still)
	case straggler != lost || lost >= still:
		t.Errorf("one of 100 late: %v; lost: %v; neither: %v", straggler, lost, still)
	case half != late || late >= still:
		t.Errorf("half of 100 late: %v; all: %v; none: %v", half, late, still)
	}
}

// RFC 3550: a delay that goes up and down by d makes a jitter of d, one that doesn't
// change none.
func TestJitter(t *testing.T) {
	var still, waving jitter
	for i := range 200 {
		still.add(time.Second)
		waving.add(time.Second + time.Duration(i%2)*16*time.Millisecond)
	}
	if still.mean != 0 {
		t.Errorf("without a change: %v", still.mean)
	}
	if off := (waving.mean - 16*time.Millisecond).Abs(); off > 10*time.Microsecond {
		t.Errorf("16 ms up and down: %v", waving.mean)
	}
}

func TestQuantile(t *testing.T) {
	values := []time.Duration{5, 3, 1, 4, 2}
	for share, want := range map[float64]time.Duration{0: 1, 0.2: 1, 0.21: 2, 0.5: 3, 0.99: 5, 1: 5} {
		if got := quantile(values, share); got != want {
			t.Errorf("%v of 1 to 5: %d, want %d", share, got, want)
		}
	}
	if quantile(nil, 0.5) != 0 {
		t.Error("of nothing: want 0")
	}
}
