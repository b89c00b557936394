package node

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// I/O priorities, linux/include/uapi/linux/ioprio.h. Best effort 7 is the last of
// the class that everyone is in; idle would be served only when nobody else wants
// the disk, and a node that waits for ever serves nobody. Schedulers without
// priorities (none, kyber) don't look at it, bfq and mq-deadline do.
const (
	ioprioWhoProcess = 1
	ioprioClassShift = 13
	ioprioBestEffort = 2
	ioprioIdle       = 3
	ioprioLast       = 7
	ioprioLow        = ioprioBestEffort<<ioprioClassShift | ioprioLast
)

// GiveWay lowers the priority of this process, for the processor and the disk, for
// good: an ordinary user can't raise it again. What is lower already stays.
//
// On Linux both belong to a thread, which gives them to the threads it starts. The
// Go runtime has several before main runs, and any of them may start more while we
// go through them; so this goes on until it finds none that is left.
func GiveWay() error {
	for range 100 {
		changed, err := lowerThreads()
		if err != nil || changed == 0 {
			return err
		}
	}
	return errors.New("lower priority: new threads came faster than they were lowered")
}

func lowerThreads() (changed int, err error) {
	ids, err := threads()
	if err != nil {
		return 0, err
	}
	for _, id := range ids {
		nice, prio, err := threadPriority(id)
		if err == nil && nice < lowNice {
			changed++
			err = unix.Setpriority(unix.PRIO_PROCESS, id, lowNice)
		}
		if err == nil && !ioLow(prio) {
			changed++
			if _, _, e := unix.Syscall(unix.SYS_IOPRIO_SET, ioprioWhoProcess, uintptr(id), ioprioLow); e != 0 {
				err = e
			}
		}
		if err != nil && !errors.Is(err, unix.ESRCH) { // it ended meanwhile
			return changed, fmt.Errorf("lower priority: %w", err)
		}
	}
	return changed, nil
}

func threads() ([]int, error) {
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil, err
	}
	var ids []int
	for _, e := range entries {
		if id, err := strconv.Atoi(e.Name()); err == nil {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func threadPriority(id int) (nice, io int, err error) {
	p, err := unix.Getpriority(unix.PRIO_PROCESS, id)
	if err != nil {
		return 0, 0, err
	}
	r, _, e := unix.Syscall(unix.SYS_IOPRIO_GET, ioprioWhoProcess, uintptr(id), 0)
	if e != 0 {
		return 0, 0, e
	}
	return 20 - p, int(r), nil // the system call counts from 1 to 40, so as not to return errors
}

func ioLow(prio int) bool {
	class, level := prio>>ioprioClassShift, prio&(1<<ioprioClassShift-1)
	return class == ioprioIdle || class == ioprioBestEffort && level == ioprioLast
}

// priority says how all threads stand.
func priority() string {
	ids, err := threads()
	if err != nil {
		return ""
	}
	low, normal := 0, 0
	for _, id := range ids {
		switch nice, io, err := threadPriority(id); {
		case err != nil:
		case nice >= lowNice && ioLow(io):
			low++
		default:
			normal++
		}
	}
	switch {
	case low == 0:
		return "normal"
	case normal == 0:
		return "low"
	}
	return "mixed"
}

// memoryAllowed is what the control groups that this process is in allow: its own
// or one above it. A container sees its own as the root.
func memoryAllowed() int64 {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return math.MaxInt64
	}
	least := int64(math.MaxInt64)
	for line := range strings.Lines(string(b)) {
		group, v2 := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !v2 {
			continue
		}
		for {
			text, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", group, "memory.max"))
			if n, perr := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && perr == nil && n > 0 {
				least = min(least, n)
			}
			if group == "/" || group == "." || group == "" {
				break
			}
			group = filepath.Dir(group)
		}
	}
	return least
}
