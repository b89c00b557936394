package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/p2pnode/p2pnode/bandwidth"
)

// A unit is what a number can be followed by. Case matters where it tells bits
// from bytes: people mean 8 different things by 10M, and a link planned for the
// one doesn't bear the other.
type unit struct {
	name  string
	value float64
}

var byteUnits = []unit{
	{"B", 1},
	{"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
}

var bitUnits = []unit{{"bit", 1}, {"kbit", 1e3}, {"Mbit", 1e6}, {"Gbit", 1e9}}

// parseSize reads a number of bytes: 64MiB, 1.5 GB, 100B.
func parseSize(text string) (int64, error) {
	v, rest, err := number(text)
	if err != nil {
		return 0, fmt.Errorf("size %q: %w", text, err)
	}
	u, ok := find(byteUnits, rest)
	if !ok {
		return 0, fmt.Errorf("size %q: want a unit of bytes: B, kB, MB, GB, KiB, MiB or GiB", text)
	}
	if v*u >= math.MaxInt64 {
		return 0, fmt.Errorf("size %q is too large", text)
	}
	return int64(math.Round(v * u)), nil
}

// parseRate reads a rate, in bits (10Mbit, 10 Mbit/s) or bytes (2MiB/s).
func parseRate(text string) (bandwidth.Rate, error) {
	v, rest, err := number(text)
	if err != nil {
		return 0, fmt.Errorf("rate %q: %w", text, err)
	}
	u, ok := find(bitUnits, strings.TrimSuffix(rest, "/s"))
	if !ok {
		if name, perSecond := strings.CutSuffix(rest, "/s"); perSecond {
			u, ok = find(byteUnits, name)
			u *= 8
		}
	}
	if !ok {
		return 0, fmt.Errorf("rate %q: bits or bytes? Want 10Mbit for bits a second, 10MB/s or 10MiB/s for bytes", text)
	}
	if v*u >= math.MaxInt64 {
		return 0, fmt.Errorf("rate %q is too large", text)
	}
	return bandwidth.Rate(math.Round(v * u)), nil
}

// number splits a not negative number from what follows it.
func number(text string) (v float64, rest string, err error) {
	text = strings.TrimSpace(text)
	end := strings.IndexFunc(text, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if end < 0 {
		end = len(text)
	}
	v, err = strconv.ParseFloat(text[:end], 64)
	if err != nil {
		return 0, "", fmt.Errorf("want a number and a unit")
	}
	return v, strings.TrimSpace(text[end:]), nil
}

func find(units []unit, name string) (float64, bool) {
	for _, u := range units {
		if u.name == name {
			return u.value, true
		}
	}
	return 0, false
}

// parseQuota reads a number of bytes or a share of a disk (10%); none is -1 bytes.
func parseQuota(text string) (bytes int64, share float64, err error) {
	if text == "none" {
		return -1, 0, nil
	}
	v, rest, err := number(text)
	if err == nil && rest == "%" {
		if v <= 0 || v > 100 {
			return 0, 0, fmt.Errorf("share %q: want more than 0%% and at most 100%%", text)
		}
		return 0, v / 100, nil
	}
	bytes, err = parseSize(text)
	if err == nil && bytes == 0 {
		err = fmt.Errorf("size %q: want more, or none", text)
	}
	if err != nil {
		err = fmt.Errorf("%w (or a share as 10%%, or none)", err)
	}
	return bytes, 0, err
}

// parseLimit reads a number of bytes; none is -1.
func parseLimit(text string) (int64, error) {
	if text == "none" {
		return -1, nil
	}
	n, err := parseSize(text)
	if err == nil && n == 0 {
		err = fmt.Errorf("size %q: want more, or none", text)
	}
	return n, err
}

// Flags of these units. Their Type is what help shows for the value.
type (
	sizeFlag struct{ to *int64 }
	rateFlag struct{ to *bandwidth.Rate }
	timeFlag struct{ to *time.Duration }

	// limitFlag and quotaFlag take none as well.
	limitFlag struct{ to *int64 }
	quotaFlag struct {
		to    *int64
		share *float64
	}
)

func (f limitFlag) String() string {
	if f.to != nil && *f.to < 0 {
		return "none"
	}
	return sizeFlag(f).String()
}

func (f limitFlag) Set(s string) (err error) { *f.to, err = parseLimit(s); return err }
func (f limitFlag) Type() string             { return "SIZE" }

func (f quotaFlag) String() string {
	if f.share != nil && *f.share > 0 {
		return strconv.FormatFloat(*f.share*100, 'f', -1, 64) + "%"
	}
	return limitFlag{f.to}.String()
}

func (f quotaFlag) Set(s string) (err error) { *f.to, *f.share, err = parseQuota(s); return err }
func (f quotaFlag) Type() string             { return "SIZE|SHARE" }

func (f sizeFlag) String() string {
	if f.to == nil || *f.to == 0 {
		return ""
	}
	for i := len(byteUnits) - 1; ; i-- { // ends at B, which divides all
		if u := int64(byteUnits[i].value); *f.to%u == 0 && *f.to >= u {
			return strconv.FormatInt(*f.to/u, 10) + byteUnits[i].name
		}
	}
}

func (f sizeFlag) Set(s string) (err error) { *f.to, err = parseSize(s); return err }
func (f sizeFlag) Type() string             { return "SIZE" }

func (f rateFlag) String() string {
	if f.to == nil || *f.to == 0 {
		return ""
	}
	for i := len(bitUnits) - 1; ; i-- {
		if u := bandwidth.Rate(bitUnits[i].value); *f.to%u == 0 && *f.to >= u {
			return strconv.FormatInt(int64(*f.to/u), 10) + bitUnits[i].name
		}
	}
}

func (f rateFlag) Set(s string) (err error) { *f.to, err = parseRate(s); return err }
func (f rateFlag) Type() string             { return "RATE" }

func (f timeFlag) String() string {
	if f.to == nil || *f.to == 0 {
		return ""
	}
	s := f.to.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Set takes what time.ParseDuration takes, and days.
func (f timeFlag) Set(s string) error {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil || n < 0 || n > 36500 {
			return fmt.Errorf("time %q: want 90s, 30m, 24h or 7d", s)
		}
		*f.to = time.Duration(n * 24 * float64(time.Hour))
		return nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return fmt.Errorf("time %q: want 90s, 30m, 24h or 7d", s)
	}
	*f.to = d
	return nil
}

func (f timeFlag) Type() string { return "TIME" }

// binaryUnits is how sizes are shown.
var binaryUnits = []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}

// size writes bytes with a unit: 412.0 MiB.
func size(n int64) string {
	v, i := float64(n), 0
	for math.Abs(v) >= 1024 && i < len(binaryUnits)-1 {
		v, i = v/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, binaryUnits[i])
}

// share writes a part of a whole in one unit: 412/1431 MiB.
func share(done, total int64) string {
	d, t, i := float64(done), float64(total), 0
	for t >= 10_000 && i < len(binaryUnits)-1 {
		d, t, i = d/1024, t/1024, i+1
	}
	return fmt.Sprintf("%.0f/%.0f %s", math.Floor(d), t, binaryUnits[i])
}

// percent is rounded down: 100 % is said of what is whole.
func percent(done, total int64) string {
	if total <= 0 || done >= total {
		return "100 %"
	}
	return fmt.Sprintf("%d %%", int64(float64(done)/float64(total)*100))
}

// speed writes a rate in bytes, as files are counted: 9.6 MB/s.
func speed(r bandwidth.Rate) string {
	v, i := r.BytesPerSecond(), 0
	names := []string{"B/s", "kB/s", "MB/s", "GB/s", "TB/s"}
	for v >= 1000 && i < len(names)-1 {
		v, i = v/1000, i+1
	}
	return fmt.Sprintf("%.*f %s", min(i, 1), v, names[i])
}

// bits writes a rate as networks count: 20 Mbit/s.
func bits(r bandwidth.Rate) string {
	i := len(bitUnits) - 1
	for i > 0 && float64(r) < bitUnits[i].value {
		i--
	}
	return strconv.FormatFloat(math.Round(float64(r)/bitUnits[i].value*10)/10, 'f', -1, 64) + " " + bitUnits[i].name + "/s"
}

// clock writes a time as minutes and seconds: 0:14, 1:02:03.
func clock(d time.Duration) string {
	s := int64(d.Round(time.Second) / time.Second)
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

// span writes a time for people: 0.04 s, 12 s, 2 min, 3 h, 5 d.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f h", d.Hours())
	}
	return fmt.Sprintf("%.0f d", d.Hours()/24)
}

// latency writes the time of a round trip.
func latency(d time.Duration) string {
	switch {
	case d <= 0:
		return "-"
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}
