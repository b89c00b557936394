//go:build netns && linux

package spaces

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/p2pnode/p2pnode/testnet/box"
)

// killedEnv makes of the test binary a command that runs an enterprise in the
// folder that it names, until it is killed.
const killedEnv = "P2PNODE_TEST_KILLED"

func runUntilKilled(dir string) error {
	ctx := context.Background()
	if err := build(ctx); err != nil {
		return err
	}
	e, err := New(ctx, box.Plan{Branches: 1, Peers: 1, Disk: 128 << 20}, Config{Binary: built.p2pnode, Program: built.testnet, Router: built.testnet, Dir: dir})
	if err == nil {
		err = e.Start(ctx)
	}
	if err != nil {
		return err
	}
	fmt.Println("up", built.dir)
	select {}
}

// A command that is killed leaves no process and no mount, and what else it
// leaves is gone when it is reaped.
func TestNetKilledCommandLeavesNothing(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), killedEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	programs, up := strings.CutPrefix(strings.TrimSpace(line), "up ")
	err = errors.Join(err, cmd.Process.Signal(syscall.SIGKILL))
	_ = cmd.Wait() // killed
	if err != nil || !up {
		t.Fatalf("%q: %v", line, err)
	}
	defer os.RemoveAll(programs)
	pid := cmd.Process.Pid
	// The kernel ends its children at once, which takes a moment.
	deadline := time.Now().Add(time.Minute)
	for {
		found := processes(t, dir)
		if len(found) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("still there: %q", found)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if found := mounts(t, dir); len(found) > 0 {
		t.Errorf("mounted: %q", found)
	}
	if len(namespaces(t, pid)) == 0 {
		t.Error("it had no namespaces")
	}
	if _, err := Reap(); err != nil {
		t.Fatal(err)
	}
	if names := namespaces(t, pid); len(names) > 0 {
		t.Errorf("namespaces: %q", names)
	}
}

// Two enterprises in one process have nothing to do with each other: that one
// comes and goes does no harm to the other's nodes.
func TestNetEnterprisesAreApart(t *testing.T) {
	plan := box.Plan{Branches: 1, Peers: 1}
	one, err := New(t.Context(), plan, Config{Binary: built.p2pnode, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer closed(t, one)
	if err := one.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		// Its links run in this process, too.
		two, err := New(t.Context(), plan, Config{Binary: built.p2pnode, Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		closed(t, two)
	}
	for _, n := range one.Nodes() {
		if !n.Running() {
			t.Errorf("%s doesn't run", n.Name())
		}
	}
	a, err := one.Node(box.Endpoint(box.Branch(0), 1)).Ask(t.Context(), "ping", box.Publisher)
	if err != nil || a.Err(0) != nil {
		t.Error(err, a.Err(0))
	}
}

// New fails before it makes anything if mounts would outlive this process, or the
// plan is none.
func TestNetPlanIsChecked(t *testing.T) {
	dir := t.TempDir()
	if _, err := New(t.Context(), box.Plan{}, Config{Binary: built.p2pnode, Dir: dir}); err == nil {
		t.Error("an empty plan passes")
	}
	t.Setenv(aloneEnv, "")
	if _, err := New(t.Context(), box.Plan{Branches: 1, Peers: 1, Disk: 1 << 20}, Config{Binary: built.p2pnode, Dir: dir}); err == nil {
		t.Error("disks are mounted where others see them")
	}
	if found := left(t, dir); len(found) > 0 {
		t.Errorf("left: %q", found)
	}
}
