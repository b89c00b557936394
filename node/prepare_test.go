package node

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/node/trust"
)

// Looking at this disk may take longer than nobody may be found: the search only
// begins after it.
func TestPreparingDoesNotCostPatience(t *testing.T) {
	t.Parallel()
	line := newTap(1 << 30)
	hq := start(t, Config{Name: "hq", Site: "hq", Listen: localhost[:1], Line: func(trust.Credential) trust.Line { return line }})
	branch := hq.join("branch", "hq", func(c *Config) { c.FirstSource = 2 * time.Second })
	branch.meet(1)
	dir := t.TempDir()
	hq.add(api.AddRequest{Paths: []string{sample(t, filepath.Join(dir, "small"), 1000, 1)}, Name: "small"})
	added := hq.add(api.AddRequest{Paths: []string{sample(t, filepath.Join(dir, "large"), 24<<20, 2)}, Name: "large"})
	branch.get("small", filepath.Join(dir, "other")) // something to look into

	// What a get leaves that was called off early: the manifest, and a release.
	id := mustID(t, added.Content)
	c, _ := hq.node.store.Get(id)
	if _, err := branch.node.store.Begin(c.Encoded()); err != nil {
		t.Fatal(err)
	}
	for _, r := range hq.node.catalogue.of(id) {
		branch.node.catalogue.add(r)
	}

	line.turn(1) // its block lists don't come until it is turned up
	done := make(chan error, 1)
	began := time.Now()
	go func() {
		_, err := branch.node.API().Get(t.Context(), api.GetRequest{Ref: added.Content, Output: filepath.Join(dir, "copy")}, nil)
		done <- err
	}()
	until(t, patience, func() bool { return len(branch.node.fetches.all()) == 1 })
	until(t, patience, func() bool { return time.Since(began) > branch.cfg.FirstSource })
	if _, flows := branch.node.fetches.all()[0].flowStatus(); flows && time.Since(began) < listsPatience {
		t.Fatal("it took too short to show anything")
	}
	line.turn(1 << 30)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
