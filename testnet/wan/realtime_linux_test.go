//go:build netns

package wan

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const realTimeEnv = "P2PNODE_WAN_REALTIME"

// All threads of a process that asked for it, and those that start later, go
// before ordinary ones.
func TestRealTimeIsForAllThreads(t *testing.T) {
	if os.Getenv(realTimeEnv) == "" {
		if os.Geteuid() != 0 {
			t.Skip("needs root")
		}
		// A process of its own: the others would go on with what it changes.
		cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), realTimeEnv+"=1")
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		return
	}
	if err := RealTime(); err != nil {
		t.Fatal(err)
	}
	// Each waits in the kernel, so that the runtime needs a thread for each.
	var ends [][2]int
	for range 20 {
		var pipe [2]int
		if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, pipe)
		started := make(chan bool)
		go func() {
			close(started)
			_, _ = unix.Read(pipe[0], make([]byte, 1))
		}()
		<-started
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		id, _ := strconv.Atoi(task.Name())
		attr, err := unix.SchedGetAttr(id, 0)
		if err != nil {
			t.Fatal(err)
		}
		if attr.Policy != unix.SCHED_FIFO {
			stat, _ := os.ReadFile("/proc/self/task/" + task.Name() + "/stat")
			t.Errorf("thread %s has policy %d: %s", task.Name(), attr.Policy, strings.TrimSpace(string(stat)))
		}
	}
	for _, pipe := range ends {
		for _, end := range pipe {
			_ = unix.Close(end)
		}
	}
}
