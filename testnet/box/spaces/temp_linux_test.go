package spaces

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/testnet/scenario"
)

// What a command that is gone has left is removed, of one that runs nothing is.
func TestReapRemovesFoldersOfProcessesThatAreGone(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	mine, err := TempDir()
	if err != nil {
		t.Fatal(err)
	}
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(os.TempDir(), tempPrefix+"notes")
	left := filepath.Join(os.TempDir(), fmt.Sprintf("%s%d-123", tempPrefix, gone.Process.Pid))
	for _, dir := range []string{left, other} {
		if err := os.MkdirAll(filepath.Join(dir, "data"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := reapTemp(); n != 1 || err != nil {
		t.Errorf("%d removed, %v; want 1", n, err)
	}
	for dir, want := range map[string]bool{mine: true, other: true, left: false} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", filepath.Base(dir), err == nil, want)
		}
	}
}

// Data folders with long names have their sockets elsewhere, and what is there of a
// node that was killed goes with its folder. With a disk of its own the node's data
// folder has gone already, with the mount.
func TestReapRemovesSocketsOfLongFolders(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("long", 25))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", long)
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(long, fmt.Sprintf("%s%d-123", tempPrefix, gone.Process.Pid))
	var sockets []string
	for _, data := range []string{"publisher/data", "0/publisher/data", "1/branch-a-1/disk/data"} {
		sockets = append(sockets, leaveSocket(t, filepath.Join(left, data)))
	}
	if err := os.Remove(filepath.Join(left, "1/branch-a-1/disk/data")); err != nil {
		t.Fatal(err)
	}
	if n, err := reapTemp(); n != 1 || err != nil {
		t.Errorf("%d removed, %v; want 1", n, err)
	}
	for _, socket := range sockets {
		if _, err := os.Stat(filepath.Dir(socket)); err == nil {
			t.Errorf("%s is there", filepath.Dir(socket))
		}
	}
}

func TestRemovedNodeLeavesNoSocket(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 25))
	n := &node{dir: dir, proc: &scenario.Node{Data: filepath.Join(dir, "data"), Log: dir + ".log"}}
	socket := leaveSocket(t, n.proc.Data)
	if err := n.remove(); err != nil {
		t.Error(err)
	}
	for _, path := range []string{filepath.Dir(socket), dir} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is there", path)
		}
	}
	if err := n.remove(); err != nil {
		t.Errorf("once more: %v", err)
	}
}

// leaveSocket makes what a node that was killed leaves of its socket, which is not
// in its data folder.
func leaveSocket(t *testing.T, data string) string {
	t.Helper()
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	socket, err := api.SocketPath(data)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(socket, data) {
		t.Fatalf("%s is not elsewhere", socket)
	}
	if err := os.MkdirAll(filepath.Dir(socket), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(filepath.Dir(socket)) })
	if err := os.WriteFile(socket, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return socket
}
