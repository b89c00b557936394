package chaos

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

// A Kind of fault.
type Kind string

// The kinds. Those in a group can't overlap on one node or link: see slot.
const (
	Kill    Kind = "kill"    // the process is killed, and started when it heals
	Restart Kind = "restart" // it is asked to end, and started when it heals
	Freeze  Kind = "freeze"  // it stops where it is, and goes on when it heals

	Unplug Kind = "unplug" // the machine's cable is out
	Move   Kind = "move"   // the machine is at another site

	Fill Kind = "fill" // the disk of the data folder has Free bytes left

	Cut  Kind = "cut"  // everything on the site's link is lost
	Slow Kind = "slow" // the link has other Settings
)

// slot is what a fault takes up: one at a time of a node's process, its cable, its
// disk, or a site's link.
func (k Kind) slot() string {
	switch k {
	case Kill, Restart, Freeze:
		return "process"
	case Unplug, Move:
		return "cable"
	case Fill:
		return "disk"
	}
	return "link"
}

// away reports whether others can't reach the node.
func (k Kind) away() bool { return k.slot() == "process" || k == Unplug }

// A Fault happens to a node, or to the link of a site.
type Fault struct {
	Number      int // from 1, in the order of From
	Kind        Kind
	Who         string // node or site
	From, Until time.Duration

	Free     int64        // Fill: bytes left
	Site     string       // Move: where to
	Up, Down wan.Settings // Slow, Cut
}

func (f Fault) String() string {
	text := fmt.Sprintf("%s %s", f.Kind, f.Who)
	switch f.Kind {
	case Fill:
		text += fmt.Sprintf(" to %d KiB free", f.Free>>10)
	case Move:
		text += " to " + f.Site
	case Slow:
		text += fmt.Sprintf(" up %v down %v", f.Up, f.Down)
	}
	return text
}

// heals says what ends a fault of the kind.
func (k Kind) heals() string {
	switch k {
	case Kill, Restart:
		return "start"
	case Freeze:
		return "thaw"
	case Unplug:
		return "plug"
	case Move:
		return "move back"
	case Fill:
		return "empty"
	}
	return "restore"
}

// A Content is a sample of random bytes. Two of one Seed share what both have room
// for: the later one is an update of the earlier.
type Content struct {
	Name string
	Size int64
	Seed uint64
	At   time.Duration // when the publisher adds it
}

// A Want is somebody who gets a content and asks again until it is there.
type Want struct {
	Number  int // from 1
	Node    string
	Content int // index in Contents
	At      time.Duration
}

// A Chore is a verb that an operator runs on an endpoint once.
type Chore struct {
	Node    string
	Verb    string // rm, pin, unpin, verify, gc
	Content int    // of all but gc
	At      time.Duration
}

// A Timeline is all that is to happen. The first content is the one that everyone
// gets before the faults begin; the times of all else count from then.
type Timeline struct {
	Box   box.Plan
	For   time.Duration
	Quiet time.Duration // the last part of For, without faults

	Faults   []Fault
	Contents []Content
	Wants    []Want
	Chores   []Chore
}

// moment is a line of the text.
type moment struct {
	at   time.Duration
	text string
}

// String returns a line for each thing that happens, in order.
func (t Timeline) String() string {
	var all []moment
	add := func(at time.Duration, format string, args ...any) {
		all = append(all, moment{at, fmt.Sprintf(format, args...)})
	}
	for _, f := range t.Faults {
		add(f.From, "#%d %v, for %v", f.Number, f, f.Until-f.From)
		add(f.Until, "#%d %s %s", f.Number, f.Kind.heals(), f.Who)
	}
	for _, c := range t.Contents[1:] {
		add(c.At, "publish %s, %d KiB of seed %d", c.Name, c.Size>>10, c.Seed)
	}
	for _, w := range t.Wants {
		add(w.At, "%s wants %s (get %d)", w.Node, t.Contents[w.Content].Name, w.Number)
	}
	for _, c := range t.Chores {
		add(c.At, "%s %s", c.Node, t.chore(c))
	}
	slices.SortStableFunc(all, func(a, b moment) int { return cmp.Compare(a.at, b.at) })

	var b strings.Builder
	fmt.Fprintf(&b, "seed %d, %v, %d branches x %d endpoints: %d faults, %d contents, %d gets, %d chores\n",
		t.Box.Seed, t.For, t.Box.Branches, t.Box.Peers, len(t.Faults), len(t.Contents), len(t.Wants), len(t.Chores))
	for _, m := range all {
		fmt.Fprintf(&b, "%7.1fs  %s\n", m.at.Seconds(), m.text)
	}
	return b.String()
}

func (t Timeline) chore(c Chore) string {
	if c.Verb == "gc" {
		return "cache gc"
	}
	return "content " + c.Verb + " " + t.Contents[c.Content].Name
}

// Patience is how long after the faults everything that is wanted may take to
// arrive: at the worst nothing of it came before, and every endpoint of a site
// brings its own copy over the site's link, and the publisher's link carries all
// of them. Twice that, for what the protocols take and lose, and two minutes to
// meet each other again and to give up on what hangs.
func (t Timeline) Patience() time.Duration {
	var bytes int64
	for _, w := range t.Wants {
		bytes += t.Contents[w.Content].Size
	}
	rate := t.Box.HQUp.Rate
	if rate == 0 || t.Box.Down.Rate > 0 && t.Box.Down.Rate < rate {
		rate = t.Box.Down.Rate
	}
	d := 2 * time.Minute
	if rate > 0 {
		d += 2 * time.Duration(float64(bytes)/rate.BytesPerSecond()*float64(time.Second))
	}
	return d
}

// warming is how long everyone may take to get the first content, without faults,
// and to come to rest: Patience, with as many wants.
func (t Timeline) warming() time.Duration {
	t.Wants = make([]Want, len(t.Box.Places()))
	return t.Patience() + restBefore + readings*between
}
