package meter

import (
	"context"
	"os/exec"
	"time"
)

// programPatience bounds a program that hangs.
const programPatience = 2 * time.Second

// readHost leaves Metered absent: only the Network framework knows.
func readHost(ctx context.Context) State {
	ctx, cancel := context.WithTimeout(ctx, programPatience)
	defer cancel()
	var s State
	if out, err := exec.CommandContext(ctx, "/usr/bin/pmset", "-g", "batt").Output(); err == nil {
		s.Battery = parsePmset(string(out))
	}
	if out, err := exec.CommandContext(ctx, "/usr/sbin/ioreg", "-c", "IOHIDSystem", "-d", "4").Output(); err == nil {
		s.Idle = parseHID(string(out))
	}
	return s
}
