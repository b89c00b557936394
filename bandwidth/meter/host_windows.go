package meter

import (
	"context"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

var (
	getSystemPowerStatus = windows.NewLazySystemDLL("kernel32.dll").NewProc("GetSystemPowerStatus")
	getLastInputInfo     = windows.NewLazySystemDLL("user32.dll").NewProc("GetLastInputInfo")
	getTickCount         = windows.NewLazySystemDLL("kernel32.dll").NewProc("GetTickCount")
)

// systemPowerStatus is SYSTEM_POWER_STATUS of winbase.h.
type systemPowerStatus struct {
	mains, flags, percent, saver byte
	left, full                   uint32
}

// lastInputInfo is LASTINPUTINFO of winuser.h.
type lastInputInfo struct{ size, tick uint32 }

// readHost leaves Metered absent: only a COM object knows.
func readHost(context.Context) State {
	var s State
	var p systemPowerStatus
	if ok, _, _ := getSystemPowerStatus.Call(uintptr(unsafe.Pointer(&p))); ok != 0 {
		s.Battery = powerStatus(p.mains, p.flags, p.percent)
	}
	// A service sees the input of its own session alone, which has none ever.
	var session uint32
	if windows.ProcessIdToSessionId(uint32(os.Getpid()), &session) != nil || session == 0 {
		return s
	}
	in := lastInputInfo{size: uint32(unsafe.Sizeof(lastInputInfo{}))}
	if ok, _, _ := getLastInputInfo.Call(uintptr(unsafe.Pointer(&in))); ok != 0 {
		now, _, _ := getTickCount.Call()
		// Both are 32 bits of milliseconds and wrap together, after 49 days.
		s.Idle = Read(time.Duration(uint32(now)-in.tick)*time.Millisecond, "GetLastInputInfo")
	}
	return s
}
