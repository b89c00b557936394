package foreground

import (
	"math"
	"slices"
	"time"
)

// The E-model of ITU-T G.107, as R. G. Cole and J. H. Rosenbluth reduce it to what
// a network does to a call ("Voice over IP performance monitoring", ACM SIGCOMM
// Computer Communication Review 31(2), 2001, sections 2 and 3), for G.711 with
// concealment and losses at random.

// quality returns the transmission rating R, 0 to 94.2 here: of a mouth-to-ear
// delay, and of the share of packets that were not there to be played.
func quality(delay time.Duration, missing float64) float64 {
	const (
		best      = 94.2  // a call without delay or loss
		bothTalk  = 177.3 // ms, from where on people begin to talk at the same time
		perMS     = 0.024
		perMSOver = 0.11
	)
	d := float64(delay) / float64(time.Millisecond)
	r := best - perMS*d - perMSOver*max(0, d-bothTalk) - 30*math.Log1p(15*missing)
	return max(0, r)
}

// opinion returns the mean opinion score of a rating, 1 (nobody understands) to 4.5
// (G.107 annex B). What is left of R below 6.5 would be less than 1.
func opinion(r float64) float64 {
	if r >= 100 {
		return 4.5
	}
	return max(1, 1+0.035*r+7e-6*r*(r-60)*(100-r))
}

// A talk is what became of the packets of some seconds of a call.
type talk struct {
	delays []time.Duration // of those that came
	sent   int
}

// packetTime is how long a packet's voice lasts: the first of it is so old when it
// is sent.
const packetTime = 20 * time.Millisecond

// best returns the opinion of a talk with the playout delay that suits it best: a
// short one misses what comes late, with a long one people talk at the same time.
// It is what a good adaptive jitter buffer would make of it.
func (t talk) best() float64 {
	if len(t.delays) == 0 || t.sent == 0 {
		return 1
	}
	sorted := slices.Clone(t.delays)
	slices.Sort(sorted)
	var most float64
	for i, playout := range sorted {
		if i+1 < len(sorted) && sorted[i+1] == playout {
			continue
		}
		missing := 1 - float64(i+1)/float64(max(t.sent, len(sorted)))
		most = max(most, quality(playout+packetTime, missing))
	}
	return opinion(most)
}

// jitter is the interarrival jitter of RFC 3550, section 6.4.1 and appendix A.8: a
// sixteenth of the way at each packet to how much its delay differs from that of
// the one before.
type jitter struct {
	mean time.Duration
	last time.Duration
	any  bool
}

func (j *jitter) add(delay time.Duration) {
	if j.any {
		j.mean += ((delay - j.last).Abs() - j.mean) / 16
	}
	j.last, j.any = delay, true
}

// quantile returns the least value that so great a share of the values doesn't
// exceed, 0 without any.
func quantile(values []time.Duration, share float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	i := int(math.Ceil(share*float64(len(sorted)))) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}
