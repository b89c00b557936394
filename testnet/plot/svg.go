package plot

import (
	"encoding/xml"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Sizes in pixels.
const (
	left, right = 58, 18 // beside the lines
	titleHeight = 28
	markHeight  = 14 // of a row of marks' labels
	markRows    = 8
	lineHeight  = 15 // of a row of the legend
	gap         = 12 // between panels
	axisHeight  = 34 // below the last one

	minWidth, maxWidth   = 200, 10_000
	minHeight, maxHeight = 20, 2_000
)

// A picture is a figure that is being drawn: top is where the next part begins.
type picture struct {
	strings.Builder
	width, plane int // of all of it, and of the part with lines
	top          int
	times        scale
}

// SVG returns the figure as an SVG document.
func (f Figure) SVG() string {
	var p picture
	p.width = size(f.Width, 900, minWidth, maxWidth)
	p.plane = p.width - left - right
	from, to := f.times()
	p.times = newTimes(from, to, max(2, p.plane/90))

	marks := slices.Clone(f.Marks)
	slices.SortStableFunc(marks, func(a, b Mark) int { return int(min(1, max(-1, a.T-b.T))) })
	p.text("t", 14, 19, f.Title)
	p.top = titleHeight
	rows := p.marks(marks)
	for i := range f.Panels {
		p.panel(&f.Panels[i], marks, i == len(f.Panels)-1)
	}
	if len(f.Panels) > 0 {
		p.top += axisHeight - gap
	}
	p.labels(marks, rows)

	var doc strings.Builder
	fmt.Fprintf(&doc, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img">`+"\n", p.width, p.top)
	fmt.Fprintf(&doc, "<title>%s</title>\n<style>%s</style>\n", escape(f.Title), style)
	fmt.Fprintf(&doc, `<rect class="bg" width="%d" height="%d"/>`+"\n", p.width, p.top)
	return doc.String() + p.String() + "</svg>\n"
}

func size(asked, usual, least, most int) int {
	if asked == 0 {
		return usual
	}
	return min(most, max(least, asked))
}

// escape returns text as it may stand in XML, which has no control characters and
// no broken UTF-8.
func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder takes everything
	return b.String()
}

func (p *picture) text(class string, x, y int, text string) {
	if text != "" {
		fmt.Fprintf(p, `<text class="%s" x="%d" y="%d">%s</text>`+"\n", class, x, y, escape(text))
	}
}

func (p *picture) across(class string, y float64) {
	fmt.Fprintf(p, `<path class="%s" d="M%d %.1fh%d"/>`+"\n", class, left, y, p.plane)
}

// x returns where a time stands.
func (p *picture) x(t float64) float64 { return left + p.times.at(t)*float64(p.plane) }

// wide guesses how wide a text is: a letter is 0.6 of its height, on average.
func wide(text string) int { return utf8.RuneCountInString(text)*13/2 + 2 }

// panel draws one panel at p.top, and the time axis below the last.
func (p *picture) panel(of *Panel, marks []Mark, last bool) {
	least, most := of.values()
	height := size(of.Height, 120, minHeight, maxHeight)
	values := newScale(least, most, of.Unit, max(2, height/28), true)
	p.heading(of, values.unit)
	bottom := p.top + height
	y := func(v float64) float64 { return float64(bottom) - values.at(v)*float64(height) }

	for _, t := range values.ticks {
		class := "g"
		if t == 0 {
			class = "a"
		}
		p.across(class, y(t))
		p.text("dim e", left-6, int(math.Round(y(t)))+4, values.text(t))
	}
	for _, t := range p.times.ticks {
		fmt.Fprintf(p, `<path class="g" d="M%.1f %dv%d"/>`+"\n", p.x(t), p.top, height)
		if last {
			p.text("dim m", int(math.Round(p.x(t))), bottom+15, p.times.text(t))
		}
	}
	if last {
		p.text("dim m", left+p.plane/2, bottom+30, p.times.unit)
	}
	for _, m := range marks {
		fmt.Fprintf(p, `<path class="v" d="M%.1f %dv%d"/>`+"\n", p.x(m.T.Seconds()), p.top, height)
	}
	for i := range of.Series {
		s := &of.Series[i]
		if d := path(s.dots(&p.times, &values, p.plane*tenth, height*tenth), s.Steps, left*tenth, p.top*tenth); d != "" {
			fmt.Fprintf(p, `<path class="l %s" d="%s"/>`+"\n", lineClass(i), d)
		}
	}
	for _, l := range of.Levels {
		if (Point{V: l.V}).known() {
			p.across("k", y(l.V))
			above := int(y(l.V)) - 4
			if above < p.top+9 {
				above += 15 // below
			}
			p.text("e o", left+p.plane-3, above, l.Label)
		}
	}
	p.top = bottom + gap
}

// heading writes a panel's title, unit and legend, and ends where its lines begin.
func (p *picture) heading(of *Panel, unit string) {
	title := of.Title
	if unit != "" {
		title = strings.TrimSpace(title + ", " + unit)
	}
	p.text("p", 14, p.top+11, title)
	x := 14 + wide(title) + 24 // as bold letters are wider
	for i, s := range of.Series {
		if s.Name == "" {
			continue
		}
		const sample = 18
		if all := sample + 5 + wide(s.Name) + 10; x > left && x+all > p.width-right {
			x = left
			p.top += lineHeight
		}
		fmt.Fprintf(p, `<path class="l %s" d="M%d %dh%d"/>`+"\n", lineClass(i), x, p.top+7, sample)
		p.text("", x+sample+5, p.top+11, s.Name)
		x += sample + 5 + wide(s.Name) + 10
	}
	p.top += lineHeight + 5
}

// path returns the line through dots, in pixels from the corner at x, y. It goes
// from dot to dot by differences of rounded numbers, so that nothing adds up.
func path(dots []dot, steps bool, x, y int) string {
	var b strings.Builder
	for i, d := range dots {
		switch {
		case !d.known && steps && i > 0 && dots[i-1].known: // until then it was known
			fmt.Fprintf(&b, "h%s", tenths(d.x-dots[i-1].x))
		case !d.known:
		case i == 0 || !dots[i-1].known:
			fmt.Fprintf(&b, "M%s %s", tenths(x+d.x), tenths(y+d.y))
			if i+1 == len(dots) || !dots[i+1].known && !steps {
				b.WriteString("h0.1") // alone, a point has no line that could be seen
			}
		case steps:
			if d.x != dots[i-1].x {
				fmt.Fprintf(&b, "h%s", tenths(d.x-dots[i-1].x))
			}
			if d.y != dots[i-1].y {
				fmt.Fprintf(&b, "v%s", tenths(d.y-dots[i-1].y))
			}
		default:
			dy := tenths(d.y - dots[i-1].y)
			if dy[0] != '-' {
				dy = " " + dy
			}
			fmt.Fprintf(&b, "l%s%s", tenths(d.x-dots[i-1].x), dy)
		}
	}
	return b.String()
}

// tenths writes a number of tenths.
func tenths(n int) string {
	sign := ""
	if n < 0 {
		sign, n = "-", -n
	}
	if n%tenth == 0 {
		return fmt.Sprint(sign, n/tenth)
	}
	return fmt.Sprintf("%s%d.%d", sign, n/tenth, n%tenth)
}

// marks finds a row for each mark's label, below the title: the first in which
// there is room, or -1. It leaves room for the rows.
func (p *picture) marks(marks []Mark) (rows []int) {
	var ends []int // where the last label of each row ends
	for _, m := range marks {
		begin, end := p.label(m)
		row := slices.IndexFunc(ends, func(e int) bool { return e <= begin })
		if row < 0 && len(ends) < markRows {
			row = len(ends)
			ends = append(ends, 0)
		}
		if row >= 0 {
			ends[row] = end
		}
		rows = append(rows, row)
	}
	p.top += len(ends) * markHeight
	if len(ends) > 0 {
		p.top += 4
	}
	return rows
}

// label returns from where to where the label of a mark stands: behind the mark, or
// before it where the picture ends.
func (p *picture) label(m Mark) (begin, end int) {
	begin = int(p.x(m.T.Seconds()))
	end = begin + wide(m.Label) + 6
	if end > p.width {
		begin, end = max(0, 2*begin-end), begin
	}
	return begin, end
}

// labels draws the marks' labels, and what shows them to who points at a mark.
func (p *picture) labels(marks []Mark, rows []int) {
	for i, m := range marks {
		x := p.x(m.T.Seconds())
		if rows[i] >= 0 {
			top := titleHeight + rows[i]*markHeight
			fmt.Fprintf(p, `<path class="v" d="M%.1f %dV%d"/>`+"\n", x, top, min(p.top, p.firstPanel(rows)))
			begin, end := p.label(m)
			if float64(end) <= x+1 {
				p.text("dim e", int(x)-3, top+10, m.Label)
			} else {
				p.text("dim", begin+3, top+10, m.Label)
			}
		}
		fmt.Fprintf(p, `<path class="v h" d="M%.1f %dV%d"><title>%s</title></path>`+"\n", x, titleHeight, p.top, escape(m.Label+" after "+m.T.Round(time.Millisecond).String()))
	}
}

func (p *picture) firstPanel(rows []int) int {
	return titleHeight + (slices.Max(rows)+1)*markHeight + 4
}
