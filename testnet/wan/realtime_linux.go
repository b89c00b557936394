package wan

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"

	"golang.org/x/sys/unix"
)

// RealTime has the kernel run this process before all ordinary ones, and the Go
// runtime collect no garbage before 1 GiB of it. It is for a process that runs
// Emulators and nothing else, and has no children: they would have the same right.
//
// An Emulator's own threads go first anyway. But whenever the runtime stops the
// world they wait for its other threads, and on a machine whose every core is
// busy those wait tens of milliseconds for their turn.
//
// It needs the capability SYS_NICE. Without it, it changes what it can and returns
// the error, and the emulator counts what was late.
func RealTime() error {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(1 << 30)
	// A thread that starts meanwhile inherits it from the one that started it,
	// which may be one that hasn't got it yet: look again until there is none new.
	done := map[int]bool{}
	for again := true; again; {
		again = false
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("run in real time: %w", err)
		}
		for _, task := range tasks {
			id, err := strconv.Atoi(task.Name())
			if err != nil || done[id] {
				continue
			}
			if err := firstInLine(id); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("run in real time: %w; in a container it needs --cap-add SYS_NICE", err)
			}
			done[id], again = true, true
		}
	}
	return nil
}

// firstInLine makes a thread (0: this one) go before all that have no real-time
// priority. The kernel still keeps a twentieth of each core for those.
func firstInLine(thread int) error {
	return unix.SchedSetAttr(thread, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0)
}

// backInLine undoes firstInLine for this thread.
func backInLine() error {
	return unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL}, 0)
}
