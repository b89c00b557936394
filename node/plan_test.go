package node

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/p2pnode/p2pnode/node/api"
)

// Where the WAN is a star, a branch asks the publisher and no other branch; where
// only HTTP servers may be asked, it asks nobody for bytes.
func TestPolicySaysWhomToAskAtOtherSites(t *testing.T) {
	t.Parallel()
	hq := start(t, Config{Name: "hq", Site: "hq"})
	hub, star := hq.join("till-1", "berlin"), hq.join("till-2", "bonn")
	hub.node.cfg.WAN, star.node.cfg.WAN = WANHub, WANHub
	none := hq.join("till-3", "kiel")
	none.node.cfg.WAN = WANOrigin
	added := hq.add(api.AddRequest{Paths: []string{sample(t, filepath.Join(t.TempDir(), "a.bin"), 3<<20, 1)}, Name: "a"})
	out := t.TempDir()
	if got := hub.get("a", filepath.Join(out, "1")); got.From.WAN != got.Size {
		t.Errorf("from the hub: %+v", got.From)
	}
	get := func(to *endpoint, d time.Duration) error {
		_, err := to.node.API().Get(t.Context(), api.GetRequest{Ref: added.Content, Output: filepath.Join(out, to.cfg.Name), Timeout: api.Seconds(d)}, nil)
		return err
	}
	missing := func(err error) bool {
		return err != nil && (api.From(err).Code == api.TimedOut || api.From(err).Code == api.NotFound)
	}
	if err := get(none, time.Second); !missing(err) {
		t.Errorf("without a server: %v", err)
	}
	star.meet(2) // the publisher and the branch that has it
	hq.stop()
	if err := get(star, time.Second); !missing(err) {
		t.Errorf("without the hub: %v", err)
	}
	star.node.cfg.WAN = WANMesh
	if err := get(star, 10*time.Second); err != nil {
		t.Errorf("from another branch: %v", err)
	}
}
