//go:build netns && linux

package spaces

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/box/boxtest"
	"github.com/p2pnode/p2pnode/testnet/scenario"
)

// Who asks for the tag netns has to be root: these tests don't skip.

// built are the programs under test, for all tests.
var built struct{ dir, p2pnode, testnet string }

func TestMain(m *testing.M) {
	if err := Alone(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if dir := os.Getenv(killedEnv); dir != "" {
		fmt.Fprintln(os.Stderr, runUntilKilled(dir))
		os.Exit(1)
	}
	os.Exit(test(m))
}

func test(m *testing.M) (code int) {
	if err := build(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(built.dir)
	return m.Run()
}

func build(ctx context.Context) (err error) {
	if built.dir, err = os.MkdirTemp("", "spaces-"); err != nil {
		return err
	}
	if built.p2pnode, err = scenario.Build(ctx, built.dir); err != nil {
		return err
	}
	built.testnet, err = scenario.BuildTestnet(ctx, built.dir)
	return err
}

// made returns an enterprise of which nothing runs yet.
func made(t *testing.T, plan box.Plan, dir string) *Enterprise {
	t.Helper()
	e, err := New(t.Context(), plan, Config{Binary: built.p2pnode, Program: built.testnet, Router: built.testnet, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestNetSuite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "box")
	boxtest.Run(t, boxtest.Kind{
		Up: func(t *testing.T, plan box.Plan) box.Enterprise {
			e := made(t, plan, dir)
			if err := e.Start(t.Context()); err != nil {
				t.Fatal(errors.Join(err, e.Close()))
			}
			return e
		},
		Left: func(t *testing.T) []string { return left(t, dir) },
	})
}

// left returns what is there of enterprises that this process made in dir.
func left(t *testing.T, dir string) (all []string) {
	t.Helper()
	all = append(all, namespaces(t, os.Getpid())...)
	all = append(all, mounts(t, dir)...)
	all = append(all, processes(t, dir)...)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, "file "+e.Name())
	}
	return all
}

// namespaces returns those whose names carry a process id.
func namespaces(t *testing.T, pid int) (all []string) {
	t.Helper()
	entries, err := os.ReadDir("/run/netns")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), fmt.Sprintf("p2pnode-%d-", pid)) {
			all = append(all, "namespace "+e.Name())
		}
	}
	return all
}

func mounts(t *testing.T, dir string) (all []string) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, dir) {
			all = append(all, "mount "+line)
		}
	}
	return all
}

// processes returns those that were told of a folder.
func processes(t *testing.T, dir string) (all []string) {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range found {
		// One may end meanwhile.
		if text, err := os.ReadFile(p); err == nil && strings.Contains(string(text), dir) {
			all = append(all, "process "+strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
	return all
}
