package plot

import (
	"math"
	"time"
)

// A Figure is panels over one time axis.
type Figure struct {
	Title  string
	Panels []Panel
	Marks  []Mark

	Width int // of the picture, in pixels. 0: 900
}

// A Panel is lines that share a unit.
type Panel struct {
	Title  string
	Unit   Unit
	Series []Series
	Levels []Level

	Height int // of the part with the lines, in pixels. 0: 120
}

// A Unit is what values are in, in a word or two. BitRate and Bytes are written
// with the prefix that fits (15 Mbit/s), anything else as it is.
type Unit string

// Units.
const (
	BitRate Unit = "bit/s"
	Bytes   Unit = "B"
	Seconds Unit = "s"
	Percent Unit = "%" // of 100, not of 1
)

// A Series is a line from point to point. Points may be in any order; those of one
// time stay in theirs.
type Series struct {
	Name   string // in the legend; empty: not there
	Points []Point

	// Steps keeps each value until the next point, as counts do. Otherwise the line
	// goes straight to it.
	Steps bool
}

// A Point is a value at a time, counted from the begin of the figure. NaN says that
// nothing is known: the line has a gap until the next point. So do infinities and
// what is further than 1e18 from 0.
type Point struct {
	T time.Duration
	V float64
}

func (p Point) known() bool { return math.Abs(p.V) <= 1e18 } // false for NaN

// A Level is a value that lines shall stay above or below.
type Level struct {
	V     float64
	Label string
}

// A Mark is something that was done at a time. Where there is no room for all
// labels, some are shown only to who points at their mark.
type Mark struct {
	T     time.Duration
	Label string
}

// times returns the first and the last time of the figure, in seconds. They differ,
// and 0 lies between them.
func (f *Figure) times() (from, to float64) {
	see := func(t time.Duration) { from, to = min(from, t.Seconds()), max(to, t.Seconds()) }
	for _, m := range f.Marks {
		see(m.T)
	}
	for _, p := range f.Panels {
		for _, s := range p.Series {
			for _, x := range s.Points {
				see(x.T)
			}
		}
	}
	if to == from {
		to = from + 1
	}
	return from, to
}

// values returns the least and the most value of the panel, or 0 if that is less
// or more.
func (p *Panel) values() (least, most float64) {
	for _, s := range p.Series {
		for _, x := range s.Points {
			if x.known() {
				least, most = min(least, x.V), max(most, x.V)
			}
		}
	}
	for _, l := range p.Levels {
		if (Point{V: l.V}).known() {
			least, most = min(least, l.V), max(most, l.V)
		}
	}
	return least, most
}
