package plot

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write what is drawn into testdata")

// sample has one of everything.
func sample() Figure {
	at := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	var rate, foreground, one, two Series
	rate.Name, foreground.Name, one.Name, two.Name = "ours", "the users' <bulk>", "branch-a-1", "branch-a-2"
	one.Steps, two.Steps = true, true
	for i := range 600 {
		t := float64(i) / 5
		v := 9e6 + 8e6*math.Sin(t/9) + 4e5*math.Sin(t*7)
		if t > 45 && t < 55 {
			v = 0
		}
		rate.Points = append(rate.Points, Point{at(t), v})
		if t > 70 && t < 75 {
			v = math.NaN()
		}
		foreground.Points = append(foreground.Points, Point{at(t), 2e7 - v})
		if i%10 == 0 {
			one.Points = append(one.Points, Point{at(t), min(100, t*1.3)})
			two.Points = append(two.Points, Point{at(t), min(100, max(0, t-30)*1.5)})
		}
	}
	return Figure{
		Title: "link-flaps: a link that comes and goes",
		Panels: []Panel{
			{Title: "WAN of branch-a", Unit: BitRate, Series: []Series{rate, foreground}, Levels: []Level{{V: 20e6, Label: "the link, 20 Mbit/s"}}},
			{Title: "Complete", Unit: Percent, Series: []Series{one, two}},
			{Title: "Delay of voice", Unit: Seconds, Series: []Series{{Points: []Point{{0, 0.02}, {at(60), 0.31}, {at(119.8), 0.02}}}}, Levels: []Level{{V: 0.15, Label: "at most 150 ms"}}, Height: 60},
		},
		Marks: []Mark{{at(10), "get"}, {at(45), "cut branch-a"}, {at(55), "mend branch-a"}, {at(56), "kill branch-a-2"}, {at(119), "end"}},
	}
}

func TestFigureIsDrawnAsBefore(t *testing.T) {
	const name = "testdata/figure.svg"
	got := sample().SVG()
	if *update {
		if err := os.WriteFile(filepath.FromSlash(name), []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(filepath.FromSlash(name))
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the picture has changed; look at it after `go test ./testnet/plot -update`:\n%s", got)
	}
	if err := within(got); err != nil {
		t.Error(err)
	}
}

// within returns an error unless text is XML whose lines and words begin, go on and
// end within the view box.
func within(text string) error {
	var w, h float64
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		attr := map[string]string{}
		for _, a := range e.Attr {
			attr[a.Name.Local] = a.Value
		}
		inside := func(x, y float64) error {
			if !(x >= 0 && x <= w && y >= 0 && y <= h) {
				return fmt.Errorf("%v: %v, %v is outside of %v, %v", e, x, y, w, h)
			}
			return nil
		}
		switch e.Name.Local {
		case "svg":
			if _, err := fmt.Sscanf(attr["viewBox"], "0 0 %f %f", &w, &h); err != nil {
				return err
			}
		case "text":
			x, err1 := strconv.ParseFloat(attr["x"], 64)
			y, err2 := strconv.ParseFloat(attr["y"], 64)
			if err := errors.Join(err1, err2, inside(x, y)); err != nil {
				return err
			}
		case "path":
			if err := follow(attr["d"], inside); err != nil {
				return err
			}
		}
	}
}

// follow goes along a path and stops where at returns an error.
func follow(d string, at func(x, y float64) error) error {
	var x, y float64
	for d != "" {
		verb := d[0]
		end := strings.IndexAny(d[1:], "MVhvl") + 1
		if end == 0 {
			end = len(d)
		}
		var a, b float64
		var err error
		switch args := d[1:end]; verb {
		case 'M', 'l':
			_, err = fmt.Sscan(strings.Replace(args, "-", " -", 2), &a, &b)
		default:
			_, err = fmt.Sscan(args, &a)
		}
		if err != nil {
			return fmt.Errorf("path %q: %w", d, err)
		}
		switch verb {
		case 'M':
			x, y = a, b
		case 'l':
			x, y = x+a, y+b
		case 'h':
			x += a
		case 'v':
			y += a
		case 'V':
			y = a
		}
		// What is added up here, and nowhere else, has rounding errors.
		if err := at(math.Round(x*100)/100, math.Round(y*100)/100); err != nil {
			return err
		}
		d = d[end:]
	}
	return nil
}

