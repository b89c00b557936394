package spaces

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/p2pnode/p2pnode/node/api"
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
		if err := errors.Join(removeSockets(f), os.RemoveAll(f)); err != nil {
			return n, fmt.Errorf("remove what a killed command left: %w", err)
		}
		n++
	}
	return n, nil
}

// removeSockets removes what removeSocket does of all nodes whose files lie in a
// folder that TempDir made: in that of an enterprise, or in folders of several.
// Where a node had a disk only the place for that is left.
func removeSockets(dir string) error {
	var errs []error
	for _, above := range []string{"*", "*/*"} {
		for _, data := range []string{"data", "disk"} {
			found, err := filepath.Glob(filepath.Join(dir, above, data))
			errs = append(errs, err)
			for _, path := range found {
				if data == "disk" {
					path = filepath.Join(path, "data")
				}
				errs = append(errs, removeSocket(path))
			}
		}
	}
	return errors.Join(errs...)
}

// removeSocket removes the folder of a node's socket, if that is one beside the data
// folder because that has a long name. A node that is killed leaves it.
func removeSocket(data string) error {
	socket, err := api.SocketPath(data)
	if err != nil || filepath.Base(filepath.Dir(socket)) == filepath.Base(data) {
		return err
	}
	err = os.Remove(socket)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = os.Remove(filepath.Dir(socket))
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return err
}
