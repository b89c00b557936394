package carry

import (
	"time"

	"github.com/p2pnode/p2pnode/content"
)

const (
	// Stall is how long a carrier may bring nothing before it counts as stalled:
	// somebody else carries in its place, and may take what it carries. One whose rate
	// isn't known has firstStall, and one that is slow the time that the largest block
	// takes, and a half: before a block is whole nobody sees it come.
	Stall      = time.Second
	firstStall = 2 * time.Second
	// slowSlack: a carrier that would need so many times what another one needs, and
	// slowLeast more, loses its chunks to it once that one has nothing else to do.
	slowSlack = 4
	slowLeast = 2 * time.Second

	// rateMemory is the time constant of a carrier's rate, in seconds.
	rateMemory = 2.0
)

// A rate is bytes per second, of the last few seconds in which something was
// carried.
type rate struct{ bytes, seconds float64 }

func (m *member) stalled(now time.Time) bool {
	patience := firstStall
	if m.rate.seconds > 0 {
		patience = max(Stall, seconds(1.5*content.MaxBlock/m.rate.mean()))
	}
	return len(m.grants) > 0 && now.Sub(m.moved) > patience
}

// eta is the time until m will have brought what it carries.
func (m *member) eta(now time.Time) time.Duration {
	silence := now.Sub(m.moved)
	if m.rate.seconds == 0 {
		return silence
	}
	return silence + seconds(float64(m.left)/m.rate.mean())
}

// next is the time in which m would bring a chunk more. Of one that has brought
// nothing yet nobody knows: it gets only what has stalled.
func (m *member) next() time.Duration {
	if m.rate.seconds == 0 {
		return time.Hour
	}
	return seconds(float64(m.left+meanChunk) / m.rate.mean())
}

// meanChunk is what a chunk has on average, in bytes.
const meanChunk = 1 << 20

// add notes bytes that came since the time since. After a pause without work the
// time before it doesn't count.
func (r *rate) add(since, now time.Time, bytes int64) {
	dt := max(now.Sub(since).Seconds(), 1e-3)
	fade := 1 / (1 + dt/rateMemory)
	r.bytes = r.bytes*fade + float64(bytes)
	r.seconds = r.seconds*fade + dt
}

func (r *rate) mean() float64 { return max(r.bytes/r.seconds, 1) }

func seconds(s float64) time.Duration {
	const long = 1e6
	return time.Duration(min(s, long) * float64(time.Second))
}