func TestFigureIsXMLAndStaysWithin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.OneOf(rapid.Float64(), rapid.Float64Range(-1e3, 1e3), rapid.Just(math.NaN()), rapid.Just(math.Inf(-1)))
		when := rapid.Map(rapid.OneOf(rapid.Int64(), rapid.Int64Range(-1e9, 1e12)), func(n int64) time.Duration { return time.Duration(n) })
		text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "a<b>&\"'", "\x00\x1b\xff\ufffe", "]]>", "1 2"}))
		series := rapid.Custom(func(t *rapid.T) Series {
			s := Series{Name: text.Draw(t, "name"), Steps: rapid.Bool().Draw(t, "steps")}
			for range rapid.IntRange(0, 20).Draw(t, "points") {
				s.Points = append(s.Points, Point{when.Draw(t, "t"), value.Draw(t, "v")})
			}
			return s
		})
		level := rapid.Custom(func(t *rapid.T) Level { return Level{value.Draw(t, "level"), text.Draw(t, "label")} })
		f := Figure{Title: text.Draw(t, "title"), Width: rapid.IntRange(-1, 1000).Draw(t, "width")}
		for range rapid.IntRange(0, 3).Draw(t, "panels") {
			f.Panels = append(f.Panels, Panel{
				Title: text.Draw(t, "panel"), Unit: Unit(rapid.OneOf(rapid.SampledFrom([]string{string(BitRate), "s", "B"}), text).Draw(t, "unit")),
				Series: rapid.SliceOfN(series, 0, 9).Draw(t, "series"), Levels: rapid.SliceOfN(level, 0, 2).Draw(t, "levels"),
				Height: rapid.IntRange(-1, 300).Draw(t, "height"),
			})
		}
		for range rapid.IntRange(0, 12).Draw(t, "marks") {
			f.Marks = append(f.Marks, Mark{when.Draw(t, "mark"), text.Draw(t, "label")})
		}
		drawn := f.SVG()
		if err := within(drawn); err != nil {
			t.Fatal(err)
		}
		if again := f.SVG(); again != drawn {
			t.Fatal("drawn twice, it isn't the same")
		}
	})
}

// A thinned line passes through the same extremes of each column of pixels, and
// begins and ends where it did.
func TestThinKeepsWhatCanBeSeen(t *testing.T) {
	type seen struct{ first, last, low, high int }
	columns := func(dots []dot) map[int]seen {
		m := map[int]seen{}
		for _, d := range dots {
			s, ok := m[d.x/tenth]
			if !ok {
				s = seen{d.y, d.y, d.y, d.y}
			}
			m[d.x/tenth] = seen{s.first, d.y, max(s.low, d.y), min(s.high, d.y)}
		}
		return m
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 300).Draw(t, "n")
		var all []dot
		x := 0
		for range n {
			x += rapid.IntRange(0, 4).Draw(t, "dx")
			all = append(all, dot{x, rapid.IntRange(0, 100).Draw(t, "y"), true})
		}
		few := thin(slices.Clone(all))
		if len(few) > 4*(x/tenth+1) {
			t.Fatalf("%d dots in %d columns", len(few), x/tenth+1)
		}
		got, want := columns(few), columns(all)
		for c, w := range want {
			if g, ok := got[c]; ok && (g.low != w.low || g.high != w.high) {
				t.Fatalf("column %d: %v, want %v", c, g, w)
			} else if !ok && w.low != w.high { // a level stretch may have no dot
				t.Fatalf("column %d: none, want %v", c, w)
			}
		}
		if few[0] != all[0] || few[len(few)-1] != all[n-1] {
			t.Fatalf("from %v to %v, want %v to %v", few[0], few[len(few)-1], all[0], all[n-1])
		}
	})
}

