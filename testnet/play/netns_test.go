//go:build netns && linux

package play

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/p2pnode/p2pnode/testnet/box/spaces"
	"github.com/p2pnode/p2pnode/testnet/scenario"
)

// The real thing, small: what Tools do on the machines, and that a killed member's get
// is asked again.
func TestNetPlaysWithRealNodes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "tn-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}()
	binary, err := scenario.Build(ctx, dir, "CGO_ENABLED=0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := Parse("small", `branches 1, peers 2
link up rate=20mbit delay=5ms
link down rate=20mbit delay=5ms
content v1 4MiB
content v2 from v1 5% changed
at 0s publish v1
at 0s get v1 at all
when v1 20% at branch-a-1 kill branch-a-1
after 1s start branch-a-1
when v1 done at all publish v2
after 0s get v2 at all
level correct = all
level wrong = 0
level done v1 >= 1 x wire
level copies v1 >= 1
level payload v2 at branch-a <= 0.6
level uplink >= 0.5
level rss >= 1MiB
`)
	if err != nil {
		t.Fatal(err)
	}
	e, err := spaces.New(ctx, s.Plan(1), spaces.Config{Binary: binary, Dir: filepath.Join(dir, "e")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	tools := NewTools(s.Plan(1))
	defer tools.Close()
	r, err := Run(ctx, Config{Scenario: s, Enterprise: e, Hands: tools, Seed: 1, Say: func(at time.Duration, text string) { t.Log(at, text) }})
	if err != nil {
		t.Fatalf("%v\n%s", err, e.Logs())
	}
	v := Judge(s, r, true)
	mustHold(t, r, v)
	if t.Failed() {
		t.Log(e.Logs())
	}
	if len(r.Gets) != 4 || r.Gets[0].Again != 1 {
		t.Errorf("gets: %+v", r.Gets)
	}
	if text := Draw(s, r).SVG(); len(text) < 1000 {
		t.Errorf("the picture is %q", text)
	}
}
