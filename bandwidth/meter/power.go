package meter

import (
	"io/fs"
	"math"
	"strconv"
	"strings"
	"time"
)

// These read what systems say of batteries and idle users, wherever they run.

// readPowerSupply reads /sys/class/power_supply (Documentation/ABI/testing/
// sysfs-class-power). Batteries of mice and the like have the scope Device.
func readPowerSupply(dir fs.FS) Reading[Battery] {
	entries, err := fs.ReadDir(dir, ".")
	if err != nil {
		return Reading[Battery]{}
	}
	var sum Battery
	n := 0
	for _, e := range entries {
		text := func(name string) string {
			b, err := fs.ReadFile(dir, e.Name()+"/"+name)
			if err != nil {
				return ""
			}
			return strings.TrimSpace(string(b))
		}
		percent, err := strconv.ParseUint(text("capacity"), 10, 8)
		if err != nil || text("type") != "Battery" || text("scope") == "Device" {
			continue
		}
		n++
		sum.Charge += min(float64(percent)/100, 1)
		sum.Discharging = sum.Discharging || text("status") == "Discharging"
	}
	if n == 0 {
		return Reading[Battery]{}
	}
	sum.Charge /= float64(n)
	return Read(sum, "sysfs power_supply")
}

// powerStatus is what SYSTEM_POWER_STATUS of winbase.h tells: whether the mains
// are there (0 no, 1 yes, 255 unknown), flags (128 no battery, 255 unknown) and the
// charge in percent (255 unknown).
func powerStatus(mains, flags, percent byte) Reading[Battery] {
	if mains > 1 || flags&128 != 0 || percent > 100 {
		return Reading[Battery]{}
	}
	return Read(Battery{Discharging: mains == 0, Charge: float64(percent) / 100}, "GetSystemPowerStatus")
}

// parsePmset reads what pmset -g batt prints on macOS:
//
//	Now drawing from 'Battery Power'
//	 -InternalBattery-0 (id=1234567)	85%; discharging; 4:02 remaining present: true
func parsePmset(text string) Reading[Battery] {
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(line, "\t")
		if !ok || !strings.Contains(name, "InternalBattery") {
			continue
		}
		percent, rest, ok := strings.Cut(rest, "%;")
		n, err := strconv.ParseUint(percent, 10, 8)
		if !ok || err != nil || n > 100 {
			continue
		}
		state, _, _ := strings.Cut(rest, ";")
		return Read(Battery{Discharging: strings.TrimSpace(state) == "discharging", Charge: float64(n) / 100}, "pmset")
	}
	return Reading[Battery]{}
}

// parseHID finds the time since the last touch in what ioreg -c IOHIDSystem
// prints on macOS:
//
//	| |   "HIDIdleTime" = 2871250
func parseHID(text string) Reading[time.Duration] {
	for line := range strings.Lines(text) {
		_, value, ok := strings.Cut(line, `"HIDIdleTime" = `)
		if !ok {
			continue
		}
		ns, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
		if err != nil || ns > math.MaxInt64 {
			continue
		}
		return Read(time.Duration(ns), "IOHIDSystem")
	}
	return Reading[time.Duration]{}
}
