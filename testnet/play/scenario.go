package play

import (
	"slices"
	"strings"
	"time"

	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

// A Scenario is what happens when, and what must hold.
type Scenario struct {
	Name  string
	About string // its first comment, a paragraph

	Branches, Peers int
	Up, Down        wan.Settings // of each branch's link
	HQUp, HQDown    wan.Settings
	Off             []string      // nodes that aren't started at the beginning
	Limit           time.Duration // of the whole, from its 0s

	Contents []Content
	Events   []Event
	Levels   []Level
}

// A Content is a file that is published.
type Content struct {
	Name     string
	Size     int64
	From     string  // the content that it is a changed copy of
	Changed  float64 // percent of From that differs
	Priority string  // empty: normal
}

// priorities are the words of a content's priority.
var priorities = []string{"urgent", "normal", "background"}

// An Event is a line that makes something happen.
type Event struct {
	Line int
	When Trigger
	Do   Action
}

// A TriggerKind says what an Event waits for.
type TriggerKind string

// Kinds of triggers.
const (
	At    TriggerKind = "at"    // Time from the beginning
	After TriggerKind = "after" // Time behind the event above
	When  TriggerKind = "when"  // Content has come so far at Place
)

// A Trigger says when an event's time has come.
type Trigger struct {
	Kind    TriggerKind
	Time    time.Duration
	Content string
	Share   float64 // percent that a member of Place has; Done: all that asked for it have it
	Place   string
}

// Done is the Share of a Trigger that waits for the copies themselves.
const Done = -1

// An Action is what happens. What is set depends on its Verb.
type Action struct {
	Verb      string
	Content   string        // publish, get
	Places    []string      // of all but publish without a place
	To        string        // move: a site
	Direction string        // link: up, down, both
	Settings  string        // link: in the text form of wan.Settings, what changes
	For       time.Duration // bulk, web, voip
}

// all is the Place that stands for the endpoints of every branch.
const all = "all"

// Plan returns what stands in the box.
func (s *Scenario) Plan(seed uint64) box.Plan {
	return box.Plan{
		Branches: s.Branches, Peers: s.Peers,
		Up: s.Up, Down: s.Down, HQUp: s.HQUp, HQDown: s.HQDown,
		Seed: seed,
	}
}

// Scaled returns the scenario with everything that lasts and every size times x. The
// links stay as fast as they are, so that it takes x times as long; levels stay too.
func (s *Scenario) Scaled(x float64) *Scenario {
	if x == 1 {
		return s
	}
	longer := func(d *time.Duration) { *d = time.Duration(float64(*d) * x) }
	out := *s
	out.Contents, out.Events = slices.Clone(s.Contents), slices.Clone(s.Events)
	longer(&out.Limit)
	for i := range out.Contents {
		out.Contents[i].Size = max(1, int64(float64(out.Contents[i].Size)*x))
	}
	for i := range out.Events {
		longer(&out.Events[i].When.Time)
		longer(&out.Events[i].Do.For)
	}
	return &out
}

// content returns the content of that name, or nil.
func (s *Scenario) content(name string) *Content {
	for i := range s.Contents {
		if s.Contents[i].Name == name {
			return &s.Contents[i]
		}
	}
	return nil
}

// members returns the nodes of a place, by where they stand at the beginning. There
// are none if there is no such place.
func (s *Scenario) members(place string) []string {
	var names []string
	for _, p := range s.Plan(0).Places() {
		if p.Node == place || p.Site == place || place == all && p.Site != box.HQ {
			names = append(names, p.Node)
		}
	}
	return names
}

// does reports whether an event does something to a node, alone or with others.
func (s *Scenario) does(verb, node string) bool {
	return slices.ContainsFunc(s.Events, func(e Event) bool {
		return e.Do.Verb == verb && slices.ContainsFunc(e.Do.Places, func(place string) bool { return slices.Contains(s.members(place), node) })
	})
}

// site returns where a node stands at the beginning, or a site's own name.
func (s *Scenario) site(place string) string {
	for _, p := range s.Plan(0).Places() {
		if p.Node == place || p.Site == place {
			return p.Site
		}
	}
	return ""
}

// isLoad reports whether a verb is something that users of a branch do.
func isLoad(verb string) bool { return slices.Contains(loads, verb) }

var loads = []string{"bulk", "web", "voip"}

// Text returns the event as it stands in a file, blanks apart.
func (e Event) Text() string { return e.When.String() + " " + e.Do.String() }

func list(names []string) string { return strings.Join(names, ", ") }
