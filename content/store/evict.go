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

// An eviction says what goes to free some bytes.
type eviction struct {
	victims []holding // the least valuable first
	freed   int64
	short   int64 // of the bytes wanted; if there are any, nothing goes
	could   int64 // what may go, in all
	kept    [stays]kept
}

// kept is what stays for one reason.
type kept struct {
	contents int
	bytes    int64
}

// evict decides which of the holdings go so that need bytes are freed.
func evict(all []holding, need int64, now time.Time) eviction {
	var e eviction
	var free []holding
	for _, h := range all {
		if h.size <= 0 {
			continue // gives nothing back: a reference, or lists without blocks
		}
		if why := h.stay(); why != mayGo {
			e.kept[why].contents++
			e.kept[why].bytes += h.size
			continue
		}
		e.could += h.size
		free = append(free, h)
	}
	if need <= 0 {
		return e
	}
	if e.could < need {
		e.short = need - e.could
		return e
	}
	slices.SortFunc(free, func(a, b holding) int {
		return cmp.Or(cmp.Compare(b.score(need, now), a.score(need, now)), content.Hash(a.id).Compare(content.Hash(b.id)))
	})
	for _, h := range free {
		if e.freed >= need {
			break
		}
		e.victims = append(e.victims, h)
		e.freed += h.size
	}
	needed := e.victims[:0:0]
	for _, h := range slices.Backward(e.victims) {
		if e.freed-h.size >= need {
			e.freed -= h.size
			continue
		}
		needed = append(needed, h)
	}
	slices.Reverse(needed)
	e.victims = needed
	return e
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
