// Package boxtest is the suite that every kind of enterprise in a box passes: what
// package box promises, done once to each of its parts.
package boxtest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

// A Kind is one way to make an enterprise.
type Kind struct {
	// Up returns an enterprise of the plan in which every node is ready. The suite
	// closes it.
	Up func(t *testing.T, plan box.Plan) box.Enterprise

	// Left returns what can be seen of enterprises of this kind that this test
	// made: namespaces or containers, networks, processes, mounts, files, a line
	// each.
	Left func(t *testing.T) []string
}

const (
	mib = 1 << 20

	// patience bounds each wait for something that comes by itself. Nodes find
	// each other again within seconds on a quiet machine.
	patience = 90 * time.Second
	// silence is how long it takes to believe that no answer comes.
	silence = 3 * time.Second
)

// Plan is what the suite asks for.
func Plan() box.Plan {
	link := wan.Settings{Delay: 5 * time.Millisecond}
	return box.Plan{Branches: 2, Peers: 2, Up: link, Down: link, Disk: 192 * mib, Seed: 1}
}

// Run holds a kind of enterprise to what package box promises.
func Run(t *testing.T, k Kind) {
	e := k.Up(t, Plan())
	defer func() {
		if t.Failed() {
			t.Log(e.Logs())
		}
		for range 2 {
			if err := e.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		}
		for _, line := range k.Left(t) {
			t.Errorf("left behind: %s", line)
		}
	}()
	for _, promise := range []struct {
		name string
		hold func(t *testing.T, e box.Enterprise)
	}{
		{"EverythingOfThePlanIsThere", everythingIsThere},
		{"SitesSeeTheirOwn", sitesSeeTheirOwn},
		{"ContentArrives", contentArrives},
		{"ToolRunsOnTheMachine", toolRunsOnTheMachine},
		{"LinkIsCutAndHealed", linkIsCutAndHealed},
		{"NodeIsFrozenAndThawed", nodeIsFrozen},
		{"NodeIsKilledAndStarted", nodeIsKilled},
		{"NodeIsStoppedAndStarted", nodeIsStopped},
		{"CableIsPulled", cableIsPulled},
		{"MachineIsMoved", machineIsMoved},
		{"DiskIsFilled", diskIsFilled},
		{"UsageIsTold", usageIsTold},
	} {
		if !t.Run(promise.name, func(t *testing.T) { promise.hold(t, e) }) {
			return // each begins with what the one before it left
		}
	}
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

// within bounds a part of a test.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeoutCause(t.Context(), d, fmt.Errorf("not within %v", d))
	t.Cleanup(cancel)
	return ctx
}

// eventually asks until the answer is nil.
func eventually(t *testing.T, what string, ask func(ctx context.Context) error) {
	t.Helper()
	ctx := within(t, patience)
	begun := time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := once(ctx, ask)
		if err == nil {
			t.Logf("%s: after %v", what, time.Since(begun).Round(10*time.Millisecond))
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: %v; the last answer: %v", what, context.Cause(ctx), err)
		}
	}
}

// once asks with little patience: an answer that got lost must not take it all.
func once(ctx context.Context, ask func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	return ask(ctx)
}

// client returns a client of a node that ends with the test.
func client(t *testing.T, n box.Node) *api.Client {
	t.Helper()
	c, err := n.Client()
	must(t, err)
	t.Cleanup(c.Close)
	return c
}

// reach has one node ping another.
func reach(from *api.Client, to string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := from.Ping(ctx, to)
		return err
	}
}

// silent fails the test if there is an answer.
func silent(t *testing.T, what string, ask func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), silence)
	defer cancel()
	if err := ask(ctx); err == nil {
		t.Fatalf("%s: there is an answer", what)
	}
}

var errNot = errors.New("not yet")
