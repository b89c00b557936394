package meter

import (
	"context"
	"time"

	"github.com/shirou/gopsutil/v4/cpu"
)

// A State is how this host does. What a policy makes of it is the policy's: none
// of it is for the governor.
type State struct {
	// Battery is absent where there is none, or none that the system knows of.
	Battery Reading[Battery]
	// Busy is the share of all cores, 0 to 1, that worked since the last reading:
	// for anyone, us too. The first reading has none.
	Busy Reading[float64]
	// Idle is how long nobody has touched this host. 0 says that somebody does, or
	// that no session tells the system when nobody does.
	Idle Reading[time.Duration]
	// Metered is whether the default route costs by the byte, by the word of the
	// system or its user. An Interface that is Cellular says as much.
	Metered Reading[bool]
}

// A Battery is the sum of a host's batteries.
type Battery struct {
	Discharging bool    // it feeds the host now
	Charge      float64 // 0 to 1
}

// A Host reads its State. It is not for two goroutines at once.
type Host struct {
	last *cpu.TimesStat
}

// NewHost returns a reader of this host.
func NewHost() *Host { return &Host{} }

// Read reads the state. It may start a program or ask a service, so it is for
// every ten seconds and not for every tick.
func (h *Host) Read(ctx context.Context) State {
	s := readHost(ctx)
	times, err := cpu.TimesWithContext(ctx, false)
	if err != nil || len(times) != 1 {
		h.last = nil
		return s
	}
	if h.last != nil {
		s.Busy = busy(*h.last, times[0])
	}
	h.last = &times[0]
	return s
}

// busy returns the share of time that was spent working between two counts.
func busy(a, b cpu.TimesStat) Reading[float64] {
	idle := b.Idle + b.Iowait - a.Idle - a.Iowait
	all := func(t cpu.TimesStat) float64 { // a guest's time is in User already
		return t.User + t.System + t.Nice + t.Irq + t.Softirq + t.Steal + t.Idle + t.Iowait
	}
	total := all(b) - all(a)
	if total <= 0 {
		return Reading[float64]{} // no tick went by
	}
	return Read(min(max(1-idle/total, 0), 1), "cpu times")
}
