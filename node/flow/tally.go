package flow

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/bandwidth"
)

// A Share is what came over one kind of link.
type Share struct {
	Link    bandwidth.Link
	Sources int // now
	Givers  int // sources that gave something good so far, each counted once
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
	givers                  map[giver]struct{}
	meter                   meter
}

// A giver is a source that gave something, over a link.
type giver struct {
	peer  peer.ID
	share int
}

// count takes a verdict on what a source gave. A block is Verified once, whoever is
// heard of first that gave it.
func (t *tally) count(now time.Time, from peer.ID, l bandwidth.Link, v Verdict, bytes int64) {
	g := giver{from, share(l)}
	s := &t.shares[g.share]
	if _, known := t.givers[g]; !known && v == Verified {
		if t.givers == nil {
			t.givers = make(map[giver]struct{})
		}
		t.givers[g] = struct{}{}
		s.Givers++
	}
	switch {
	case v == Corrupt:
		s.Corrupt += bytes
	case v == Verified:
		s.Verified += bytes
		t.meter.add(now, bytes)
	default:
		s.Duplicate += bytes
	}
}

// far returns the bytes that came from other sites.
func (t *tally) far() (n int64) {
	for i, l := range bandwidth.Links {
		if l != bandwidth.LAN {
			n += t.shares[i].Verified
		}
	}
	return n
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
