//go:build netns && linux

package spaces

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/scenario"
)

// Who asks for the tag netns has to be root: these tests don't skip.

// built is the program under test, for all tests.
var built string

func TestMain(m *testing.M) {
	if err := Alone(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(test(m))
}

func test(m *testing.M) (code int) {
	dir, err := os.MkdirTemp("", "spaces-")
	if err == nil {
		defer os.RemoveAll(dir)
		built, err = scenario.Build(context.Background(), dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func TestNetTrial(t *testing.T) {
	start := time.Now()
	plan := box.Plan{Branches: 2, Peers: 5, Disk: 256 << 20}
	e, err := New(t.Context(), plan, Config{Binary: built, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		start := time.Now()
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		t.Logf("closed in %v", time.Since(start))
	}()
	t.Logf("network after %v", time.Since(start))
	if err := e.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("ready after %v", time.Since(start))
	a, err := e.Node("branch-a-1").Ask(t.Context(), "peer", "ls")
	t.Log(a.Stdout, err)
	for _, s := range plan.Sites() {
		c, _ := e.Link(s).Counts(t.Context(), box.Up)
		t.Logf("%s %+v", s, c)
	}
	u, err := e.Node("branch-a-1").Usage(t.Context())
	t.Log(u, err)
}
