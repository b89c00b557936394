package node

import (
	"fmt"
	"math"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What setiopolicy_np(3) is made of: xnu, bsd/sys/resource.h and resource_private.h.
const (
	iopolGet          = 1
	iopolSet          = 2
	iopolTypeDisk     = 0
	iopolScopeProcess = 0
	iopolThrottle     = 3
	iopolUtility      = 4
)

type iopolParam struct{ scope, kind, policy int32 }

// GiveWay lowers the priority of this process, for the processor and the disk. It
// is not the system's background mode (PRIO_DARWIN_BG), which would slow its
// network down as well.
func GiveWay() error {
	if now, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err == nil && now < lowNice {
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, lowNice); err != nil {
			return fmt.Errorf("lower priority: %w", err)
		}
	}
	p := iopolParam{iopolScopeProcess, iopolTypeDisk, iopolUtility}
	if _, _, e := unix.Syscall(unix.SYS_IOPOLICYSYS, iopolSet, uintptr(unsafe.Pointer(&p)), 0); e != 0 {
		return fmt.Errorf("lower priority of I/O: %w", e)
	}
	return nil
}

func priority() string {
	nice, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	p := iopolParam{scope: iopolScopeProcess, kind: iopolTypeDisk}
	_, _, e := unix.Syscall(unix.SYS_IOPOLICYSYS, iopolGet, uintptr(unsafe.Pointer(&p)), 0)
	if err != nil || e != 0 {
		return ""
	}
	ioLow := p.policy == iopolUtility || p.policy == iopolThrottle
	switch {
	case nice >= lowNice && ioLow:
		return "low"
	case nice < lowNice && !ioLow:
		return "normal"
	}
	return "mixed"
}

func memoryAllowed() int64 { return math.MaxInt64 }
