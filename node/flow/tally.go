package flow

import (
	"time"

	"github.com/p2pnode/p2pnode/bandwidth"
)

// A Share is what came over one kind of link.
type Share struct {
	Link    bandwidth.Link
	Sources int // now
	// Bytes, counted when a block was judged.
	Verified, Duplicate, Corrupt int64
	// Bytes of blocks that came after they had been cancelled. They come after the
	// flow's end, too.
	Unwanted int64
}

// share returns the index of what came over l.
func share(l bandwidth.Link) int {
	if at := int(l) - 1; at >= 0 && at < len(bandwidth.Links) {
		return at
	}
	return int(bandwidth.WAN) - 1 // not known to be near
}

// A tally counts bytes.
type tally struct {
	total, missing, resumed int64
	finished                bool
	shares                  [len(bandwidth.Links)]Share
	meter                   meter
}

// count takes a verdict; fresh says that the block wasn't here before.
func (t *tally) count(now time.Time, l bandwidth.Link, v Verdict, bytes int64, fresh bool) {
	switch s := &t.shares[share(l)]; {
	case v == Corrupt:
		s.Corrupt += bytes
	case v == Verified && fresh:
		s.Verified += bytes
		t.meter.add(now, bytes)
	default:
		s.Duplicate += bytes
	}
}

// meterSpan is how far back a meter looks, in seconds.
const meterSpan = 5

// A meter tells the rate of the last few seconds.
type meter struct {
	since   time.Time // the first count
	buckets [meterSpan]int64
	second  int64 // that the newest bucket is for
}

func (m *meter) advance(now time.Time) {
	sec := now.Unix()
	for gap := min(sec-m.second, meterSpan); gap > 0; gap-- {
		m.buckets[(sec-gap+1)%meterSpan] = 0
	}
	m.second = max(m.second, sec)
}

func (m *meter) add(now time.Time, bytes int64) {
	if m.since.IsZero() {
		m.since = now
	}
	m.advance(now)
	m.buckets[m.second%meterSpan] += bytes
}

func (m *meter) rate(now time.Time) bandwidth.Rate {
	if m.since.IsZero() {
		return 0
	}
	m.advance(now)
	var bytes int64
	for _, b := range m.buckets {
		bytes += b
	}
	span := time.Duration(meterSpan-1)*time.Second + time.Duration(now.Nanosecond())
	span = max(min(span, now.Sub(m.since)), 100*time.Millisecond)
	return bandwidth.Rate(float64(bytes) * 8 / span.Seconds())
}
