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
	var refused error
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
				refused = fmt.Errorf("run in real time: %w; in a container it needs --cap-add SYS_NICE, and a kernel without RT_GROUP_SCHED", err)
			}
			done[id], again = true, true
		}
	}
	return refused
}

// firstInLine makes a thread (0: this one) go before all that have no real-time
// priority. The kernel still keeps a twentieth of each core for those. Where it gives
// no such priority to a container, the thread at least gets the largest share.
func firstInLine(thread int) error {
	err := unix.SchedSetAttr(thread, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		_ = unix.Setpriority(unix.PRIO_PROCESS, thread, -20)
	}
	return err
}

// backInLine undoes firstInLine for this thread.
func backInLine() error {
	return unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL}, 0)
}
