package sim

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A use is what this process took of the machine so far. The bubble's clock is
// not the machine's, so times are asked of the system.
type use struct {
	wall, cpu time.Duration
	peak      int // bytes of memory, at the worst
}

func used() use {
	var tv syscall.Timeval
	var r syscall.Rusage
	if syscall.Gettimeofday(&tv) != nil || syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return use{}
	}
	u := use{wall: time.Duration(tv.Nano()), cpu: time.Duration(r.Utime.Nano() + r.Stime.Nano())}
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		var kB int
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kB); err == nil {
			u.peak = kB << 10
		}
	}
	return u
}

// since describes what was used since before, for so many nodes.
func (u use) since(before use, nodes int) string {
	return fmt.Sprintf("%.1f s, %.1f CPU s, at most %d MiB of memory, %d KiB a node",
		(u.wall - before.wall).Seconds(), (u.cpu - before.cpu).Seconds(), u.peak>>20, (u.peak-before.peak)/nodes>>10)
}

// filesOf describes what a folder takes on disk, and what this process has open.
func filesOf(dir string) string {
	var bytes int64
	files := 0
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		i, err := e.Info()
		if err != nil {
			return err
		}
		files++
		bytes += i.Sys().(*syscall.Stat_t).Blocks * 512
		return nil
	})
	open, openErr := os.ReadDir("/proc/self/fd")
	if err := errors.Join(err, openErr); err != nil {
		return "not counted: " + err.Error()
	}
	return fmt.Sprintf("%d that take %d MB, %d descriptors open", files, bytes/1e6, len(open))
}
