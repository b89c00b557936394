package inside

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Leash runs a command until it ends, or until in does: `docker exec` that is
// killed leaves what it started behind, but closes its stdin. It returns the
// command's exit code.
func Leash(ctx context.Context, in io.Reader, argv []string) (int, error) {
	if len(argv) == 0 {
		return 0, errors.New("leash: nothing to run")
	}
	ctx, let := context.WithCancel(ctx)
	defer let()
	go func() {
		_, _ = io.Copy(io.Discard, in)
		let()
	}()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 2 * time.Second
	err := cmd.Run()
	if cmd.ProcessState == nil {
		return 0, fmt.Errorf("leash: %w", err)
	}
	return cmd.ProcessState.ExitCode(), nil
}