func TestManyPointsMakeASmallFile(t *testing.T) {
	var s Series
	for i := range 100_000 {
		s.Points = append(s.Points, Point{time.Duration(i) * time.Millisecond, float64(i * 7919 % 1000)})
	}
	f := Figure{Panels: []Panel{{Series: []Series{s}}}}
	if n := len(f.SVG()); n > 40<<10 {
		t.Errorf("%d bytes", n)
	}
}

func TestTicksAre125(t *testing.T) {
	for _, c := range []struct {
		least, most float64
		unit        Unit
		n           int
		want        string
	}{
		{0, 0, "", 4, "0.0 0.5 1.0"},
		{0, 100, Percent, 4, "0 50 100 %"},
		{0, 87, Percent, 5, "0 20 40 60 80 100 %"},
		{0, 19.4e6, BitRate, 4, "0 5 10 15 20 Mbit/s"},
		{0, 850, BitRate, 5, "0 200 400 600 800 1000 bit/s"},
		{0, 1.2e9, Bytes, 3, "0.0 0.5 1.0 1.5 GB"},
		{0, 0.31, Seconds, 4, "0.0 0.1 0.2 0.3 0.4 s"},
		{-3, 3, "", 3, "-4 -2 0 2 4"},
		{0, 0.00021, Seconds, 2, "0.0000 0.0002 0.0004 s"},
		{0, 12, "KiB", 3, "0 5 10 15 KiB"},
	} {
		s := newScale(c.least, c.most, c.unit, c.n, true)
		if got := written(&s); got != strings.ReplaceAll(strings.ReplaceAll(c.want, "0.0000 ", "0 "), "0.0 ", "0 ") {
			t.Errorf("%v to %v %s: %s, want %s", c.least, c.most, c.unit, got, c.want)
		}
	}
	for _, c := range []struct {
		from, to float64
		want     string
	}{
		{0, 0.5, "0 100 200 300 400 500 ms"},
		{0, 1.9, "0 500 1000 1500 ms"},
		{0, 97, "0 20 40 60 80 s"},
		{0, 130, "0.0 0.5 1.0 1.5 2.0 min"},
		{-60, 900, "0 5 10 15 min"},
		{0, 8 * 3600, "0 2 4 6 8 h"},
		{0, 7 * 86400, "0 2 4 6 days"},
	} {
		s := newTimes(c.from, c.to, 5)
		if got := written(&s); got != strings.ReplaceAll(c.want, "0.0 ", "0 ") {
			t.Errorf("%v to %v s: %s, want %s", c.from, c.to, got, c.want)
		}
	}
}

func written(s *scale) string {
	var words []string
	for _, t := range s.ticks {
		words = append(words, s.text(t))
	}
	return strings.TrimSpace(strings.Join(words, " ") + " " + s.unit)
}

func TestLabelsOfMarksDoNotMeet(t *testing.T) {
	var f Figure
	for i := range 100 {
		f.Marks = append(f.Marks, Mark{time.Duration(i) * time.Second, "kill branch-a-3"})
	}
	p := picture{width: 900, plane: 900 - left - right, times: newTimes(0, 100, 8)}
	rows := p.marks(f.Marks)
	shown := 0
	for i, m := range f.Marks {
		if rows[i] < 0 {
			continue
		}
		shown++
		for j, n := range f.Marks[:i] {
			b1, e1 := p.label(m)
			b2, e2 := p.label(n)
			if rows[j] == rows[i] && b1 < e2 && b2 < e1 {
				t.Errorf("%d and %d meet in row %d", j, i, rows[i])
			}
		}
	}
	if shown < 40 || shown == 100 || slices.Max(rows) != markRows-1 {
		t.Errorf("%d of 100 labels are shown, in %d rows", shown, slices.Max(rows)+1)
	}
}
