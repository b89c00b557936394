package wan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/p2pnode/p2pnode/bandwidth"
)

// Settings say what one direction of a link does. The zero value hands on
// everything at once. Their text form is a list of key=value:
//
//	rate=20mbit overhead=38 buffer=500ms delay=20ms jitter=5ms reorder=yes
//	loss=1% burst=8 bad=50% good=0.1% outage=10s+2s/1m0s
type Settings struct {
	// Rate is what leaves the queue, counted on the wire. 0: rate=unlimited.
	Rate bandwidth.Rate

	// Overhead is added to the size of each packet, for the rate and in all
	// counts. Sizes are those of IP packets, so 14 counts as Linux does on
	// Ethernet, 18 adds the checksum, 38 also preamble and gap.
	Overhead int // bytes

	// Buffer is how much may wait for Rate, the packet that is being sent
	// included. 0: 50 ms. A packet that finds nothing ahead always enters.
	Buffer Depth

	Delay  time.Duration // what every packet takes beside its time in the queue
	Jitter time.Duration // and up to so much more, evenly distributed

	// Reorder lets a packet with little jitter pass one with much. Otherwise a
	// packet arrives no earlier than the one before it, so that in dense traffic
	// the largest of its neighbours' jitters is everyone's.
	Reorder bool

	Loss    Loss
	Outages []Outage
}

// A Depth bounds a queue by time at the link's rate, or by bytes if Bytes is set.
type Depth struct {
	Time  time.Duration
	Bytes int
}

// An Outage is a time in which what leaves the queue is lost. It begins At after
// the settings took effect, and once more every Every, unless that is 0.
type Outage struct {
	At, For, Every time.Duration
}

// Limits of what can be set. They keep the arithmetic in range and the packets
// under way in memory.
const (
	maxRate     = 10 * bandwidth.GbitPerSecond
	maxTime     = time.Minute         // of delay, jitter and buffer
	maxSchedule = 31 * 24 * time.Hour // of an outage's times
	maxBuffer   = 1 << 30             // bytes
	maxOverhead = 1 << 10             // bytes
	maxOutages  = 100

	defaultBuffer = 50 * time.Millisecond
)

// Parse reads the text form of Settings.
func Parse(text string) (Settings, error) { return Settings{}.With(text) }

// With returns s with what text names changed.
func (s Settings) With(text string) (Settings, error) {
	seen := map[string]bool{}
	for _, field := range strings.Fields(text) {
		key, value, ok := strings.Cut(field, "=")
		if !ok {
			return Settings{}, fmt.Errorf("setting %q: want key=value, as in %q", field, "rate=20mbit delay=20ms loss=1%")
		}
		if seen[key] {
			return Settings{}, fmt.Errorf("setting %q: %s is set twice", field, key)
		}
		seen[key] = true
		if err := s.set(key, value); err != nil {
			return Settings{}, fmt.Errorf("setting %q: %w", field, err)
		}
	}
	return s, s.check()
}

func (s *Settings) set(key, value string) (err error) {
	switch key {
	case "rate":
		s.Rate, err = parseRate(value)
	case "overhead":
		s.Overhead, err = parseInt(value, maxOverhead)
	case "buffer":
		s.Buffer, err = parseDepth(value)
	case "delay":
		s.Delay, err = parseTime(value, maxTime)
	case "jitter":
		s.Jitter, err = parseTime(value, maxTime)
	case "reorder":
		s.Reorder, err = parseBool(value)
	case "loss":
		s.Loss.Mean, err = parseShare(value)
	case "burst":
		s.Loss.Burst, err = parseInt(value, maxBurst)
	case "bad":
		s.Loss.Bad, err = parseShare(value)
	case "good":
		s.Loss.Good, err = parseShare(value)
	case "outage":
		s.Outages, err = parseOutages(value)
	default:
		return fmt.Errorf("no such key; want one of rate, overhead, buffer, delay, jitter, reorder, loss, burst, bad, good, outage")
	}
	return err
}

// check looks at what Parse can't have let through but a caller may have set, and
// at what only several settings together can be wrong in.
func (s Settings) check() error {
	for _, v := range []struct {
		name       string
		value, max int64
	}{
		{"rate", int64(s.Rate), int64(maxRate)},
		{"overhead", int64(s.Overhead), maxOverhead},
		{"buffer in time", int64(s.Buffer.Time), int64(maxTime)},
		{"buffer in bytes", int64(s.Buffer.Bytes), maxBuffer},
		{"delay", int64(s.Delay), int64(maxTime)},
		{"jitter", int64(s.Jitter), int64(maxTime)},
		{"number of outages", int64(len(s.Outages)), maxOutages},
	} {
		if v.value < 0 || v.value > v.max {
			return fmt.Errorf("%s is %d, want 0 to %d", v.name, v.value, v.max)
		}
	}
	if s.Buffer.Time > 0 && s.Buffer.Bytes > 0 {
		return fmt.Errorf("buffer is set in time and in bytes; want one of them")
	}
	for _, o := range s.Outages {
		if o.At < 0 || o.For <= 0 || o.Every < 0 || max(o.At, o.For, o.Every) > maxSchedule {
			return fmt.Errorf("outage %v: want a start, a length over 0 and a period, all up to %v", o, maxSchedule)
		}
		if o.Every > 0 && o.Every <= o.For {
			return fmt.Errorf("outage %v: it comes again before it is over; want a period longer than it lasts", o)
		}
	}
	return s.Loss.check()
}

// String returns the text form, which Parse reads back to the same settings.
func (s Settings) String() string {
	var b strings.Builder
	b.WriteString("rate=" + rateText(s.Rate))
	add := func(set bool, key string, value any) {
		if set {
			fmt.Fprintf(&b, " %s=%v", key, value)
		}
	}
	add(s.Overhead != 0, "overhead", s.Overhead)
	add(s.Buffer != Depth{}, "buffer", s.Buffer)
	add(s.Delay != 0, "delay", s.Delay)
	add(s.Jitter != 0, "jitter", s.Jitter)
	add(s.Reorder, "reorder", "yes")
	add(s.Loss.Mean != 0, "loss", s.Loss.Mean)
	add(s.Loss.Burst != 0, "burst", s.Loss.Burst)
	add(s.Loss.Bad != 0, "bad", s.Loss.Bad)
	add(s.Loss.Good != 0, "good", s.Loss.Good)
	for i, o := range s.Outages {
		if i == 0 {
			b.WriteString(" outage=")
		} else {
			b.WriteByte(',')
		}
		b.WriteString(o.String())
	}
	return b.String()
}

// bytes returns the depth at the rate. It is at least 1, which lets in a packet
// that finds nothing ahead and no other.
func (d Depth) bytes(rate bandwidth.Rate) int {
	if d.Bytes > 0 {
		return d.Bytes
	}
	t := d.Time
	if t == 0 {
		t = defaultBuffer
	}
	return max(1, int(rate.BytesPerSecond()*t.Seconds()))
}

// out reports whether a packet that leaves the queue this long after the settings
// took effect is lost to an outage.
func (s *Settings) out(after time.Duration) bool {
	return slices.ContainsFunc(s.Outages, func(o Outage) bool {
		since := after - o.At
		if since >= 0 && o.Every > 0 {
			since %= o.Every
		}
		return since >= 0 && since < o.For
	})
}
