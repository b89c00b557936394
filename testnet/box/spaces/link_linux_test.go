package spaces

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/p2pnode/p2pnode/testnet/wan"
)

// soon is far more than these scripts take, and far less than what bounds routers.
const soon = 10 * time.Second

// scripted starts a shell script in the place of a router.
func scripted(t *testing.T, ctx context.Context, script string) (*router, string, error) {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r, err := newRouter(ctx, nil, Config{Router: program, Dir: dir}, "hq", 0, 1, [2]wan.Settings{})
	return r, dir, err
}

// ended waits until a router's process has ended by itself.
func ended(t *testing.T, r *router) {
	t.Helper()
	for deadline := time.Now().Add(soon); ; time.Sleep(time.Millisecond) {
		const zombie = 'Z'
		if state, err := stateOf(r.process.Process.Pid); err != nil || state == zombie {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("its process runs")
		}
	}
}

func TestRouterRunsUntilItIsClosed(t *testing.T) {
	r, _, err := scripted(t, t.Context(), `trap 'exit 0' TERM; touch "$5"; echo runs; while :; do sleep 0.01; done`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(r.socket); err != nil {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(r.socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its socket is there: %v", err)
	}
}

// One that was interrupted together with this process has ended already.
func TestRouterMayEndBeforeItIsClosed(t *testing.T) {
	r, _, err := scripted(t, t.Context(), "echo runs")
	if err != nil {
		t.Fatal(err)
	}
	ended(t, r)
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestRouterThatFailsIsTold(t *testing.T) {
	if _, _, err := scripted(t, t.Context(), "echo broken >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("at its start: %v", err)
	}
	r, _, err := scripted(t, t.Context(), "echo runs; echo broken >&2; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	ended(t, r)
	if err := r.Close(); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("at its end: %v", err)
	}
}

// A router that never says that it runs is not waited for without end: one that is
// silent until its time is over, one that writes no line at once.
func TestRouterHasToSayThatItRuns(t *testing.T) {
	over := errors.New("over")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, over)
	defer cancel()
	if _, _, err := scripted(t, ctx, "exec sleep 60"); !errors.Is(err, over) {
		t.Errorf("silent: %v", err)
	}
	begun := time.Now()
	if _, _, err := scripted(t, t.Context(), `i=0; while [ $i -lt 20000 ]; do i=$((i+1)); printf 12345678; done; exec sleep 60`); err == nil || time.Since(begun) > soon {
		t.Errorf("without a line: %v after %v", err, time.Since(begun))
	}
}

// A router that doesn't end when it is asked to is killed, and told of.
func TestRouterThatDoesNotEndIsKilled(t *testing.T) {
	r, _, err := scripted(t, t.Context(), `trap '' TERM; echo runs; while :; do sleep 0.01; done`)
	if err != nil {
		t.Fatal(err)
	}
	r.process.WaitDelay = 50 * time.Millisecond
	closed := make(chan error, 1)
	go func() { closed <- r.Close() }()
	select {
	case err := <-closed:
		if err == nil {
			t.Error("it passes for one that ended well")
		}
	case <-time.After(soon):
		t.Fatal("it is waited for", r.process.Process.Kill())
	}
}

// Where no socket can be, the way out is told, and nothing is left.
func TestRouterSaysThatFoldersAreTooLong(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("long", 25))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", long)
	_, err := newRouter(t.Context(), nil, Config{Router: "false", Dir: long}, "hq", 0, 1, [2]wan.Settings{})
	if err == nil || !strings.Contains(err.Error(), "TMPDIR") {
		t.Error(err)
	}
	if left, err := os.ReadDir(long); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
