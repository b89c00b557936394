package origin

import (
	"errors"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	// A rest is firstRest on average, less or more by a spread of a third: 30 to
	// 60 s. It doubles up to maxRest, which is 10 to 20 min then.
	firstRest = 45 * time.Second
	maxRest   = 15 * time.Minute
	spread    = 1.0 / 3

	// impatience: a request that its caller calls off after so long without an
	// answer failed, too. A flow goes elsewhere after 3 s.
	impatience = 2 * time.Second

	maxRests = 1024 // remembered; those over go first
)

// rests knows which servers and addresses are left alone.
type rests struct {
	mu sync.Mutex
	by map[string]*rest // by address, or what Host returns
}

// A rest is of one server or address that failed.
type rest struct {
	pauses *backoff.ExponentialBackOff
	since  time.Time // the last failure
	until  time.Time
}

// Resting returns until when an address is left alone, itself or its server; the
// zero time if it isn't.
func (c *Client) Resting(address string) time.Time {
	r := &c.rests
	r.mu.Lock()
	defer r.mu.Unlock()
	var until time.Time
	for _, key := range []string{address, Host(address)} {
		if p, ok := r.by[key]; ok && p.until.After(until) {
			until = p.until
		}
	}
	if !until.After(time.Now()) {
		return time.Time{}
	}
	return until
}

// failed notes that a request failed that was begun then.
func (c *Client) failed(now time.Time, address string, begun time.Time, err error) {
	key := Host(address)
	if ofAddress(err) {
		key = address
	}
	var ask time.Duration
	if s, ok := errors.AsType[*StatusError](err); ok {
		ask = s.Retry
	}
	c.rests.note(now, key, begun, ask)
}

// note lets a server or address rest, for as long as it asks at least. Requests
// that were under way together fail together: they count once.
func (r *rests) note(now time.Time, key string, begun time.Time, ask time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.by[key]
	if p == nil {
		if len(r.by) >= maxRests {
			r.sweep(now)
		}
		p = &rest{pauses: &backoff.ExponentialBackOff{
			InitialInterval: firstRest, RandomizationFactor: spread, Multiplier: 2, MaxInterval: maxRest,
		}}
		r.by[key] = p
	}
	pause := ask
	if p.since.IsZero() || begun.After(p.since) {
		pause = max(pause, p.pauses.NextBackOff())
	}
	if until := now.Add(pause); until.After(p.until) {
		p.until = until
	}
	p.since = now
}

// sweep forgets the rests that are over, or any one.
func (r *rests) sweep(now time.Time) {
	var victim string
	for key, p := range r.by {
		if victim = key; now.After(p.until) {
			delete(r.by, key)
		}
	}
	if len(r.by) >= maxRests {
		delete(r.by, victim)
	}
}

// end ends the rests of an address and its server, as a request succeeded that
// was begun then; what failed since counts on.
func (r *rests) end(address string, begun time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, key := range []string{address, Host(address)} {
		if p, ok := r.by[key]; ok && begun.After(p.since) {
			delete(r.by, key)
		}
	}
}
