package flow

import (
	"math"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/discovery"
)

const (
	// A window is what a source delivers in its latency and slack, twice: once
	// on its way to us, once in its queue so that it never waits for us. At 1
	// Gbit/s and 1 ms that is 50 MB, held to maxWindow; at 20 Mbit/s and 50 ms
	// 1.3 MB; at 1 KiB/s less than minWindow.
	slack     = 200 * time.Millisecond
	maxWindow = 32 << 20 // bytes
	minWindow = 2        // chunks, whatever their size

	// maxOpen is less than what an exchange session takes (256), so that two
	// flows can share one.
	maxOpen = 128

	// Patience with a source that owes something and sends nothing.
	leastPatience = time.Second
	firstPatience = 3 * time.Second // nothing ever came from it
	latencies     = 4               // so many latencies are no reason to worry

	// A source that failed n times in a row is left alone for minRest * 2^(n-1).
	minRest = time.Second
	maxRest = 30 * time.Second

	// What was measured of a source is forgotten after so long without work:
	// then it is tried like a new one.
	memory = 30 * time.Second
)

// A request is one chunk, or what is missing of it, asked of one source.
type request struct {
	id     requestID
	source *source
	chunk  int
	want   uint64 // blocks
	got    uint64 // blocks of want that arrived
	left   int64  // bytes that did not
	asked  time.Time
	// alone: the source owed nothing else, so the time to the first frame is
	// its latency.
	alone bool
	heard bool // a frame of it came
	// late says why somebody else may be asked too; Unknown if nobody may.
	late discovery.Reason
}

// head reports whether r is what its source is sending now, as far as one can
// tell: requests are answered in the order asked.
func (r *request) head() bool { return r.source.open[0] == r }

// A source is a peer that has some of the content, with what was seen of it.
type source struct {
	id   sourceID
	peer peer.ID
	link bandwidth.Link

	claimed *roaring.Bitmap // chunks that it says it has
	denied  *roaring.Bitmap // of these, those that it didn't give when asked
	told    bool            // it has said what it has
	joined  time.Time
	site    string    // where it is; empty if that isn't known
	last    bool      // it publishes for all sites: others are asked before it
	later   time.Time // until then what it denied is not asked of it
	sparing bool      // what it sends crosses a link that is to carry each chunk once
	lot     uint64    // by which it becomes a partner, the least first: every node draws its own
	partner bool      // one of the few at other sites that are asked, see choose
	held    bitset    // places of claimed less denied; empty while banned

	open     []*request // oldest first
	left     int64      // bytes asked for that did not arrive
	unjudged int64      // bytes that arrived and wait for a verdict

	speed   speed
	recent  speed         // of the last half second
	latency time.Duration // request to first frame, smoothed; 0 while unknown
	heard   time.Time     // the last frame or verdict, or when it began to owe something

	standing
	turn
}

// A standing is what keeps a source from being asked.
type standing struct {
	gone     bool              // its connection ended
	stalled  bool              // owes something, sends nothing
	silent   time.Time         // when it stalled last
	failures int               // in a row
	resting  time.Time         // until then it is asked nothing
	passes   map[int]time.Time // chunks that it leaves to others, until when
	bad      int               // blocks and lists that were not what they should be
	banned   time.Time         // until then
}

// A turn is what keeps dispatch from looking at a source again in vain.
type turn struct {
	dry  uint64 // order.changes when there was nothing to ask it for
	pass uint64 // asking.passes when it was passed over
	// barren is order.changes and carriage.turns, which only grow, when there was
	// nothing to propose for it.
	barren uint64
	spare  bool // it could do more, and there is nothing for it to do
}

func newSource(ev joined, chunks int) *source {
	return &source{
		id: ev.Source, peer: ev.Peer, link: ev.Link,
		claimed: roaring.New(), denied: roaring.New(), held: newBitset(chunks),
	}
}

// near: it is a member of the own site.
func (s *source) near() bool { return s.link == bandwidth.LAN }

// well: it does what it should, as far as is known.
func (s *source) well(now time.Time) bool {
	return !s.gone && !s.stalled && s.failures == 0 && !now.Before(s.banned)
}

// proven: it is known how fast it is.
func (s *source) proven(now time.Time) bool {
	return s.speed.seconds > 0 && (len(s.open) > 0 || now.Sub(s.speed.mark) < memory)
}

// rate is in bytes per second; the silence since the last block counts.
func (s *source) rate(now time.Time) float64 {
	if !s.proven(now) {
		return 0
	}
	return s.speed.at(now, len(s.open) > 0)
}

func (s *source) outstanding() int64 { return s.left + s.unjudged }

// window is the most bytes that may be outstanding once minWindow chunks are.
func (s *source) window(now time.Time) int64 {
	w := s.rate(now) * (s.latency + slack).Seconds() * 2
	return int64(min(w, maxWindow))
}

