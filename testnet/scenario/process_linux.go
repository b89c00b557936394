package scenario

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// orphan makes the kernel end cmd when this process dies without a Close.
func orphan(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// A Usage is what a process has used so far.
type Usage struct {
	CPU     time.Duration // user and system, to 10 ms
	RSS     int64         // bytes resident now
	PeakRSS int64         // bytes, the most so far
}

// Usage reads what the running node has used.
func (n *Node) Usage() (Usage, error) { return UsageOf(n.Pid()) }

// UsageOf reads /proc for the process pid.
func UsageOf(pid int) (Usage, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return Usage{}, fmt.Errorf("usage of process %d: %w", pid, err)
	}
	// The name in parentheses may hold anything. Behind it stand the state and
	// 49 numbers: the 12th and 13th of them are user and system time (proc(5)).
	rest := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(rest) < 13 {
		return Usage{}, fmt.Errorf("usage of process %d: short %s/stat", pid, dir)
	}
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux that Go runs on
	var u Usage
	for _, field := range rest[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return Usage{}, fmt.Errorf("usage of process %d: %w", pid, err)
		}
		u.CPU += time.Duration(n) * tick
	}
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return Usage{}, fmt.Errorf("usage of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(status)) {
		f := strings.Fields(line)
		if len(f) != 3 || f[2] != "kB" {
			continue
		}
		kb, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "VmRSS:":
			u.RSS = kb << 10
		case "VmHWM:":
			u.PeakRSS = kb << 10
		}
	}
	return u, nil
}
