package plot

import (
	"math"
	"strconv"
)

// A scale is an axis: what a value is called, and where it stands.
type scale struct {
	from, to float64   // values at the ends
	ticks    []float64 // ascending, all between the ends
	divide   float64   // a value by this is what is written
	unit     string    // behind what is written
	step     float64   // between ticks
}

// at returns where v stands between 0 (from) and 1 (to).
func (s *scale) at(v float64) float64 {
	return min(1, max(0, (v-s.from)/(s.to-s.from)))
}

// text writes a value without its unit.
func (s *scale) text(v float64) string {
	// As many digits behind the point as the step between ticks has.
	digits := max(0, -int(math.Floor(math.Log10(s.step/s.divide)+1e-9)))
	text := strconv.FormatFloat(v/s.divide, 'f', digits, 64)
	if v == 0 {
		return "0" // neither 0.0 nor -0
	}
	return text
}

// round returns the least of 1, 2 and 5 times a power of ten that is v or more.
func round(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= v*(1-1e-9) {
			return m * power
		}
	}
	return 10 * power
}

// newScale returns an axis from least to most with some n ticks, which ends at
// ticks if wide. least is 0 or less, most 0 or more.
func newScale(least, most float64, unit Unit, n int, wide bool) scale {
	if least == 0 && most == 0 {
		most = 1
	}
	s := scale{from: least, to: most, divide: 1, unit: string(unit)}
	if unit == BitRate || unit == Bytes {
		s.prefix(unit, max(-least, most))
	}
	// A step of 0.1 is a tenth of the written value, which need not be one of v.
	s.step = round((most-least)/s.divide/float64(n)) * s.divide
	first, last := math.Ceil(least/s.step-1e-9), math.Floor(most/s.step+1e-9)
	if wide {
		first, last = math.Floor(least/s.step+1e-9), math.Ceil(most/s.step-1e-9)
		s.from, s.to = first*s.step, last*s.step
	}
	for i := first; i <= last; i++ {
		s.ticks = append(s.ticks, i*s.step)
	}
	return s
}

// prefix chooses the decimal prefix in which most is 1 to 1000.
func (s *scale) prefix(unit Unit, most float64) {
	for _, p := range []string{"k", "M", "G", "T", "P"} {
		if most < 1000*s.divide {
			return
		}
		s.divide, s.unit = 1000*s.divide, p+string(unit)
	}
}

// newTimes returns a time axis. Seconds become minutes, hours or days when they are
// many.
func newTimes(from, to float64, n int) scale {
	divide, unit := 1e-3, "ms"
	for _, u := range []struct {
		seconds float64
		unit    string
	}{{1, "s"}, {60, "min"}, {3600, "h"}, {86400, "days"}} {
		if to-from >= 2*u.seconds {
			divide, unit = u.seconds, u.unit
		}
	}
	s := newScale(from/divide, to/divide, Unit(unit), n, false)
	s.from, s.to, s.divide, s.step = from, to, divide, s.step*divide
	for i := range s.ticks {
		s.ticks[i] *= divide
	}
	return s
}
