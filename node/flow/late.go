package flow

import (
	"time"

	"github.com/p2pnode/p2pnode/discovery"
)

const (
	// A request is taken over if its source needs so many times what another
	// one needs for it (the least rate of TRUST.md R21, relative to what there
	// is: on a slow link, slow isn't late).
	lateSlack = 4
	// takeSlack is less than lateSlack: the other's queue may have grown since.
	takeSlack = 2
	// leastLate is not worth anybody's while.
	leastLate = 50 * time.Millisecond
	// leastFar is the same of what crosses a link that is to carry each chunk once:
	// what is on its way when a request is cancelled has crossed it for nothing, and
	// whoever is asked instead shares the link. With 2 s a site of five threw away 1 to
	// 2 % of what it fetched, with 10 s nothing.
	leastFar = 10 * time.Second
	// guess is what an untried source may need that has nothing else to do: a
	// chance that costs a few blocks at most.
	guess = 100 * time.Millisecond
)

// watch looks at what is asked and not here. A source of which blocks wait for a
// verdict isn't silent: it may be us who don't read on.
func (c *core) watch(now time.Time) {
	c.rest = c.remaining(now)
	for _, s := range c.sources {
		s.spare = s.dry == c.order.changes // before doubts change it
		if len(s.open) > 0 && s.unjudged == 0 && !s.stalled && now.Sub(s.heard) > s.patience() {
			s.stalled, s.silent = true, now
			c.fail(now, s, s.open[0].chunk, discovery.Stalled)
		}
	}
	for _, s := range c.sources {
		for at := 0; at < len(s.open); at++ {
			r := s.open[at]
			w := c.under[r.chunk]
			switch {
			case w.parts:
				if s.stalled {
					c.drop(now, r, discovery.Stalled)
					c.settle(r.chunk)
					at--
				}
			case len(w.open) == 2:
				if r == w.open[1] && (s.stalled || c.outrun(r, now)) && c.replace(now, w) == r {
					at--
				}
			case r.late != discovery.Unknown:
			case s.stalled:
				c.doubt(now, r, discovery.Stalled)
			case c.outrun(r, now):
				c.doubt(now, r, discovery.TooSlow)
			}
		}
	}
}

// replace drops the worse of two requests of a chunk, as the hedge is late too,
// and lets somebody else be asked beside the other. It returns the dropped one.
func (c *core) replace(now time.Time, w *underway) *request {
	worse, kept := w.open[0], w.open[1]
	if worse.source.eta(worse, now) < kept.source.eta(kept, now) {
		worse, kept = kept, worse
	}
	why := discovery.TooSlow
	if kept.source.stalled {
		why = discovery.Stalled
	}
	silent := !worse.source.stalled && worse.source.speed.seconds > 0 && !worse.source.heard.After(worse.asked)
	c.relieve(now, worse, why)
	if silent {
		// Else two sources that were fast once and are silent now relieve each other
		// for ever, each for too short a time to have stalled.
		c.fail(now, worse.source, worse.chunk, discovery.TooSlow)
	}
	c.doubt(now, kept, why)
	return worse
}

// relieve drops a request that another source does better. A source that never
// gave a block isn't an untried one from here on.
func (c *core) relieve(now time.Time, r *request, why discovery.Reason) {
	c.drop(now, r, why)
	if r.source.speed.seconds == 0 && !r.source.stalled {
		c.fail(now, r.source, r.chunk, discovery.TooSlow)
	}
}

// remaining returns the time in which the sources that are well would deliver
// all that is missing.
func (c *core) remaining(now time.Time) time.Duration {
	var rate float64
	for _, s := range c.sources {
		if s.well(now) && (!c.restricted(s) || len(s.open) > 0) {
			rate += s.rate(now)
		}
	}
	return seconds(float64(c.tally.missing) / rate)
}

// outrun reports whether another source would deliver r so much sooner that it
// should: because it has nothing else to do, because r would be here long after
// all the rest, or because somebody waits for it.
func (c *core) outrun(r *request, now time.Time) bool {
	eta := r.source.eta(r, now)
	if eta < leastLate {
		return false
	}
	last := eta > leastPatience && eta > lateSlack*c.rest || c.order.prefers(r.chunk)
	sparing := r.source.sparing && !c.order.prefers(r.chunk)
	if sparing && (eta < leastFar || now.Sub(r.asked) < leastFar) {
		return false // a connection that is new says little of what it will bring
	}
	for _, o := range c.sources {
		if o == r.source || !last && !o.spare {
			continue
		}
		if sparing && !o.near() && !o.proven(now) {
			continue // it may share the link that is slow
		}
		if !o.well(now) || !o.held.has(c.order.place[r.chunk]) || !c.may(o, r.chunk) {
			continue
		}
		need := guess
		if o.proven(now) {
			need = o.need(now, r.left)
		} else if len(o.open) > 0 {
			continue
		}
		if eta > lateSlack*need {
			return true
		}
	}
	return false
}

// doubt lets somebody else be asked for what r is late with.
func (c *core) doubt(now time.Time, r *request, why discovery.Reason) {
	r.late = why
	c.decide(now, r.chunk, r.source.peer, Doubt, why)
	c.settle(r.chunk)
}

// helps reports whether s should be asked for what r is late with.
func (c *core) helps(s *source, r *request, now time.Time) bool {
	if s == r.source || !s.well(now) {
		return false
	}
	if !s.proven(now) && c.provenHolder(r, now) {
		return false // somebody is known to deliver, and has room soon
	}
	if r.source.stalled {
		return true
	}
	if !s.proven(now) {
		return len(s.open) == 0
	}
	return r.source.eta(r, now) > takeSlack*s.need(now, r.left)
}

// provenHolder reports whether a source that is known to deliver could take r.
func (c *core) provenHolder(r *request, now time.Time) bool {
	for _, o := range c.sources {
		if o != r.source && c.may(o, r.chunk) && o.well(now) && o.proven(now) && o.held.has(c.order.place[r.chunk]) {
			return true
		}
	}
	return false
}

// progress: a block of r came. If another source is asked for the same, one of
// them is enough now.
func (c *core) progress(now time.Time, r *request, w *underway) {
	blocks := c.order.chunks[r.chunk].blocks
	for _, other := range w.open {
		if other != r && !w.parts && r.source.eta(r, now) <= other.source.eta(other, now) {
			c.relieve(now, other, discovery.Hedge)
			break
		}
	}
	switch {
	case blocks != 0 && r.got == r.want:
		c.forget(r) // all is here, whatever the verdict
	case len(w.open) == 1 && r.late == discovery.Stalled:
		r.late = discovery.Unknown // it goes on
	}
}
