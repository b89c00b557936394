package play

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Level is a line that says what must hold.
type Level struct {
	Line    int
	Measure string
	Content string // empty: all contents together
	Place   string // empty: everywhere
	Op      string // <=, >=, =
	Figure  Figure
	Short   string // why today's code doesn't hold it; empty: it does
}

// A Unit is what a Figure counts.
type Unit string

// Units.
const (
	Plain   Unit = ""
	Percent Unit = "%"
	Seconds Unit = "s"
	Bytes   Unit = "bytes"
	OfWire  Unit = "x wire"  // times what the link alone would take: size / rate
	OfAlone Unit = "x alone" // times what it was without us
	Every   Unit = "all"
)

// A Figure is a number with its unit.
type Figure struct {
	Value float64
	Unit  Unit
}

// A Measure is a word that a level may begin with.
type Measure struct {
	Name    string
	Units   []Unit
	Content bool // may be of one content
	Where   where
	What    string
}

// where is the place that a measure may be of.
type where int

const (
	nowhere      where = iota
	ofAny              // a site, a node, all; without one, all of them together
	ofSite             // without one, the branch that is worst counts
	ofSiteOrNode       // the same
)

func (w where) worst() bool { return w == ofSite || w == ofSiteOrNode }

// Measures are all of them.
var Measures = []Measure{
	{"done", []Unit{Seconds, OfWire}, true, ofAny, "from the first get at the place until the last copy is written there"},
	{"first", []Unit{Seconds, OfWire}, true, ofAny, "the same until the first copy is written"},
	{"copies", []Unit{Plain}, true, ofSite, "what nodes sent over the WAN into the site, on the wire, over the size of what was asked for there; of one content: from its publication on"},
	{"payload", []Unit{Plain}, true, ofSiteOrNode, "what the site's nodes, or a node, say they fetched over the WAN, over that size"},
	{"uplink", []Unit{Plain}, true, nowhere, "what nodes sent out of headquarters, on the wire, over the size of what was published"},
	{"overhead", []Unit{Percent}, false, ofSite, "what nodes sent into the site beyond what they fetched over the WAN: headers, hellos, lists, what was lost; of what they fetched"},
	{"wasted", []Unit{Percent}, true, ofAny, "what was fetched for nothing, of what was fetched"},
	{"correct", []Unit{Every}, true, ofAny, "gets that ended with 0 and a copy whose sha256 is right"},
	{"wrong", []Unit{Plain}, true, ofAny, "copies that are not what was published"},
	{"stall", []Unit{Seconds}, true, ofAny, "the longest time in which nothing arrived at the place while something was missing"},
	{"resume", []Unit{Seconds}, true, ofAny, "from the last start, thaw, plug, move or heal there until something arrives again"},
	{"use", []Unit{Percent}, false, ofSite, "what the site's nodes took of what others left of its link, while something was missing"},
	{"kept", []Unit{Percent}, false, ofSite, "what bulk traffic got, of what it gets alone"},
	{"page", []Unit{OfAlone}, false, ofSite, "how long a page takes, median"},
	{"delay", []Unit{Seconds}, false, ofSite, "what we add to the delay of voip, at p99"},
	{"mos", []Unit{Plain}, false, ofSite, "the mean opinion score of voip, 1 to 4.5"},
	{"rss", []Unit{Bytes}, false, ofAny, "the most memory that a node took"},
}

func measure(name string) *Measure {
	for i := range Measures {
		if Measures[i].Name == name {
			return &Measures[i]
		}
	}
	return nil
}

// holds reports whether a figure is what the level asks for.
func (l Level) holds(f float64) bool {
	switch l.Op {
	case "<=":
		return f <= l.Figure.Value
	case ">=":
		return f >= l.Figure.Value
	}
	return f == l.Figure.Value
}

// Name returns what the level is about, without its figure.
func (l Level) Name() string {
	text := l.Measure
	if l.Content != "" {
		text += " " + l.Content
	}
	if l.Place != "" {
		text += " at " + l.Place
	}
	return text
}

// String returns the level as it stands in a file.
func (l Level) String() string {
	text := fmt.Sprintf("level %s %s %v", l.Name(), l.Op, l.Figure)
	if l.Short != "" {
		text += " short: " + l.Short
	}
	return text
}

