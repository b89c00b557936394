package spaces

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// aloneEnv has the process id of a command that is alone with its mounts. Who
// only inherited the variable has another one.
const aloneEnv = "P2PNODE_TESTNET_ALONE"

// Alone gives this process a mount namespace: what is mounted from now on is
// seen by it and its children only, and is gone with the last of them. Call it
// first in main: it starts the program anew, with the same process id, arguments
// and environment, and returns nil there.
func Alone() error {
	if alone() {
		return nil
	}
	if os.Geteuid() != 0 {
		return errors.New("mount disks for a testnet: only root can")
	}
	// The one thread that goes on from here is the one that calls exec.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to this process: %w", err)
	}
	// Set, not appended: of two the first would count, a parent's that was alone too.
	if err := os.Setenv(aloneEnv, strconv.Itoa(os.Getpid())); err != nil {
		return err
	}
	return fmt.Errorf("start this program anew: %w", syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
}

func alone() bool { return os.Getenv(aloneEnv) == strconv.Itoa(os.Getpid()) }
