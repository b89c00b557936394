package node

import (
	"fmt"
	"math"
	"unsafe"

	"golang.org/x/sys/windows"
)

// ioPriorityLow is IoPriorityLow of IO_PRIORITY_HINT (wdm.h).
const ioPriorityLow = 1

// GiveWay lowers the priority of this process, for the processor and the disk.
//
// It is not the system's background mode (PROCESS_MODE_BACKGROUND_BEGIN): that
// also holds the process to 32 MiB in memory, and one that needs more spends
// hundreds of times as long on page faults (Chromium and others left it for that:
// randomascii.wordpress.com, "32 MiB working sets on a 64 GiB machine"). So its
// other two effects are asked for one by one.
func GiveWay() error {
	self := windows.CurrentProcess()
	if err := windows.SetPriorityClass(self, windows.BELOW_NORMAL_PRIORITY_CLASS); err != nil {
		return fmt.Errorf("lower priority: %w", err)
	}
	low := uint32(ioPriorityLow)
	if err := windows.NtSetInformationProcess(self, windows.ProcessIoPriority, unsafe.Pointer(&low), uint32(unsafe.Sizeof(low))); err != nil {
		return fmt.Errorf("lower priority of I/O: %w", err)
	}
	return nil
}

func priority() string {
	self := windows.CurrentProcess()
	class, err := windows.GetPriorityClass(self)
	if err != nil {
		return ""
	}
	var io, size uint32
	if err := windows.NtQueryInformationProcess(self, windows.ProcessIoPriority, unsafe.Pointer(&io), uint32(unsafe.Sizeof(io)), &size); err != nil {
		return ""
	}
	lowCPU := class == windows.BELOW_NORMAL_PRIORITY_CLASS || class == windows.IDLE_PRIORITY_CLASS
	switch {
	case lowCPU && io <= ioPriorityLow:
		return "low"
	case !lowCPU && io > ioPriorityLow:
		return "normal"
	}
	return "mixed"
}

func memoryAllowed() int64 { return math.MaxInt64 }
