package flow

import (
	"time"

	"github.com/p2pnode/p2pnode/discovery"
)

const (
	minHunger = time.Second
	maxHunger = 30 * time.Second
)

// A hunger spaces the calls for more sources.
type hunger struct {
	wait time.Duration
	next time.Time
}

// wait notes why nothing can be done, if so, and calls for sources.
func (c *core) wait(now time.Time) {
	if c.readers && len(c.order.first) == 0 {
		return
	}
	why := c.idle(now)
	if why != c.waiting {
		c.waiting = why
		if why != discovery.Unknown {
			c.decide(now, NoChunk, "", Wait, why)
		}
	}
	if c.order.bare == 0 && c.anyWell(now) {
		c.hunger.wait = 0 // the next call isn't nearer than it was, though
		return
	}
	if now.Before(c.hunger.next) {
		return
	}
	c.hunger.wait = min(max(2*c.hunger.wait, minHunger), maxHunger)
	c.hunger.next = now.Add(c.hunger.wait)
	c.out.need = true
}

func (c *core) anyWell(now time.Time) bool {
	for _, s := range c.sources {
		if s.well(now) {
			return true
		}
	}
	return false
}

// idle returns why nothing is on its way; Unknown if something is.
func (c *core) idle(now time.Time) discovery.Reason {
	open, banned := false, false
	for _, s := range c.sources {
		if s.unjudged > 0 || len(s.open) > 0 && !s.stalled {
			return discovery.Unknown
		}
		open = open || len(s.open) > 0
		banned = banned || now.Before(s.banned)
	}
	switch {
	case open:
		return discovery.Stalled
	case c.awaits(now):
		return discovery.Carried
	case c.order.bare > 0 && banned:
		return discovery.IsBanned
	case c.order.bare > 0:
		return discovery.NoSource
	}
	for _, w := range c.under {
		if w.unjudged != 0 { // of a source that left
			return discovery.Unknown
		}
	}
	return discovery.Refused // held, but everyone who has it rests
}
