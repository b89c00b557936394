package scenario

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// full says that the scenarios shall be as large as the goals ask. Seed makes
// the random choices of a run; a failing test prints it.
var (
	full = os.Getenv("P2PNODE_SCENARIO") == "full"
	seed = uint64(1)
)

func TestMain(m *testing.M) {
	if addr := os.Getenv(listenEnv); addr != "" {
		os.Exit(listenOnce(addr))
	}
	code := m.Run()
	if built.dir != "" {
		if err := os.RemoveAll(built.dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// The binary under test, built once for all tests.
var built struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// touch looks at every source file, so that the go command notes that these tests
// depend on them and doesn't answer from its cache after a change.
func touch(top string) error {
	return filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != top && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir
		}
		if err == nil && (strings.HasSuffix(path, ".go") || d.Name() == "go.mod") {
			_, err = os.Stat(path)
		}
		return err
	})
}

// lab returns a Lab that ends with the test.
func lab(t *testing.T) *Lab {
	t.Helper()
	built.once.Do(func() {
		if built.err = touch("../.."); built.err != nil {
			return
		}
		if built.dir, built.err = os.MkdirTemp("", "p2pnode-scenario-"); built.err == nil {
			built.path, built.err = Build(t.Context(), built.dir)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	l := New(built.path, t.TempDir())
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("seed %d\n%s", seed, l.Logs())
		}
	})
	return l
}

// within bounds a test that waits for processes.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeoutCause(t.Context(), d, fmt.Errorf("not within %v", d))
	t.Cleanup(cancel)
	return ctx
}

// must ends the test at the first error.
func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// loopback returns the flags of a node that nobody outside of the test meets:
// no multicast, and a port that stays the same when the node is restarted. No
// system gives away a port of this range by itself, to another test or as the
// near end of a connection, while the node doesn't run.
func loopback(t *testing.T) []string {
	t.Helper()
	for {
		addr := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))
		l, err := net.Listen("tcp4", addr)
		if err != nil {
			continue // somebody has it
		}
		must(t, l.Close())
		return []string{"--mdns", "off", "--listen", "/ip4/" + strings.Replace(addr, ":", "/tcp/", 1)}
	}
}

// sample makes a file in the lab's folder.
func sample(t *testing.T, l *Lab, size int64) string {
	t.Helper()
	path := filepath.Join(l.Dir, "sample.bin")
	must(t, Sample(path, size, seed))
	return path
}

// same fails the test unless two files or trees are alike to the last bit, mode
// and time.
func same(t *testing.T, got, want string) {
	t.Helper()
	g, err := Listing(got)
	must(t, err)
	w, err := Listing(want)
	must(t, err)
	if g != w {
		t.Fatalf("%s differs from %s:\n%s\nwant\n%s", got, want, head(g), head(w))
	}
}

func head(s string) string { return s[:min(len(s), 2000)] }
