package play

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/p2pnode/p2pnode/testnet/wan"
)

// shapes says how the words behind a verb are read.
var shapes = []struct {
	verb  string
	shape shape
	want  string
}{
	{"publish", ofContent, "publish CONTENT [at NODE]"},
	{"get", ofContent, "get CONTENT at PLACE"},
	{"start", ofNodes, "start PLACE"},
	{"stop", ofNodes, "stop PLACE"},
	{"kill", ofNodes, "kill PLACE"},
	{"restart", ofNodes, "restart PLACE"},
	{"freeze", ofNodes, "freeze PLACE"},
	{"thaw", ofNodes, "thaw PLACE"},
	{"unplug", ofNodes, "unplug PLACE"},
	{"plug", ofNodes, "plug PLACE"},
	{"move", ofMove, "move NODE to SITE"},
	{"cut", ofSites, "cut SITE"},
	{"heal", ofSites, "heal SITE"},
	{"link", ofLink, "link SITE up|down|both SETTINGS, as in: link branch-a both rate=5mbit"},
	{"bulk", ofLoad, "bulk at SITE for TIME"},
	{"web", ofLoad, "web at SITE for TIME"},
	{"voip", ofLoad, "voip at SITE for TIME"},
}

type shape int

const (
	ofContent shape = iota
	ofNodes
	ofMove
	ofSites
	ofLink
	ofLoad
)

// event reads a line that begins with a trigger.
func (p *parser) event(words []string) error {
	if len(p.s.Events) == maxEvents {
		return fmt.Errorf("more than %d events", maxEvents)
	}
	t, rest, err := p.trigger(words)
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		return fmt.Errorf("%v: and then? Want what happens, as in: %v publish image", t, t)
	}
	a, err := p.action(rest)
	if err != nil {
		return err
	}
	if isLoad(a.Verb) && t.Kind != At {
		return fmt.Errorf("%s: what users do is played once more without us, so it has a time of its own: at TIME %v", a.Verb, a)
	}
	p.s.Events = append(p.s.Events, Event{Line: p.line, When: t, Do: a})
	return nil
}

func (p *parser) trigger(words []string) (t Trigger, rest []string, err error) {
	t.Kind = TriggerKind(words[0])
	if t.Kind != When {
		if len(words) < 2 {
			return t, nil, fmt.Errorf("%s: want a time, as in: %s 2s", t.Kind, t.Kind)
		}
		if t.Kind == After && len(p.s.Events) == 0 {
			return t, nil, errors.New("after: there is no event above it")
		}
		t.Time, err = parseTime(words[1])
		return t, words[2:], err
	}
	if len(words) < 5 || words[3] != string(At) {
		return t, nil, errors.New("want: when CONTENT SHARE|done at PLACE ..., as in: when image 30% at branch-a kill branch-a-2")
	}
	t.Content, t.Place = words[1], words[4]
	switch {
	case p.s.content(t.Content) == nil:
		return t, nil, p.noContent(t.Content)
	case !p.isPlace(t.Place):
		return t, nil, p.noPlace(t.Place)
	case words[2] == "done":
		t.Share = Done
	default:
		t.Share, err = percent(words[2])
	}
	return t, words[5:], err
}

func (p *parser) action(words []string) (Action, error) {
	var verbs []string
	for _, v := range shapes {
		verbs = append(verbs, v.verb)
		if v.verb != words[0] {
			continue
		}
		a, err := p.shaped(v.shape, Action{Verb: v.verb}, words[1:])
		if errors.Is(err, errWant) {
			err = fmt.Errorf("%s: want: %s", strings.Join(words, " "), v.want)
		}
		return a, err
	}
	return Action{}, unknown("verb", words[0], verbs)
}

// errWant stands for the form that a verb has.
var errWant = errors.New("want another form")

