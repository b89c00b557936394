package play

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

// Limits of a scenario's text.
const (
	maxText     = 64 << 10 // bytes
	maxContents = 20
	maxEvents   = 500
	maxLevels   = 100
	maxWord     = 40 // bytes of a content's name

	defaultLimit = 2 * time.Minute
)

// Parse reads a scenario. All mistakes are told, each with its place.
func Parse(name, text string) (*Scenario, error) {
	if len(text) > maxText {
		return nil, fmt.Errorf("%s: %d bytes are more than a scenario may have (%d)", name, len(text), maxText)
	}
	p := parser{s: &Scenario{Name: name, Limit: defaultLimit}, seen: map[string]bool{}}
	about := true
	for i, line := range strings.Split(text, "\n") {
		p.line = i + 1
		line = strings.TrimSpace(line)
		if comment, ok := strings.CutPrefix(line, "#"); ok && about {
			p.s.About = strings.TrimSpace(p.s.About + " " + strings.TrimSpace(comment))
			continue
		}
		about = about && line == "" && p.s.About == ""
		if err := p.read(line); err != nil {
			p.errs = append(p.errs, fmt.Errorf("%s.scenario:%d: %w", name, p.line, err))
		}
	}
	if len(p.errs) == 0 {
		p.whole()
	}
	if len(p.errs) > 0 {
		return nil, errors.Join(p.errs...)
	}
	return p.s, nil
}

type parser struct {
	s    *Scenario
	line int
	errs []error
	seen map[string]bool // lines that may stand once
}

// statements are the first words of a line.
var statements = []string{"branches", "link", "hq", "off", "limit", "content", "at", "after", "when", "level"}

func (p *parser) read(line string) error {
	if strings.ContainsFunc(line, func(r rune) bool { return r == unicode.ReplacementChar || unicode.IsControl(r) && r != '\t' }) {
		return errors.New("it isn't text; want UTF-8")
	}
	words := strings.Fields(uncomment(line))
	if len(words) == 0 {
		return nil
	}
	if words[0] != "branches" && p.s.Branches == 0 && !p.seen["branches"] {
		return fmt.Errorf("%q: what stands in the box comes first, as in: branches 2, peers 5", words[0])
	}
	switch rest := words[1:]; words[0] {
	case "branches":
		return p.branches(rest)
	case "link":
		return p.link(rest, "link", &p.s.Up, &p.s.Down)
	case "hq":
		return p.link(rest, "hq", &p.s.HQUp, &p.s.HQDown)
	case "off":
		return p.off(rest)
	case "limit":
		if len(rest) != 1 {
			return errors.New("limit: want a time, as in: limit 2m")
		}
		d, err := parseTime(rest[0])
		if err == nil && d == 0 {
			err = errors.New("a scenario takes longer than that")
		}
		p.s.Limit = d
		return errors.Join(p.once("limit"), err)
	case "content":
		return p.content(rest)
	case string(At), string(After), string(When):
		return p.event(words)
	case "level":
		return p.level(rest)
	}
	return unknown("statement", words[0], statements)
}

// uncomment cuts off what stands behind a #.
func uncomment(line string) string {
	for i, r := range line {
		if r == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t') {
			return line[:i]
		}
	}
	return line
}

func (p *parser) once(what string) error {
	if p.seen[what] {
		return fmt.Errorf("%s stands here a second time", what)
	}
	p.seen[what] = true
	return nil
}

func (p *parser) branches(words []string) error {
	want := errors.New("want: branches NUMBER, peers NUMBER")
	if len(words) != 3 || words[1] != "peers" {
		return want
	}
	b, err1 := number64(strings.TrimSuffix(words[0], ","))
	n, err2 := number64(words[2])
	if err1 != nil || err2 != nil || b != float64(int(b)) || n != float64(int(n)) {
		return want
	}
	p.s.Branches, p.s.Peers = int(b), int(n)
	err := errors.Join(p.once("branches"), p.s.Plan(0).Check())
	if err != nil {
		p.s.Branches, p.s.Peers = 1, 1 // what follows is looked at anyway
	}
	return err
}

func (p *parser) link(words []string, who string, up, down *wan.Settings) error {
	if len(words) < 2 {
		return fmt.Errorf("want: %s up|down SETTINGS, as in: %s up rate=20mbit delay=20ms", who, who)
	}
	into := map[string]*wan.Settings{"up": up, "down": down}[words[0]]
	if into == nil {
		return unknown("direction", words[0], []string{"up", "down"})
	}
	s, err := wan.Parse(strings.Join(words[1:], " "))
	*into = s
	return errors.Join(p.once(who+" "+words[0]), err)
}

