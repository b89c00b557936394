package wan

import (
	"fmt"
	"math/rand/v2"
)

// A Share is a part of a whole, in millionths.
type Share int64

const whole Share = 1_000_000

const maxBurst = 1_000_000 // packets

// Loss is how many packets are lost at random, and how evenly. Without Burst each
// is lost or not whatever happened to its neighbours (Bernoulli).
//
// With Burst the link is in a good or a bad state, each with a share of losses of
// its own, and may change state with every packet: the Gilbert-Elliott model (E. N.
// Gilbert, Capacity of a burst-noise channel, BSTJ 39, 1960; E. O. Elliott,
// Estimates of error rates for codes on burst-noise channels, BSTJ 42, 1963). In
// the letters of Hasslinger and Hohlfeld (The Gilbert-Elliott model for packet
// loss in real time services on the Internet, MMB 2008), which netem has too:
// r = 1/Burst, 1-h = Bad, 1-k = Good, and p follows from Mean.
type Loss struct {
	Mean  Share // over a long time
	Burst int   // mean length of a stay in the bad state, in packets
	Bad   Share // lost in the bad state. 0: all
	Good  Share // lost in the good state
}

func (l Loss) bad() Share {
	if l.Bad == 0 {
		return whole
	}
	return l.Bad
}

// badTime returns the share of packets that find the link in the bad state.
func (l Loss) badTime() float64 {
	if l.Burst == 0 {
		return 0
	}
	return float64(l.Mean-l.Good) / float64(l.bad()-l.Good)
}

func (l Loss) check() error {
	for _, s := range []Share{l.Mean, l.Bad, l.Good} {
		if s < 0 || s > whole {
			return fmt.Errorf("loss: %v is not a share; want 0%% to 100%%", s)
		}
	}
	switch {
	case l.Burst < 0 || l.Burst > maxBurst:
		return fmt.Errorf("burst is %d, want 0 to %d packets", l.Burst, maxBurst)
	case l.Burst == 0 && (l.Bad != 0 || l.Good != 0):
		return fmt.Errorf("good and bad are states of bursty loss; set burst too, or neither")
	case l.Burst == 0:
		return nil
	case l.Mean < l.Good || l.Mean >= l.bad():
		return fmt.Errorf("loss is %v, want it from good (%v) to below bad (%v), between which the link changes", l.Mean, l.Good, l.bad())
	case l.enter() > 1:
		return fmt.Errorf("loss of %v would need bursts closer than every other packet; want a larger burst or less loss", l.Mean)
	}
	return nil
}

// enter returns the chance that a good link turns bad with a packet. In the long
// run as many packets see it turn bad as good: enter x good time = bad time / Burst.
func (l Loss) enter() float64 {
	bad := l.badTime()
	return bad / (1 - bad) / float64(l.Burst)
}

// A channel loses packets. Its state survives a change of the loss.
type channel struct {
	rng *rand.Rand
	bad bool
}

// loses decides about one packet.
func (c *channel) loses(l Loss) bool {
	if l == (Loss{}) {
		c.bad = false
		return false
	}
	share := l.Mean
	if l.Burst > 0 {
		turn := l.enter()
		if c.bad {
			turn = 1 / float64(l.Burst)
		}
		if c.rng.Float64() < turn {
			c.bad = !c.bad
		}
		share = l.Good
		if c.bad {
			share = l.bad()
		}
	}
	return c.rng.Int64N(int64(whole)) < int64(share)
}
