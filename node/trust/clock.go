package trust

import (
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// A ClockState says what the times that trust depends on are taken from.
type ClockState uint8

const (
	ClockGood     ClockState = iota // the system's clock
	ClockBehind                     // the highest signed time seen, as the system's clock is behind it
	ClockSuspect                    // the system's clock, though it seems far ahead: a signed time is sought
	ClockAnchored                   // a signed time made for us, as the system's clock is proven to be ahead
)

func (s ClockState) String() string {
	switch s {
	case ClockGood:
		return "good"
	case ClockBehind:
		return "behind"
	case ClockSuspect:
		return "suspect"
	case ClockAnchored:
		return "anchored"
	}
	return fmt.Sprintf("clock(%d)", uint8(s))
}

const (
	// doubtAfter is how far the system's clock may be ahead of all signed times
	// before a signed time is asked for. Beacons are made every hour.
	doubtAfter = 24 * time.Hour
	// suspectAfter is the life of a beacon and a day: whoever is further ahead
	// and sees credentials run out may have a wrong clock.
	suspectAfter = 8 * 24 * time.Hour
)

// A Clock tells the time for decisions of trust. It is never below the highest
// time that an issuer signed (the floor) nor below the time of the build; and a
// clock that is ahead is put right only by a time that an issuer signed for this
// node's own nonce.
type Clock struct {
	wall func() time.Time // the system's clock; tests replace it
	roof time.Time        // the root's end: no floor above it

	mu       sync.Mutex
	floor    time.Time
	floorAt  time.Time // monotonic reading when floor was set: it rises with time
	anchor   time.Time // zero unless the system's clock is proven ahead
	anchorAt time.Time
	expired  bool // something looked expired while the clock was far ahead
}

func newClock(wall func() time.Time, floor, roof time.Time) *Clock {
	c := &Clock{wall: wall, roof: roof, floorAt: time.Now()}
	c.raise(buildTime())
	c.raise(floor)
	return c
}

// buildTime is when this program's source was committed; zero if not known.
func buildTime() time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return time.Time{}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			t, err := time.Parse(time.RFC3339, s.Value)
			if err == nil {
				return t
			}
		}
	}
	return time.Time{}
}

// Now returns the time to judge credentials by.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, _ := c.read()
	return now
}

// State returns what Now is taken from.
func (c *Clock) State() ClockState {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, s := c.read()
	return s
}

func (c *Clock) read() (time.Time, ClockState) {
	wall, floor := c.wall().Round(0), c.risen()
	if !c.anchor.IsZero() {
		now := c.anchor.Add(time.Since(c.anchorAt))
		if wall.Sub(now).Abs() > tolerance {
			return later(now, floor), ClockAnchored
		}
		c.anchor, c.expired = time.Time{}, false // the system's clock was put right
	}
	switch ahead := wall.Sub(floor); {
	case ahead < 0:
		return floor, ClockBehind
	case c.expired && ahead > suspectAfter:
		return wall, ClockSuspect
	}
	return wall, ClockGood
}

// risen returns the floor and the time that passed since it was set.
func (c *Clock) risen() time.Time {
	if c.floor.IsZero() {
		return c.floor
	}
	return c.floor.Add(time.Since(c.floorAt))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// raise lifts the floor to a verified time; it reports whether that changed it.
func (c *Clock) raise(t time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.After(c.roof) {
		t = c.roof
	}
	if !t.After(c.risen()) {
		return false
	}
	c.floor, c.floorAt = t, time.Now()
	return true
}

// doubtful reports whether a time signed for us is worth asking for.
func (c *Clock) doubtful() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wall().Round(0).Sub(c.risen()) > doubtAfter
}

// sawExpired notes that a chain of our enterprise looked expired.
func (c *Clock) sawExpired() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expired = true
}

// bind takes a time that an issuer signed for our nonce: if the system's clock is
// ahead of it, time is counted from it from now on.
func (c *Clock) bind(t time.Time) {
	c.raise(t)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expired = false
	if c.wall().Round(0).Sub(t) <= tolerance {
		c.anchor = time.Time{}
		return
	}
	c.anchor, c.anchorAt = t, time.Now()
}