func (p *parser) off(words []string) error {
	names, err := p.places(words)
	for _, n := range names {
		if !p.isNode(n) {
			err = errors.Join(err, fmt.Errorf("off: %s is no node", n))
		}
	}
	p.s.Off = names
	return errors.Join(p.once("off"), err)
}

func (p *parser) content(words []string) error {
	if len(words) < 2 {
		return errors.New("want: content NAME SIZE [priority WORD], or: content NAME from OTHER SHARE% changed")
	}
	c := Content{Name: words[0]}
	if strings.Trim(c.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || len(c.Name) > maxWord || c.Name[0] == '-' {
		return fmt.Errorf("content %q: want a name of small letters, digits and -", c.Name)
	}
	if p.s.content(c.Name) != nil || p.isPlace(c.Name) {
		return fmt.Errorf("content %s: something has that name already", c.Name)
	}
	if len(p.s.Contents) == maxContents {
		return fmt.Errorf("more than %d contents", maxContents)
	}
	words = words[1:]
	if n := len(words); n >= 2 && words[n-2] == "priority" {
		if !slices.Contains(priorities, words[n-1]) {
			return unknown("priority", words[n-1], priorities)
		}
		c.Priority, words = words[n-1], words[:n-2]
	}
	switch {
	case len(words) == 1:
		size, err := parseSize(words[0])
		if err != nil {
			return err
		}
		c.Size = size
	case len(words) == 4 && words[0] == "from" && words[3] == "changed":
		from := p.s.content(words[1])
		if from == nil {
			return p.noContent(words[1])
		}
		if from.From != "" {
			return fmt.Errorf("content %s: %s is a changed copy itself; want one of %s, as in: content %[1]s from %[3]s %[4]s changed", c.Name, from.Name, from.From, words[2])
		}
		share, err := percent(words[2])
		if err != nil {
			return err
		}
		c.From, c.Size, c.Changed = from.Name, from.Size, share
	default:
		return errors.New("want: content NAME SIZE [priority WORD], or: content NAME from OTHER SHARE% changed")
	}
	p.s.Contents = append(p.s.Contents, c)
	return nil
}

func percent(text string) (float64, error) {
	number, ok := strings.CutSuffix(text, "%")
	v, err := number64(number)
	if !ok || err != nil || v > 100 {
		return 0, fmt.Errorf("%q: want a share, as in 30%%", text)
	}
	return v, nil
}

// places reads names with commas between them.
func (p *parser) places(words []string) ([]string, error) {
	var names []string
	for one := range strings.SplitSeq(strings.Join(words, " "), ",") {
		name := strings.TrimSpace(one)
		if !p.isPlace(name) {
			return nil, p.noPlace(name)
		}
		if slices.Contains(names, name) {
			return nil, fmt.Errorf("%s stands there twice", name)
		}
		names = append(names, name)
	}
	return names, nil
}

func (p *parser) isPlace(name string) bool { return len(p.s.members(name)) > 0 }

func (p *parser) isNode(name string) bool { return slices.Equal(p.s.members(name), []string{name}) }

func (p *parser) isSite(name string) bool { return slices.Contains(p.s.Plan(0).Sites(), name) }

func (p *parser) noPlace(name string) error {
	known := append([]string{all}, p.s.Plan(0).Sites()...)
	known = append(known, box.Publisher, box.Operator)
	if site, _, ok := strings.Cut(name, "-"); ok && site == "branch" && strings.Count(name, "-") > 1 {
		known = append(known, box.Endpoint(box.Branch(0), 1), box.Endpoint(box.Branch(p.s.Branches-1), p.s.Peers))
	}
	return unknown("place", name, known)
}

func (p *parser) noContent(name string) error {
	var known []string
	for _, c := range p.s.Contents {
		known = append(known, c.Name)
	}
	if len(known) == 0 {
		return fmt.Errorf("no content %q; name it above, as in: content %s 16MiB", name, name)
	}
	return unknown("content", name, known)
}

func (p *parser) level(words []string) error {
	l := Level{Line: p.line}
	if i := slices.Index(words, "short:"); i >= 0 {
		l.Short = strings.Join(words[i+1:], " ")
		if l.Short == "" {
			return errors.New("short: want the reason why today's code doesn't hold it")
		}
		words = words[:i]
	}
	if len(words) == 0 {
		return errors.New("want: level MEASURE [CONTENT] [at PLACE] <=|>=|= FIGURE")
	}
	var names []string
	for _, m := range Measures {
		names = append(names, m.Name)
	}
	m := measure(words[0])
	if m == nil {
		return unknown("measure", words[0], names)
	}
	l.Measure, words = words[0], words[1:]
	if len(words) > 0 && words[0] != string(At) && strings.Trim(words[0], "<>=") != "" {
		if !m.Content {
			return fmt.Errorf("%s isn't of a content; want: level %s [at PLACE] <=|>=|= FIGURE", m.Name, m.Name)
		}
		if p.s.content(words[0]) == nil {
			return p.noContent(words[0])
		}
		l.Content, words = words[0], words[1:]
	}
	if len(words) > 1 && words[0] == string(At) {
		switch {
		case m.Where == nowhere:
			return fmt.Errorf("%s isn't of a place", m.Name)
		case !p.isPlace(words[1]):
			return p.noPlace(words[1])
		case m.Where.worst() && !p.isSite(words[1]) && !(m.Where == ofSiteOrNode && p.isNode(words[1])):
			return fmt.Errorf("%s is of a site, and %s is none", m.Name, words[1])
		}
		l.Place, words = words[1], words[2:]
	}
	if len(words) < 2 || !isOp(words[0]) {
		return fmt.Errorf("want <=, >= or = and a figure, as in: level %s <= ...: %s", l.Name(), examples(m.Units))
	}
	f, err := parseFigure(words[1:], m)
	l.Op, l.Figure = words[0], f
	if len(p.s.Levels) == maxLevels {
		return fmt.Errorf("more than %d levels", maxLevels)
	}
	p.s.Levels = append(p.s.Levels, l)
	return err
}

func isOp(word string) bool { return word == "<=" || word == ">=" || word == "=" }

// whole looks at what only all lines together can be wrong in.
func (p *parser) whole() {
	bad := func(format string, args ...any) {
		p.errs = append(p.errs, fmt.Errorf("%s.scenario: %s", p.s.Name, fmt.Sprintf(format, args...)))
	}
	if p.s.Branches == 0 {
		bad("it is empty; begin with what stands in the box, as in: branches 2, peers 5")
		return
	}
	if len(p.s.Events) == 0 || len(p.s.Levels) == 0 {
		bad("nothing happens, or nothing has to hold: want an event and a level")
	}
	published, asked := map[string]bool{}, map[string]bool{}
	for _, e := range p.s.Events {
		switch e.Do.Verb {
		case "publish":
			if published[e.Do.Content] {
				bad("line %d: %s is published twice", e.Line, e.Do.Content)
			}
			published[e.Do.Content] = true
		case "get":
			asked[e.Do.Content] = true
		}
		if e.When.Kind != When && e.When.Time > p.s.Limit {
			bad("line %d: %v is later than the limit of %v; want a longer limit, as in: limit 5m", e.Line, e.When.Time, p.s.Limit)
		}
	}
	for c := range asked {
		if !published[c] {
			bad("nobody publishes %s; want a line as in: at 0s publish %s", c, c)
		}
	}
	for _, n := range p.s.Off {
		if p.s.does("get", n) && !p.s.does("start", n) && !p.s.does("restart", n) {
			bad("%s is off and gets something; want a line as in: at 5s start %s", n, n)
		}
	}
}

// unknown returns an error that says what is known, and what may have been meant.
func unknown(what, word string, known []string) error {
	best, distance := "", 3
	for _, k := range known {
		if d := edits(word, k); d < min(distance, len(word)) {
			best, distance = k, d
		}
	}
	if best != "" {
		return fmt.Errorf("no %s %q; did you mean %s? There are %s", what, word, best, list(known))
	}
	return fmt.Errorf("no %s %q; there are %s", what, word, list(known))
}

// edits returns how many letters have to be put in, left out or changed to make b of
// a. Words far longer than any known are as far away as they are long.
func edits(a, b string) int {
	if len(a) > maxWord {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		left := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := left
			if a[i] != b[j] {
				change++
			}
			left = row[j+1]
			row[j+1] = min(change, row[j]+1, left+1)
		}
	}
	return row[len(b)]
}
