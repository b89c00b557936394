package play

import (
	"fmt"
	"slices"
	"time"

	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/plot"
)

// window is over how much time a rate is taken.
const window = time.Second

// Draw returns the picture of a record: what crossed each site's link, and how much of
// what it was to get each node had.
func Draw(s *Scenario, r *Record) plot.Figure {
	f := plot.Figure{Title: s.Name}
	for _, l := range r.Links {
		if l.Site != box.HQ {
			f.Panels = append(f.Panels, linkPanel(s, l))
		}
	}
	for _, l := range r.Links {
		if l.Site == box.HQ {
			f.Panels = append(f.Panels, plot.Panel{Title: "out of " + l.Site, Unit: plot.BitRate, Height: 80,
				Series: []plot.Series{{Name: "p2pnode", Points: rates(l, func(p LinkPoint) int64 { return p.Up })}}})
		}
	}
	f.Panels = append(f.Panels, nodesPanel(s, r))
	for _, h := range r.Happened {
		f.Marks = append(f.Marks, plot.Mark{T: h.At, Label: h.What})
	}
	return f
}

func linkPanel(s *Scenario, l LinkSeries) plot.Panel {
	p := plot.Panel{Title: "into " + l.Site, Unit: plot.BitRate}
	users := rates(l, func(p LinkPoint) int64 { return p.ForegroundDown })
	ours := rates(l, func(p LinkPoint) int64 { return p.Down })
	p.Series = append(p.Series, plot.Series{Name: "p2pnode", Points: ours})
	if slices.ContainsFunc(users, func(x plot.Point) bool { return x.V > 0 }) {
		p.Series = append(p.Series, plot.Series{Name: "users", Points: users})
		total := rates(l, func(p LinkPoint) int64 { return p.Down + p.ForegroundDown + p.OtherDown })
		p.Series = append(p.Series, plot.Series{Name: "all", Points: total})
	}
	if s.Down.Rate > 0 {
		p.Levels = append(p.Levels, plot.Level{V: float64(s.Down.Rate), Label: "the link"})
	}
	return p
}

// rates returns bits per second over the window before each sample.
func rates(l LinkSeries, bytes func(LinkPoint) int64) []plot.Point {
	var out []plot.Point
	from := 0
	for i, p := range l.Points {
		for p.At-l.Points[from].At > window && from < i-1 {
			from++
		}
		if d := p.At - l.Points[from].At; d > 0 {
			out = append(out, plot.Point{T: p.At, V: 8 * float64(bytes(p)-bytes(l.Points[from])) / d.Seconds()})
		}
	}
	return out
}

// nodesPanel draws the share that each node has of all that it was to get.
func nodesPanel(s *Scenario, r *Record) plot.Panel {
	p := plot.Panel{Title: "complete", Unit: plot.Percent, Height: 160}
	for _, n := range r.Nodes {
		var want int64
		mine := map[string]bool{}
		for _, g := range r.Gets {
			if g.Node == n.Node && !mine[g.Content] {
				mine[g.Content] = true
				want += s.content(g.Content).Size
			}
		}
		if want == 0 {
			continue
		}
		points, have := []plot.Point{{}}, map[string]int64{}
		for _, h := range n.Have {
			if !mine[h.Content] {
				continue
			}
			have[h.Content] = h.Bytes
			var sum int64
			for _, b := range have {
				sum += b
			}
			points = append(points, plot.Point{T: h.At, V: 100 * float64(sum) / float64(want)})
		}
		p.Series = append(p.Series, plot.Series{Name: n.Node, Points: points})
	}
	if len(p.Series) == 0 {
		p.Title = fmt.Sprintf("complete: nobody asked in %s", s.Name)
	}
	return p
}
