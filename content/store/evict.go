package store

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/p2pnode/p2pnode/content"
)

// What goes when room is needed
//
// Some contents never go, whatever is needed and for whom, the floor of the disk
// included: what is pinned, what a deployment still needs, what is on its way
// here, what is being read, and what would leave the site with fewer copies than
// it is to have. If the rest isn't enough, nothing goes, and whoever asked is told
// what stands in the way before the first byte.
//
// Of the rest the least valuable go first. A content is worth less
//
//   - the longer nobody used it: that is the score, in seconds;
//   - the more copies the site has beside this one, which can be had from there at
//     the price of the LAN: each, up to three, counts as that time again;
//   - if it is partial: nobody who left it lying can do anything with it. Twice;
//   - if it is large, as one that goes spares several: 16 times 64 MiB count as
//     twice the time, 256 times 64 MiB as four times. What it has beyond the need
//     doesn't count, and is a pity: if a quarter would do, half the time counts.
//
// (The last is a weak form of GreedyDual-Size, Cao and Irani, USITS 1997: what a
// content costs to fetch again grows with its size, as does what is gained, so
// per byte both cancel out and only the number of contents left is in question.)
//
// Of those that it takes in this order, the ones that turn out not to be needed
// beside the others stay, the most valuable first.
//
// What shares bytes with a content that is to come is worth more than its age, as
// they need not be fetched: but only until they were copied. So if it is the quota
// that is short, such a one stays until then, and counts as gone. If it is the disk
// there is no room for both, and it goes when nothing else is left.

// A Wish is what others know of a content's worth.
type Wish struct {
	Replicas int  // copies at this site beside this one, as far as known
	Wanted   int  // copies that the site is to have, this one among them; 0: nobody minds
	Deployed bool // a deployment that has not ended needs it here
}

// A holding is a content as eviction sees it.
type holding struct {
	id       content.ID
	size     int64 // bytes that removing it gives back
	used     time.Time
	complete bool
	pinned   bool
	underWay bool
	read     bool // is being
	shares   bool // bytes with what is to come, or may well
	leaving  bool // as soon as these were copied: the quota counts it no more
	Wish
}

// A stay is why a content doesn't go.
type stay uint8

// The stays, in the order in which they are looked at.
const (
	mayGo stay = iota
	isPinned
	isDeployed
	isUnderWay
	isBeingRead
	isWanted // by the site, which has too few others
	stays
)

var stayNames = [stays]string{"", "pinned", "needed by a deployment", "on their way here", "being read", "the last copies that the site wants"}

func (h holding) stay() stay {
	switch {
	case h.pinned:
		return isPinned
	case h.Deployed:
		return isDeployed
	case h.underWay:
		return isUnderWay
	case h.read:
		return isBeingRead
	case h.Wanted > 0 && h.Replicas < h.Wanted:
		return isWanted
	}
	return mayGo
}

// score says how little a content is worth to one who needs some bytes.
func (h holding) score(need int64, now time.Time) float64 {
	idle := max(now.Sub(h.used).Seconds(), 1)
	idle *= float64(1 + min(max(h.Replicas, 0), 3))
	if !h.complete {
		idle *= 2
	}
	gain := float64(min(h.size, need))
	return idle * math.Sqrt(gain/float64(h.size)*math.Sqrt(max(gain/(64<<20), 1)))
}

// A need is how many bytes are missing.
type need struct {
	disk  int64 // free on the disk
	quota int64 // in what contents may have
}

func (n need) most() int64 { return max(n.disk, n.quota) }

// met reports whether freeing other bytes is enough.
func (n need) met(freed need) bool { return freed.disk >= n.disk && freed.quota >= n.quota }

// An eviction says what goes to free some bytes.
type eviction struct {
	victims []holding // go now, the least valuable first
	later   []holding // go once what they share was copied: they free no disk until then
	freed   int64     // by the victims
	short   int64     // of the bytes wanted; if there are any, nothing goes
	could   int64     // what may go, in all
	// and what the quota counts of it
	couldQuota int64
	kept       [stays]kept
}

