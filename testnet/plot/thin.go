package plot

import (
	"cmp"
	"slices"
)

// A dot is a point on the picture, in tenths of a pixel. One that isn't known ends
// the line, and the next begins another.
type dot struct {
	x, y  int
	known bool
}

const tenth = 10 // dots of a pixel

// dots returns the points of a series on a plane of w by h tenths, in the order of
// time and thinned.
func (s *Series) dots(times, values *scale, w, h int) []dot {
	points := slices.Clone(s.Points)
	slices.SortStableFunc(points, func(a, b Point) int { return cmp.Compare(a.T, b.T) })
	all := make([]dot, len(points))
	for i, p := range points {
		all[i] = dot{x: int(times.at(p.T.Seconds())*float64(w) + 0.5), known: p.known()}
		if p.known() {
			all[i].y = int((1-values.at(p.V))*float64(h) + 0.5)
		}
	}
	return thin(all)
}

// thin drops dots that can't be seen: of those in one column of pixels it keeps the
// first, the last, the lowest, the highest and the first of each gap. Drawn, these
// cover the same pixels as all of them (Jugel et al., M4: A Visualization-Oriented
// Time Series Data Aggregation, VLDB 2014, section 4.2). Then it drops what lies
// within a level stretch.
func thin(all []dot) []dot {
	var few []dot
	for i := 0; i < len(all); {
		end := i + 1
		for end < len(all) && all[end].x/tenth == all[i].x/tenth && all[end].known == all[i].known {
			end++
		}
		few = append(few, column(all[i:end])...)
		i = end
	}
	kept := few[:0]
	for i, d := range few {
		within := len(kept) > 0 && i+1 < len(few) && d.known &&
			level(kept[len(kept)-1], d) && level(d, few[i+1])
		if !within {
			kept = append(kept, d)
		}
	}
	return kept
}

func level(a, b dot) bool { return a.known && b.known && a.y == b.y }

// column thins dots that are all in one column, and all known or all not.
func column(dots []dot) []dot {
	if !dots[0].known {
		return dots[:1]
	}
	low, high := 0, 0
	for i, d := range dots {
		if d.y > dots[low].y {
			low = i
		}
		if d.y < dots[high].y {
			high = i
		}
	}
	keep := []int{0, low, high, len(dots) - 1}
	slices.Sort(keep)
	var few []dot
	for _, i := range slices.Compact(keep) {
		few = append(few, dots[i])
	}
	return few
}
