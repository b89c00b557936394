package compose

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// engineThat puts a docker command in front of the machine's own that does what the
// script does. It returns what it has been asked so far.
func engineThat(t *testing.T, script string) func() string {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("not on windows: the engine of this test is a script")
	}
	dir := t.TempDir()
	asked := filepath.Join(dir, "asked")
	text := fmt.Sprintf("#!/bin/sh\necho \"$*\" >>%s\n%s\n", asked, script)
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("TMPDIR", t.TempDir())
	return func() string {
		text, err := os.ReadFile(asked)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return string(text)
	}
}

// standing returns an Enterprise of the default Setup, each node where it begins.
func standing() *Enterprise {
	e := &Enterprise{setup: Default(), project: Project, sites: map[string]place{}}
	for _, p := range e.setup.Plan.Places() {
		e.nodes = append(e.nodes, &node{e: e, name: p.Node, id: p.Node})
		e.sites[p.Node] = place{p.Site, p.Addr.Addr().String()}
	}
	return e
}

func TestAnEngineThatHangsIsNotWaitedFor(t *testing.T) {
	engineThat(t, "exec sleep 60")
	start := time.Now()
	_, err := engine(t.Context(), 50*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "doesn't answer within 50ms") {
		t.Errorf("%v; want that it doesn't answer", err)
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestDownWithoutDockerSaysWhatIsMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := Down(t.Context()); err == nil || !strings.Contains(err.Error(), "install Docker Engine") {
		t.Errorf("%v; want what to install", err)
	}
	engineThat(t, "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
	if _, err := Down(t.Context()); err == nil || !strings.Contains(err.Error(), "is it running") {
		t.Errorf("%v; want a question", err)
	}
}

// Whoever kills a node and hears nothing of an error takes it for dead.
func TestNodesOfAnEngineThatDoesNotAnswerAreNotStopped(t *testing.T) {
	engineThat(t, "echo no answer >&2; exit 1")
	n := standing().Node("branch-a-1")
	for what, do := range map[string]func(context.Context) error{"kill": n.Kill, "stop": n.Stop} {
		if err := do(t.Context()); err == nil || !strings.Contains(err.Error(), "no answer") {
			t.Errorf("%s: %v; want what docker said", what, err)
		}
	}
}

func TestAMoveThatFailsCanBeTriedAgain(t *testing.T) {
	for verb, after := range map[string]string{"disconnect": "branch-a", "connect": ""} {
		engineThat(t, fmt.Sprintf(`[ "$2" = %s ] && [ ! -e "$TMPDIR/tried" ] && { touch "$TMPDIR/tried"; exit 1; }; exit 0`, verb))
		n := standing().Node("branch-a-1")
		if err := n.Move(t.Context(), "branch-b"); err == nil || n.Site() != after {
			t.Errorf("%s failed: %v, and it is at %q, want %q", verb, err, n.Site(), after)
		}
		if err := n.Move(t.Context(), "branch-b"); err != nil || n.Site() != "branch-b" {
			t.Errorf("again: %v, and it is at %q", err, n.Site())
		}
	}
}

// What an Up finds here isn't its own to take away, whatever that is.
func TestUpLeavesAloneWhatItFinds(t *testing.T) {
	const nothing = `case "$1 $2" in "ps -a"|"network ls"|"volume ls") ;; *) echo 20.10;; esac`
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		name, script, want string
		other              bool
		port               int
	}{
		{name: "a testnet", script: `case "$1" in ps) echo "id|window|p2pnode-testnet|running|Up|{}";; *) echo 20.10;; esac`, want: "stands here already"},
		{name: "an ended one", script: `case "$1" in ps) echo "id|window|p2pnode-testnet|exited|Exited|{}";; *) echo 20.10;; esac`, want: "left behind"},
		{name: "a volume", script: `case "$1" in ps|network) ;; *) echo 20.10;; esac`, want: "left behind"},
		{name: "another up", script: nothing, want: "another `up`", other: true},
		{name: "the port taken", script: nothing, want: "choose another", port: taken.Addr().(*net.TCPAddr).Port},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked := engineThat(t, c.script)
			s := Default()
			s.Port = max(c.port, 1)
			folders := 0
			if c.other {
				_, release, err := claim(t.Context(), os.TempDir())
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = release() }()
				folders = 1
			}
			_, err := Up(t.Context(), s, t.Logf)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want %q", err, c.want)
			}
			if did := asked(); strings.Contains(did, " rm") || strings.Contains(did, "rm ") || strings.Contains(did, "build") {
				t.Errorf("it asked docker for\n%s", did)
			}
			if left, _ := filepath.Glob(filepath.Join(os.TempDir(), folder+"*")); len(left) != folders {
				t.Errorf("folders %v, want %d", left, folders)
			}
		})
	}
}

// A lock ends with its process, the folder that it is in does not.
func TestAnUpThatWasKilledIsInNobodysWay(t *testing.T) {
	parent := t.TempDir()
	dir, release, err := claim(t.Context(), parent)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := claim(t.Context(), parent); !errors.Is(err, errOther) {
		t.Errorf("a second one: %v, want %v", err, errOther)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, claimed), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, release, err = claim(t.Context(), parent); err != nil {
		t.Fatal(err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
}

// Verify may run as often as one likes: disks don't fill with its copies.
func TestVerifyKeepsOneCopy(t *testing.T) {
	asked := engineThat(t, `case "$*" in *digest*) echo right;; *) echo '{}';; esac`)
	e := standing()
	copies := map[string]bool{}
	for _, content := range []string{"bafyreib-the-first", "bafyreib-another"} {
		v := &verification{e: e, content: content, digest: "right"}
		if _, err := v.fetch(t.Context(), e.Node("branch-a-1")); err != nil {
			t.Fatal(err)
		}
	}
	for line := range strings.Lines(asked()) {
		words := strings.Fields(line)
		for i, w := range words {
			if w == "-o" {
				copies[words[i+1]] = true
			}
		}
		if strings.Contains(line, " get ") && !strings.Contains(line, "--overwrite") {
			t.Errorf("%q fails where a copy is", line)
		}
	}
	if len(copies) != 1 {
		t.Errorf("copies %v, want one", copies)
	}
}