// kept is what stays for one reason.
type kept struct {
	contents int
	bytes    int64
}

// most returns as much of what is needed as may go.
func (e eviction) most(n need) need {
	return need{min(n.disk, e.could), min(n.quota, e.couldQuota)}
}

// frees returns what a content gives back if it goes now.
func (h holding) frees() need {
	if h.leaving {
		return need{disk: h.size}
	}
	return need{h.size, h.size}
}

// evict decides which of the holdings go so that the need is met.
func evict(all []holding, n need, now time.Time) eviction {
	var e eviction
	var free []holding
	var could need
	for _, h := range all {
		if h.size <= 0 {
			continue // gives nothing back: a reference, or lists without blocks
		}
		if why := h.stay(); why != mayGo {
			e.kept[why].contents++
			e.kept[why].bytes += h.size
			continue
		}
		gives := h.frees()
		could.disk += gives.disk
		could.quota += gives.quota
		free = append(free, h)
	}
	e.could, e.couldQuota = could.disk, could.quota
	if !n.met(could) {
		e.short = max(n.disk-could.disk, n.quota-could.quota)
		return e
	}
	slices.SortFunc(free, func(a, b holding) int {
		return cmp.Or(cmp.Compare(b.score(n.most(), now), a.score(n.most(), now)), content.Hash(a.id).Compare(content.Hash(b.id)))
	})
	for _, x := range choose(free, n) {
		if x.later {
			e.later = append(e.later, x.holding)
			continue
		}
		e.victims = append(e.victims, x.holding)
		e.freed += x.size
	}
	return e
}

// A choice is a content that goes, now or later.
type choice struct {
	holding
	at    int // its place in the order of value
	later bool
}

// choose takes of contents, the least valuable first, as many as meet the need, and
// returns them in that order.
func choose(free []holding, n need) []choice {
	order := make([]choice, len(free))
	for i, h := range free {
		order[i] = choice{holding: h, at: i}
	}
	// What can be had of the disk: first of what is as good as gone, last of what
	// would have to be fetched.
	byPrice := slices.Clone(order)
	price := func(c choice) int {
		switch {
		case c.leaving:
			return 0
		case c.shares:
			return 2
		}
		return 1
	}
	slices.SortStableFunc(byPrice, func(a, b choice) int { return cmp.Compare(price(a), price(b)) })

	var freed need
	taken := make([]choice, 0, len(order))
	chosen := make([]bool, len(order))
	take := func(c choice) {
		f := c.frees()
		freed.disk += f.disk
		freed.quota += f.quota
		taken, chosen[c.at] = append(taken, c), true
	}
	for _, c := range byPrice {
		if freed.disk >= n.disk {
			break
		}
		take(c)
	}
	for _, c := range order {
		if freed.quota >= n.quota {
			break
		}
		if !chosen[c.at] && !c.leaving {
			take(c)
		}
	}

	// What turned out not to be needed stays, or stays longer: the dearest first.
	slices.SortFunc(taken, func(a, b choice) int { return cmp.Or(cmp.Compare(price(b), price(a)), cmp.Compare(b.at, a.at)) })
	needed := taken[:0]
	for _, c := range taken {
		f := c.frees()
		without := need{freed.disk - f.disk, freed.quota - f.quota}
		if n.met(without) {
			freed = without
			continue
		}
		without.quota = freed.quota
		if c.shares && !c.leaving && n.met(without) {
			freed, c.later = without, true
		}
		needed = append(needed, c)
	}
	slices.SortFunc(needed, func(a, b choice) int { return cmp.Compare(a.at, b.at) })
	return needed
}

// String says what stays and why: "2 pinned (1.5 GiB), 1 being read (3 MiB)".
func (e eviction) String() string {
	var parts []string
	for why, k := range e.kept {
		if k.contents > 0 {
			parts = append(parts, fmt.Sprintf("%d %s (%s)", k.contents, stayNames[why], humanize.IBytes(uint64(k.bytes))))
		}
	}
	if len(parts) == 0 {
		return "nothing else is held"
	}
	return "held: " + strings.Join(parts, ", ")
}
