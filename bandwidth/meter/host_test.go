package meter

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/shirou/gopsutil/v4/cpu"
)

func TestPowerSupplyTellsOfBatteries(t *testing.T) {
	for name, want := range map[string]string{
		"laptop":  "{true 0.5} by sysfs power_supply", // the mouse's doesn't count
		"plugged": "{false 1} by sysfs power_supply",
		"desktop": "absent",
		"odd":     "absent",
		"none":    "absent",
	} {
		if got := show(readPowerSupply(os.DirFS("testdata/power/" + name))); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestPowerStatusTellsOfABattery(t *testing.T) {
	for _, c := range []struct {
		mains, flags, percent byte
		want                  string
	}{
		{0, 1, 60, "{true 0.6} by GetSystemPowerStatus"},
		{1, 8, 100, "{false 1} by GetSystemPowerStatus"},
		{1, 128, 255, "absent"}, // a desktop
		{1, 255, 50, "absent"},
		{255, 0, 50, "absent"},
		{0, 0, 255, "absent"},
	} {
		if got := show(powerStatus(c.mains, c.flags, c.percent)); got != c.want {
			t.Errorf("%d %d %d: %s, want %s", c.mains, c.flags, c.percent, got, c.want)
		}
	}
}

func TestPmsetTellsOfABattery(t *testing.T) {
	for text, want := range map[string]string{
		"Now drawing from 'Battery Power'\n -InternalBattery-0 (id=1234567)\t85%; discharging; 4:02 remaining present: true\n": "{true 0.85} by pmset",
		"Now drawing from 'AC Power'\n -InternalBattery-0 (id=1234567)\t100%; charged; 0:00 remaining present: true\n":         "{false 1} by pmset",
		"Now drawing from 'AC Power'\n":                 "absent", // a Mac mini
		" -InternalBattery-0 (id=1)\tfull; charged\n":   "absent",
		" -InternalBattery-0 (id=1)\t101%; charged;\n":  "absent",
		" -UPS-1000 (id=2)\t40%; discharging; present:": "absent", // not the host's own
	} {
		if got := show(parsePmset(text)); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestHIDTellsHowLongNobodyTouchedIt(t *testing.T) {
	for text, want := range map[string]string{
		"    | |   \"HIDIdleTime\" = 2500000000\n":           "2.5s by IOHIDSystem",
		"    | |   \"HIDKeyboardModifierMappingSource\" = 1": "absent",
		"    | |   \"HIDIdleTime\" = 18446744073709551615\n": "absent",
	} {
		if got := show(parseHID(text)); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestBusTellsOfUsersAndNetworks(t *testing.T) {
	for _, c := range []struct {
		what          string
		values        map[string]any
		idle, metered string
	}{
		{"away", map[string]any{"IdleHint": true, "IdleSinceHintMonotonic": uint64(40e6), "Metered": uint32(1)}, "1m0s by logind IdleHint", "true by NetworkManager"},
		{"here", map[string]any{"IdleHint": false, "Metered": uint32(2)}, "0s by logind IdleHint", "false by NetworkManager"},
		{"guesses", map[string]any{"Metered": uint32(3)}, "absent", "true by NetworkManager's guess"},
		{"other guesses", map[string]any{"Metered": uint32(4)}, "absent", "false by NetworkManager's guess"},
		{"unknown", map[string]any{"IdleHint": true, "Metered": uint32(0)}, "absent", "absent"},
		{"later than now", map[string]any{"IdleHint": true, "IdleSinceHintMonotonic": uint64(200e6)}, "absent", "absent"},
		{"other types", map[string]any{"IdleHint": "yes", "Metered": "yes"}, "absent", "absent"},
		{"no services", nil, "absent", "absent"},
	} {
		get := func(_, _, _, name string) (any, error) {
			v, ok := c.values[name]
			if !ok {
				return nil, errors.New("no such property")
			}
			return v, nil
		}
		if got := show(idleOnBus(get, 100*time.Second)); got != c.idle {
			t.Errorf("%s: idle %s, want %s", c.what, got, c.idle)
		}
		if got := show(meteredOnBus(get)); got != c.metered {
			t.Errorf("%s: metered %s, want %s", c.what, got, c.metered)
		}
	}
}

func TestBusyIsTheShareThatWorked(t *testing.T) {
	a := cpu.TimesStat{User: 100, Idle: 1000, Guest: 50}
	for want, b := range map[string]cpu.TimesStat{
		"0.25 by cpu times": {User: 120, System: 5, Idle: 1050, Iowait: 25, Guest: 70},
		"1 by cpu times":    {User: 101, Idle: 1000, Guest: 50},
		"0 by cpu times":    {User: 100, Idle: 1001, Guest: 50},
		"absent":            a,
	} {
		if got := show(busy(a, b)); got != want {
			t.Errorf("%v: %s, want %s", b, got, want)
		}
	}
}

func TestHostReadsWhatThereIs(t *testing.T) {
	h := NewHost()
	if s := h.Read(t.Context()); s.Busy.How() != "" {
		t.Errorf("busy since never: %s", show(s.Busy))
	}
	// CPU times count in ticks of up to 16 ms: read until one went by.
	for {
		s := h.Read(t.Context())
		if v, ok := s.Busy.Value(); ok {
			if v < 0 || v > 1 {
				t.Errorf("busy %v", v)
			}
			return
		}
	}
}

func BenchmarkHost(b *testing.B) {
	h := NewHost()
	for b.Loop() {
		h.Read(context.Background())
	}
}
