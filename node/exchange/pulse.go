package exchange

import (
	"sync/atomic"
	"time"
)

// A pulse shows to another goroutine whether a read or write that blocks makes
// headway. It costs two atomic additions per call, where a deadline on the stream
// costs a timer.
type pulse struct {
	beats atomic.Uint64 // odd while a call is under way

	// What stuck saw last, and since when. Only its caller reads them.
	seen  uint64
	since time.Time
}

func (p *pulse) start()   { p.beats.Add(1) }
func (p *pulse) stop()    { p.beats.Add(1) }
func (p *pulse) headway() { p.beats.Add(2) }

// stuck reports whether the same call has been under way, and made no headway, for
// at least limit at now. It is called again and again by the one who watches.
func (p *pulse) stuck(now time.Time, limit time.Duration) bool {
	beats := p.beats.Load()
	if beats != p.seen || p.since.IsZero() {
		p.seen, p.since = beats, now
		return false
	}
	return beats%2 == 1 && now.Sub(p.since) >= limit
}