// ahead is what a source at another site may owe before it is asked for another
// chunk: what it delivers in its latency and slack. So it never waits for us, and
// little has begun to come.
func (s *source) ahead(now time.Time) int64 {
	return int64(min(s.rate(now)*(s.latency+slack).Seconds(), maxWindow))
}

// room reports whether it may be asked for bytes more.
func (s *source) room(now time.Time, bytes int64) bool {
	switch {
	case s.gone || now.Before(s.banned) || now.Before(s.resting):
		return false
	case s.bad > 0 || !s.well(now):
		return len(s.open) == 0 // on probation
	case s.sparing:
		return len(s.open) == 0 || len(s.open) < maxOpen && s.outstanding() < s.ahead(now)
	case len(s.open) < minWindow:
		return true
	}
	return len(s.open) < maxOpen && s.outstanding()+bytes <= s.window(now)
}

// patience is how long it may owe something without a frame: until a block of
// the largest size would be here at its rate, if that is known.
func (s *source) patience() time.Duration {
	if s.speed.seconds == 0 {
		return max(firstPatience, latencies*s.latency)
	}
	block := seconds(content.MaxBlock / s.speed.mean())
	return max(leastPatience, latencies*s.latency, block)
}

// lately is rate as of late, if that is less: of what is asked for last.
func (s *source) lately(now time.Time) float64 {
	if !s.proven(now) {
		return 0
	}
	return min(s.rate(now), s.recent.at(now, len(s.open) > 0))
}

// need is the time in which it would have delivered bytes more.
func (s *source) need(now time.Time, bytes int64) time.Duration {
	return s.latency + seconds(float64(s.outstanding()+bytes)/s.rate(now))
}

// eta is the time that r is expected to take from now. Nothing having come for a
// while, we expect the same once more.
func (s *source) eta(r *request, now time.Time) time.Duration { return s.at(s.rate(now), r, now) }

// takes is eta at the rate of late. What comes last has no time to make up for a source
// that was fast before: of two branches one waited 0.9 s for 400 kB, which at the rate
// of the last three seconds were a matter of 0.3.
func (s *source) takes(r *request, now time.Time) time.Duration { return s.at(s.lately(now), r, now) }

func (s *source) at(rate float64, r *request, now time.Time) time.Duration {
	if !s.proven(now) {
		return now.Sub(s.heard)
	}
	var ahead int64
	for _, o := range s.open {
		ahead += o.left
		if o == r {
			break
		}
	}
	return seconds(float64(ahead) / rate)
}

// begin notes that it owes something from now on.
func (s *source) begin(now time.Time) {
	s.heard = now
	s.stalled = false
	if now.Sub(s.speed.mark) >= memory {
		s.speed, s.recent = speed{}, speed{}
	}
	s.speed.mark, s.recent.mark = now, now
}

// frame notes that something of r came (nil if of a request that is over).
func (s *source) frame(r *request, now time.Time, block int64) {
	s.heard = now
	s.stalled = false
	if r != nil && !r.heard {
		r.heard = true
		if sample := now.Sub(r.asked); r.alone && s.latency == 0 {
			s.latency = sample
		} else if r.alone {
			s.latency += (sample - s.latency) / 4
		}
	}
	if block > 0 && len(s.open) > 0 {
		s.speed.add(now, block, speedMemory)
		s.recent.add(now, block, recentMemory)
	}
}

func (s *source) remove(r *request) {
	i := slices.Index(s.open, r)
	s.open = slices.Delete(s.open, i, i+1)
	s.left -= r.left
}

func (s *source) candidate(now time.Time) discovery.Candidate {
	return discovery.Candidate{
		Peer: s.peer, Link: s.link,
		Rate:    bandwidth.Rate(s.rate(now) * 8),
		Latency: s.latency, Pending: s.outstanding(),
		Failures: s.failures, Bad: s.bad, Banned: s.banned,
	}
}

// A speed is a delivery rate: bytes by the seconds in which something was owed,
// both fading with a time constant. Right from the first block on,
// and blind to the time in which nothing was asked.
type speed struct {
	bytes, seconds float64
	mark           time.Time // up to here
}

const (
	speedMemory  = 3.0  // seconds
	recentMemory = 0.5  // seconds
	leastBusy    = 1e-3 // seconds: what a clock can tell apart
)

func (v *speed) add(now time.Time, bytes int64, memory float64) {
	dt := max(now.Sub(v.mark).Seconds(), 0)
	v.mark = now
	fade := math.Exp(-dt / memory)
	v.bytes = v.bytes*fade + float64(bytes)
	v.seconds = max(v.seconds*fade+dt, leastBusy)
}

func (v *speed) mean() float64 { return v.bytes / v.seconds }

func (v *speed) at(now time.Time, busy bool) float64 {
	if !busy {
		return v.mean()
	}
	return v.bytes / (v.seconds + max(now.Sub(v.mark).Seconds(), 0))
}

// seconds returns a duration that stays far from overflow.
func seconds(s float64) time.Duration {
	const long = 1e6
	if !(s < long) { // also NaN and +Inf
		s = long
	}
	return time.Duration(s * float64(time.Second))
}
