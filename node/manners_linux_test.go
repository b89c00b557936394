package node

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// A priority once lowered can't be raised again, so another process does it: with
// threads that start more while theirs are lowered.
func TestEveryThreadGivesWay(t *testing.T) {
	if os.Getenv("P2PNODE_TEST_GIVE_WAY") != "" {
		giveWayAmongThreads()
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestEveryThreadGivesWay$")
	cmd.Env = append(os.Environ(), "P2PNODE_TEST_GIVE_WAY=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lines := strings.Split(string(out), "\n")
	as := priority() // of whoever runs the tests
	if lines[0] != "before: "+as {
		t.Errorf("%s, and this process is %s", lines[0], as)
	}
	nice, _, err := threadPriority(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("thread: nice %d, io 2/7", max(nice, lowNice))
	seen := 0
	for _, l := range lines[1:] {
		if strings.HasPrefix(l, "thread: ") {
			if seen++; as == "normal" && l != want {
				t.Error(l)
			}
		}
	}
	if seen < 40 || !strings.Contains(string(out), "after: low\n") {
		t.Errorf("%d threads seen:\n%s", seen, out)
	}
}

func giveWayAmongThreads() {
	fmt.Println("before:", priority())
	var ready, done sync.WaitGroup
	end := make(chan struct{})
	thread := func() {
		ready.Add(1)
		done.Go(func() {
			runtime.LockOSThread() // not unlocked: a thread of its own
			ready.Done()
			<-end
		})
	}
	for range 20 {
		thread()
	}
	ready.Wait()
	ready.Go(func() {
		for range 20 {
			thread()
		}
	})
	if err := GiveWay(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	ready.Wait()
	ids, err := threads()
	for _, id := range ids {
		if nice, io, err := threadPriority(id); err == nil {
			fmt.Printf("thread: nice %d, io %d/%d\n", nice, io>>ioprioClassShift, io&0x1fff)
		}
	}
	fmt.Println("after:", priority())
	close(end)
	done.Wait()
	if err != nil {
		os.Exit(1)
	}
}

func TestMemoryIsThere(t *testing.T) {
	m, err := Memory()
	if err != nil || m < 64<<20 {
		t.Fatalf("%d bytes of memory: %v", m, err)
	}
}
