package spaces

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// tempPrefix begins the names of what TempDir makes; the process's id follows.
const tempPrefix = "p2pnode-tn-"

// TempDir makes a folder for what a command needs while it runs. If the command is
// killed, Reap removes it.
func TempDir() (string, error) {
	return os.MkdirTemp("", fmt.Sprintf("%s%d-", tempPrefix, os.Getpid()))
}

// reapTemp removes the folders of processes that are gone, and returns how many.
func reapTemp() (n int, err error) {
	folders, err := filepath.Glob(filepath.Join(os.TempDir(), tempPrefix+"*"))
	if err != nil {
		return 0, err
	}
	for _, f := range folders {
		id, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(f), tempPrefix), "-")
		pid, err := strconv.Atoi(id)
		if err != nil || !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			continue
		}
		if err := os.RemoveAll(f); err != nil {
			return n, fmt.Errorf("remove what a killed command left: %w", err)
		}
		n++
	}
	return n, nil
}