// sizes are the units of bytes, largest first.
var sizes = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

func sizeText(n int64) string {
	for _, u := range sizes {
		if n%u.bytes == 0 && n > 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

// String returns the figure as it stands in a file.
func (f Figure) String() string {
	number := strconv.FormatFloat(f.Value, 'f', -1, 64)
	switch f.Unit {
	case Bytes:
		return sizeText(int64(f.Value))
	case Seconds:
		return time.Duration(math.Round(f.Value * float64(time.Second))).String()
	case Every:
		return string(Every)
	case OfWire, OfAlone:
		return number + " " + string(f.Unit)
	}
	return number + string(f.Unit)
}

// Short returns the figure for people: as many digits as matter.
func (f Figure) Short() string {
	v := f.Value
	number := strconv.FormatFloat(v, 'f', 2, 64)
	switch f.Unit {
	case Seconds:
		if v < 1 && v > -1 {
			return strconv.FormatFloat(v*1000, 'f', 1, 64) + " ms"
		}
		return number + " s"
	case Percent:
		return strconv.FormatFloat(v, 'f', 1, 64) + " %"
	case Bytes:
		return strconv.FormatFloat(v/(1<<20), 'f', 0, 64) + " MiB"
	case OfWire, OfAlone:
		return number + " " + string(f.Unit)
	}
	return strings.TrimSuffix(number, ".00")
}

// parseFigure reads a figure from the words behind the operator.
func parseFigure(words []string, m *Measure) (Figure, error) {
	f, err := figureOf(strings.Join(words, " "))
	if err != nil {
		return f, err
	}
	if !slices.Contains(m.Units, f.Unit) {
		return f, fmt.Errorf("%s has another unit; want %s", m.Name, examples(m.Units))
	}
	return f, nil
}

func figureOf(text string) (Figure, error) {
	if text == string(Every) {
		return Figure{Unit: Every, Value: 1}, nil
	}
	for _, unit := range []Unit{OfWire, OfAlone, Percent} {
		if number, ok := strings.CutSuffix(text, string(unit)); ok {
			v, err := number64(strings.TrimSpace(number))
			return Figure{v, unit}, err
		}
	}
	if n, err := parseSize(text); err == nil {
		return Figure{float64(n), Bytes}, nil
	}
	if v, err := number64(text); err == nil {
		return Figure{v, Plain}, nil
	}
	d, err := parseTime(text)
	if err != nil {
		return Figure{}, fmt.Errorf("%q is no figure; want one as in 1.05, 2%%, 2.5s, 96MiB, 1.1 x wire, 1.25 x alone, all", text)
	}
	return Figure{d.Seconds(), Seconds}, nil
}

func examples(units []Unit) string {
	of := map[Unit]string{Plain: "a number (1.05)", Percent: "percent (2%)", Seconds: "a time (2.5s)", Bytes: "a size (96MiB)",
		OfWire: "times the link's own time (1.1 x wire)", OfAlone: "times what it is without us (1.25 x alone)", Every: "all"}
	var texts []string
	for _, u := range units {
		texts = append(texts, of[u])
	}
	return strings.Join(texts, " or ")
}

// number64 reads digits with at most one point.
func number64(text string) (float64, error) {
	if text == "" || len(text) > 20 || strings.Trim(text, "0123456789.") != "" {
		return 0, fmt.Errorf("%q is not a number", text)
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number", text)
	}
	return v, nil
}

const (
	maxSize = int64(64 << 30)
	maxTime = 24 * time.Hour
)

func parseSize(text string) (int64, error) {
	for _, u := range sizes {
		number, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n < 1 || n > maxSize/u.bytes || strings.HasPrefix(number, "+") {
			break
		}
		return n * u.bytes, nil
	}
	return 0, fmt.Errorf("%q is no size; want one as in 16MiB (B, KiB, MiB, GiB), up to %s", text, sizeText(maxSize))
}

func parseTime(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > maxTime {
		return 0, fmt.Errorf("%q is no time; want one as in 2s, 500ms or 1m30s, up to %v", text, maxTime)
	}
	return d, nil
}
