package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

// Limits of a duration. Less than half a minute has no room for faults that heal.
const (
	minFor = 30 * time.Second
	maxFor = 24 * time.Hour
)

const (
	// Faults come so far apart on average, for each node: eight nodes have one
	// every three seconds.
	apart = 24 * time.Second

	shortest = 500 * time.Millisecond // a fault, which may hit between two system calls
	longest  = 25 * time.Second       // longer than most timeouts of the protocols

	// quiet is the part of the time without faults, up to longestQuiet: what was
	// under way when the last one healed shall be under load still.
	quiet        = 5
	longestQuiet = 20 * time.Second
)

// odds is how often a kind is drawn, in proportion. What ends or stops a process
// finds most.
var odds = []struct {
	kind   Kind
	weight int
}{{Kill, 6}, {Restart, 3}, {Freeze, 3}, {Unplug, 3}, {Move, 1}, {Fill, 3}, {Cut, 2}, {Slow, 3}}

// Make plans d of faults and load on a box. The same box, seed (Box.Seed) and
// duration have the same Timeline.
func Make(b box.Plan, d time.Duration) (Timeline, error) {
	if err := b.Check(); err != nil {
		return Timeline{}, err
	}
	if d < minFor || d > maxFor {
		return Timeline{}, fmt.Errorf("%v of faults: want %v to %v", d, minFor, maxFor)
	}
	t := Timeline{Box: b, For: d, Quiet: min(d/quiet, longestQuiet)}
	// Faults and load have generators of their own: another kind of fault doesn't
	// change what is published.
	p := planner{Timeline: t, random: rand.New(rand.NewPCG(b.Seed, 1)), places: b.Places(), sites: b.Sites()}
	p.faults()
	p.random = rand.New(rand.NewPCG(b.Seed, 2))
	p.load()
	return p.Timeline, nil
}

type planner struct {
	Timeline
	random *rand.Rand
	places []box.Place
	sites  []string
}

// between draws a time, to the millisecond.
func (p *planner) between(least, most time.Duration) time.Duration {
	if most <= least {
		return least
	}
	return (least + time.Duration(p.random.Int64N(int64(most-least)))).Truncate(time.Millisecond)
}

func pick[T any](p *planner, of []T) T { return of[p.random.IntN(len(of))] }

// chance is true once in n times.
func (p *planner) chance(n int) bool { return p.random.IntN(n) == 0 }

// faults draws faults until the quiet part. One that doesn't fit beside those that
// last is dropped, so the draws don't depend on each other.
func (p *planner) faults() {
	end := p.For - p.Quiet
	gap := apart / time.Duration(len(p.places))
	for at := p.between(0, 2*gap); at < end-shortest; at += p.between(0, 2*gap) {
		f := p.fault(at, end)
		if p.fits(f) {
			f.Number = len(p.Faults) + 1
			p.Faults = append(p.Faults, f)
		}
	}
}

func (p *planner) fault(at, end time.Duration) Fault {
	f := Fault{Kind: p.kind(), From: at, Until: min(at+p.length(), end)}
	switch f.Kind.slot() {
	case "link":
		f.Who = pick(p, p.sites)
	case "disk": // HQ's have none of their own
		f.Who = pick(p, p.places[2:]).Node
	default:
		f.Who = pick(p, p.places).Node
	}
	switch f.Kind {
	case Fill:
		f.Free = pick(p, []int64{0, 64 << 10, 1 << 20, 8 << 20})
	case Move:
		f.Site = pick(p, p.sites)
	case Cut:
		f.Up, f.Down = p.base(f.Who)
		f.Up.Loss, f.Down.Loss = wan.Loss{Mean: 1_000_000}, wan.Loss{Mean: 1_000_000}
	case Slow:
		f.Up, f.Down = p.worse(), p.worse()
	}
	return f
}

func (p *planner) kind() Kind {
	sum := 0
	for _, o := range odds {
		sum += o.weight
	}
	n := p.random.IntN(sum)
	for _, o := range odds {
		if n -= o.weight; n < 0 {
			return o.kind
		}
	}
	panic("weights don't add up")
}

// length draws how long a fault lasts: a third of them are over at once, so that
// several can hit the same get.
func (p *planner) length() time.Duration {
	if p.chance(3) {
		return p.between(shortest, 3*time.Second)
	}
	return p.between(3*time.Second, longest)
}

// base returns what a site's link does without faults.
func (p *planner) base(site string) (up, down wan.Settings) { return Links(p.Box, site) }

// Links returns what the link of a site does as the box begins.
func Links(b box.Plan, site string) (up, down wan.Settings) {
	if site == box.HQ {
		return b.HQUp, b.HQDown
	}
	return b.Up, b.Down
}

// worse draws what a link can be like: from a modem to a satellite.
func (p *planner) worse() wan.Settings {
	s := wan.Settings{
		Rate:   pick(p, []bandwidth.Rate{512, 2_000, 8_000}) * bandwidth.KbitPerSecond,
		Buffer: wan.Depth{Time: pick(p, []time.Duration{50, 500}) * time.Millisecond},
		Delay:  pick(p, []time.Duration{10, 80, 300}) * time.Millisecond,
		Jitter: pick(p, []time.Duration{0, 20}) * time.Millisecond,
	}
	switch p.random.IntN(3) {
	case 0:
		s.Loss.Mean = pick(p, []wan.Share{10_000, 50_000})
	case 1:
		s.Loss = wan.Loss{Mean: 20_000, Burst: 10}
	}
	return s
}

// fits reports whether a fault can happen beside those drawn before.
func (p *planner) fits(f Fault) bool {
	if f.Until-f.From < shortest {
		return false
	}
	if f.Kind == Fill && p.Box.Disk == 0 || f.Kind == Move && f.Site == p.home(f.Who) {
		return false
	}
	away, cut := 0, 0
	for _, o := range p.Faults {
		// A second apart, so that what the first one's end begins is under way.
		if o.Until+time.Second <= f.From {
			continue
		}
		if o.Who == f.Who && o.Kind.slot() == f.Kind.slot() {
			return false
		}
		if o.Kind.away() {
			away++
		}
		if o.Kind == Cut {
			cut++
		}
	}
	switch {
	case f.Kind.away():
		return away < len(p.places)/2
	case f.Kind == Cut:
		return cut < max(1, len(p.sites)/2)
	}
	return true
}

func (p *planner) home(node string) string {
	return p.places[slices.IndexFunc(p.places, func(x box.Place) bool { return x.Node == node })].Site
}