func (p *parser) shaped(s shape, a Action, words []string) (_ Action, err error) {
	if len(words) == 0 {
		return a, errWant
	}
	switch s {
	case ofContent:
		return p.onContent(a, words)
	case ofNodes:
		a.Places, err = p.places(words)
		return a, err
	case ofMove:
		if len(words) != 3 || words[1] != "to" {
			return a, errWant
		}
		a.Places, a.To = words[:1], words[2]
		if !p.isNode(words[0]) || !p.isSite(a.To) {
			return a, errWant
		}
		return a, nil
	case ofSites:
		a.Places, err = p.places(words)
		return a, errors.Join(err, p.sites(a.Places))
	case ofLink:
		if len(words) < 3 {
			return a, errWant
		}
		a.Places, a.Direction = words[:1], words[1]
		if !slices.Contains([]string{"up", "down", "both"}, a.Direction) {
			return a, unknown("direction", a.Direction, []string{"up", "down", "both"})
		}
		a.Settings = strings.Join(words[2:], " ")
		_, err = wan.Settings{}.With(a.Settings)
		return a, errors.Join(p.sites(a.Places), err)
	}
	if len(words) != 4 || words[0] != string(At) || words[2] != "for" {
		return a, errWant
	}
	a.Places = words[1:2]
	a.For, err = parseTime(words[3])
	if err == nil && a.For == 0 {
		err = errors.New("it lasts longer than that")
	}
	return a, errors.Join(p.sites(a.Places), err)
}

func (p *parser) onContent(a Action, words []string) (_ Action, err error) {
	a.Content = words[0]
	if p.s.content(a.Content) == nil {
		return a, p.noContent(a.Content)
	}
	if len(words) == 1 && a.Verb == "publish" {
		return a, nil
	}
	if len(words) < 3 || words[1] != string(At) {
		return a, errWant
	}
	a.Places, err = p.places(words[2:])
	if err == nil && a.Verb == "publish" && (len(a.Places) != 1 || !p.isNode(a.Places[0])) {
		return a, errWant
	}
	return a, err
}

func (p *parser) sites(names []string) error {
	for _, n := range names {
		if !p.isSite(n) {
			return unknown("site", n, p.s.Plan(0).Sites())
		}
	}
	return nil
}

// String returns the trigger as it stands in a file.
func (t Trigger) String() string {
	if t.Kind != When {
		return fmt.Sprintf("%s %v", t.Kind, t.Time)
	}
	share := "done"
	if t.Share != Done {
		share = strconv.FormatFloat(t.Share, 'f', -1, 64) + "%"
	}
	return fmt.Sprintf("when %s %s at %s", t.Content, share, t.Place)
}

// String returns the action as it stands in a file.
func (a Action) String() string {
	switch {
	case a.To != "":
		return fmt.Sprintf("move %s to %s", list(a.Places), a.To)
	case a.Settings != "":
		return fmt.Sprintf("link %s %s %s", list(a.Places), a.Direction, a.Settings)
	case a.For > 0:
		return fmt.Sprintf("%s at %s for %v", a.Verb, list(a.Places), a.For)
	case a.Content != "" && len(a.Places) == 0:
		return fmt.Sprintf("%s %s", a.Verb, a.Content)
	case a.Content != "":
		return fmt.Sprintf("%s %s at %s", a.Verb, a.Content, list(a.Places))
	}
	return a.Verb + " " + list(a.Places)
}

// String returns the scenario as a file that Parse reads back to the same, but for
// the numbers of lines.
func (s *Scenario) String() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	if s.About != "" {
		line("# %s", s.About)
	}
	line("branches %d, peers %d", s.Branches, s.Peers)
	for _, l := range []struct {
		name string
		is   wan.Settings
	}{{"link up", s.Up}, {"link down", s.Down}, {"hq up", s.HQUp}, {"hq down", s.HQDown}} {
		line("%s %v", l.name, l.is)
	}
	if len(s.Off) > 0 {
		line("off %s", list(s.Off))
	}
	line("limit %v", s.Limit)
	for _, c := range s.Contents {
		what := sizeText(c.Size)
		if c.From != "" {
			what = fmt.Sprintf("from %s %s%% changed", c.From, strconv.FormatFloat(c.Changed, 'f', -1, 64))
		}
		if c.Priority != "" {
			what += " priority " + c.Priority
		}
		line("content %s %s", c.Name, what)
	}
	for _, e := range s.Events {
		line("%s", e.Text())
	}
	for _, l := range s.Levels {
		line("%v", l)
	}
	return b.String()
}
