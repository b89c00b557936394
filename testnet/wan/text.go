package wan

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/p2pnode/p2pnode/bandwidth"
)

const (
	unlimited = "unlimited"
	none      = "none"
)

// rateUnits are those of tc, largest first.
var rateUnits = []struct {
	name  string
	value bandwidth.Rate
}{
	{"gbit", bandwidth.GbitPerSecond},
	{"mbit", bandwidth.MbitPerSecond},
	{"kbit", bandwidth.KbitPerSecond},
	{"bit", bandwidth.BitPerSecond},
}

func parseRate(text string) (bandwidth.Rate, error) {
	if text == unlimited {
		return 0, nil
	}
	for _, u := range rateUnits {
		number, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		v, err := parseNumber(number)
		if err != nil {
			return 0, err
		}
		rate := bandwidth.Rate(math.Round(min(v*float64(u.value), 2*float64(maxRate))))
		if rate < 1 || rate > maxRate {
			return 0, fmt.Errorf("want 1bit to %s, or %s", rateText(maxRate), unlimited)
		}
		return rate, nil
	}
	return 0, fmt.Errorf("want a unit, as in 20mbit: bit, kbit, mbit or gbit; or %s", unlimited)
}

func rateText(r bandwidth.Rate) string {
	if r == 0 {
		return unlimited
	}
	for _, u := range rateUnits {
		if r%u.value == 0 {
			return strconv.FormatInt(int64(r/u.value), 10) + u.name
		}
	}
	return fmt.Sprintf("%dbit", int64(r))
}

// parseNumber reads digits with at most one point, and nothing else that
// strconv takes for a number.
func parseNumber(text string) (float64, error) {
	if text == "" || strings.Trim(text, "0123456789.") != "" {
		return 0, fmt.Errorf("%q is not a number", text)
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number", text)
	}
	return v, nil
}

func parseInt(text string, most int) (int, error) {
	v, err := strconv.Atoi(text)
	if err != nil || v < 0 || v > most {
		return 0, fmt.Errorf("want a whole number from 0 to %d", most)
	}
	return v, nil
}

func parseBool(text string) (bool, error) {
	switch text {
	case "yes":
		return true, nil
	case "no":
		return false, nil
	}
	return false, errors.New("want yes or no")
}

func parseTime(text string, most time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > most {
		return 0, fmt.Errorf("want a time with a unit, as in 20ms, up to %v", most)
	}
	return d, nil
}

// parseDepth reads a time (500ms) or bytes (64kB, 65536B).
func parseDepth(text string) (Depth, error) {
	if number, ok := strings.CutSuffix(text, "B"); ok {
		unit := 1
		if n, ok := strings.CutSuffix(number, "k"); ok {
			number, unit = n, 1000
		}
		v, err := parseInt(number, maxBuffer/unit)
		return Depth{Bytes: v * unit}, err
	}
	t, err := parseTime(text, maxTime)
	if err != nil {
		return Depth{}, fmt.Errorf("want a time at the link's rate, as in 500ms, up to %v, or bytes, as in 64kB", maxTime)
	}
	return Depth{Time: t}, nil
}

func (d Depth) String() string {
	if d.Bytes > 0 {
		return strconv.Itoa(d.Bytes) + "B"
	}
	return d.Time.String()
}

// parseShare reads percent, to 0.0001.
func parseShare(text string) (Share, error) {
	number, ok := strings.CutSuffix(text, "%")
	if !ok {
		return 0, errors.New("want percent, as in 1%")
	}
	v, err := parseNumber(number)
	if err != nil {
		return 0, err
	}
	if v > 100 {
		return 0, errors.New("want at most 100%")
	}
	return Share(math.Round(v * 1e4)), nil
}

func (s Share) String() string {
	return strconv.FormatFloat(float64(s)/1e4, 'f', -1, 64) + "%"
}

// parseOutages reads START+LENGTH or START+LENGTH/PERIOD, several with commas
// between them.
func parseOutages(text string) ([]Outage, error) {
	if text == none {
		return nil, nil
	}
	var all []Outage
	for one := range strings.SplitSeq(text, ",") {
		if len(all) == maxOutages {
			return nil, fmt.Errorf("want at most %d outages", maxOutages)
		}
		start, rest, ok := strings.Cut(one, "+")
		length, period, again := strings.Cut(rest, "/")
		if !again {
			period = "0s"
		}
		var o Outage
		var errs [3]error
		o.At, errs[0] = parseTime(start, maxSchedule)
		o.For, errs[1] = parseTime(length, maxSchedule)
		o.Every, errs[2] = parseTime(period, maxSchedule)
		if !ok || errors.Join(errs[:]...) != nil {
			return nil, fmt.Errorf("want start+length, as in 10s+2s, start+length/period, as in 10s+2s/1m, or %s", none)
		}
		all = append(all, o)
	}
	return all, nil
}

func (o Outage) String() string {
	text := o.At.String() + "+" + o.For.String()
	if o.Every > 0 {
		text += "/" + o.Every.String()
	}
	return text
}
