package wan

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/p2pnode/p2pnode/bandwidth"
)

func TestSettingsReadAndPrint(t *testing.T) {
	for _, c := range []struct {
		text  string
		want  Settings
		print string // if other than text
	}{
		{"rate=unlimited", Settings{}, ""},
		{"", Settings{}, "rate=unlimited"},
		{
			"rate=20mbit delay=20ms jitter=5ms loss=1% buffer=500ms",
			Settings{
				Rate: 20 * bandwidth.MbitPerSecond, Delay: 20 * time.Millisecond, Jitter: 5 * time.Millisecond,
				Loss: Loss{Mean: 10_000}, Buffer: Depth{Time: 500 * time.Millisecond},
			},
			"rate=20mbit buffer=500ms delay=20ms jitter=5ms loss=1%",
		},
		{"rate=2.5mbit overhead=38 buffer=64kB reorder=yes", Settings{Rate: 2_500_000, Overhead: 38, Buffer: Depth{Bytes: 64_000}, Reorder: true}, "rate=2500kbit overhead=38 buffer=64000B reorder=yes"},
		{"rate=10gbit loss=0.0001%", Settings{Rate: maxRate, Loss: Loss{Mean: 1}}, ""},
		{"rate=1bit loss=2% burst=8 bad=50% good=0.1%", Settings{Rate: 1, Loss: Loss{Mean: 20_000, Burst: 8, Bad: 500_000, Good: 1000}}, ""},
		{
			"rate=unlimited outage=10s+2s,1m0s+500ms/1h0m0s",
			Settings{Outages: []Outage{{At: 10 * time.Second, For: 2 * time.Second}, {At: time.Minute, For: 500 * time.Millisecond, Every: time.Hour}}},
			"",
		},
		{"rate=unlimited outage=none loss=0% delay=0s reorder=no", Settings{}, "rate=unlimited"},
	} {
		got, err := Parse(c.text)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%q (-want +got):\n%s", c.text, d)
		}
		if c.print == "" {
			c.print = c.text
		}
		if got.String() != c.print {
			t.Errorf("%q prints as %q, want %q", c.text, got, c.print)
		}
	}
}

func TestSettingsSayWhatIsWrong(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"rate", "want key=value"},
		{"speed=1mbit", "no such key; want one of rate"},
		{"delay=1ms delay=2ms", "delay is set twice"},
		{"rate=20", "want a unit"},
		{"rate=20MB", "want a unit"},
		{"rate=0mbit", "want 1bit to 10gbit, or unlimited"},
		{"rate=11gbit", "want 1bit to 10gbit, or unlimited"},
		{"rate=1e3mbit", "not a number"},
		{"rate=-1mbit", "not a number"},
		{"rate=1.1.1mbit", "not a number"},
		{"overhead=-1", "want a whole number from 0 to 1024"},
		{"buffer=5", "or bytes, as in 64kB"},
		{"buffer=2GB", "whole number"},
		{"buffer=2000000kB", "whole number"},
		{"delay=5", "want a time with a unit"},
		{"delay=-5ms", "want a time with a unit"},
		{"delay=2m", "up to 1m0s"},
		{"reorder=maybe", "want yes or no"},
		{"loss=1", "want percent"},
		{"loss=101%", "at most 100%"},
		{"bad=50%", "set burst too"},
		{"loss=60% burst=3 bad=50%", "below bad (50%)"},
		{"loss=1% burst=3 good=2%", "from good (2%)"},
		{"loss=99% burst=3", "larger burst or less loss"},
		{"outage=5s", "want start+length"},
		{"outage=5s+0s", "length over 0"},
		{"outage=5s+1s/1s", "comes again before it is over"},
		{"outage=5s+1s,", "want start+length"},
		{"outage=" + strings.Repeat("5s+1s,", 100) + "5s+1s", "at most 100 outages"},
	} {
		got, err := Parse(c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, %v; want an error with %q", c.text, got, err, c.want)
		}
	}
}

func TestSettingsAreCheckedHoweverTheyCame(t *testing.T) {
	for _, s := range []Settings{
		{Rate: -1},
		{Rate: maxRate + 1},
		{Buffer: Depth{Time: time.Second, Bytes: 5}},
		{Delay: -time.Second},
		{Loss: Loss{Mean: -1}},
		{Loss: Loss{Mean: 1000, Burst: -1}},
		{Outages: []Outage{{For: -1}}},
	} {
		if _, err := NewLink(s, 1, 1); err == nil {
			t.Errorf("%+v: taken", s)
		}
		l := newLink(t, Settings{}, 1)
		if err := l.Set(0, s); err == nil {
			t.Errorf("%+v: taken by a link", s)
		}
	}
}

func TestWithChangesOnlyWhatItNames(t *testing.T) {
	s, err := Parse("rate=20mbit delay=20ms loss=1% outage=1s+1s")
	if err != nil {
		t.Fatal(err)
	}
	s, err = s.With("delay=300ms outage=none")
	if want := "rate=20mbit delay=300ms loss=1%"; err != nil || s.String() != want {
		t.Errorf("%v (%v), want %s", s, err, want)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("rate=20mbit delay=20ms jitter=5ms loss=1% buffer=500ms")
	f.Add("rate=unlimited overhead=38 buffer=64kB reorder=yes loss=2% burst=8 bad=50% good=0.1%")
	f.Add("outage=10s+2s,1m+500ms/1h")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(s.String())
		if err != nil {
			t.Fatalf("%q prints as %q: %v", text, s, err)
		}
		if d := cmp.Diff(s, again); d != "" {
			t.Fatalf("%q prints as %q, which reads as (-before +after):\n%s", text, s, d)
		}
		if _, err := NewLink(s, 1, 1); err != nil {
			t.Fatalf("%q: no link: %v", text, err)
		}
	})
}
