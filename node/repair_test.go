package node

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/node/api"
)

// damage changes bytes in the middle of a content's only file in a node's store.
func damage(t *testing.T, e *endpoint, id, name string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(e.cfg.Data, "store", "content", id, "files", name), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("rotten"), 2_000_000); err != nil {
		t.Fatal(err)
	}
}

// What went bad on a disk comes again from the others: before it is given to a
// user, and by itself.
func TestDamageIsFetchedAgain(t *testing.T) {
	t.Parallel()
	a := start(t, Config{Name: "hq", Site: "hq"})
	b := a.join("till-1", "hq")
	b.meet(1)
	src := sample(t, filepath.Join(t.TempDir(), "app.bin"), 5<<20, 1)
	added := a.add(api.AddRequest{Paths: []string{src}, Name: "app"})
	out := t.TempDir()
	b.get("app", filepath.Join(out, "one"))

	b.stop()
	damage(t, b, added.Content, "app.bin")
	b.run()
	t.Cleanup(b.stop)
	b.meet(1)
	b.get("app", filepath.Join(out, "two"))
	sameFile(t, src, filepath.Join(out, "two"))
	if s := b.node.store.Stats(); s.Damaged.Load() == 0 || s.Healed.Load() != s.Damaged.Load() {
		t.Errorf("%d damaged, %d healed", s.Damaged.Load(), s.Healed.Load())
	}

	damage(t, b, added.Content, "app.bin")
	r, err := b.node.API().Verify(t.Context(), "app", nil)
	if err != nil || r.BadCount == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	until(t, patience, func() bool {
		c, err := b.node.API().Content(t.Context(), "app")
		return err == nil && c.Complete && !c.Damaged
	})
	if r, err := b.node.API().Verify(t.Context(), "app", nil); err != nil || r.BadCount > 0 {
		t.Errorf("after it was fetched again: %+v, %v", r, err)
	}
}

// What is here without a release that counts comes again by its id, with a release
// that others have; while they have none either, it stays away.
func TestDamageWithoutReleaseIsFetchedAgain(t *testing.T) {
	t.Parallel()
	a := start(t, Config{Name: "hq", Site: "hq"})
	b := a.join("till-1", "hq")
	b.meet(1)
	src := sample(t, filepath.Join(t.TempDir(), "app.bin"), 5<<20, 1)
	added := a.add(api.AddRequest{Paths: []string{src}, Name: "app"})
	b.get("app", filepath.Join(t.TempDir(), "one"))
	id := mustID(t, added.Content)
	b.cfg.FirstSource = 2 * time.Second // of the next start
	for _, e := range []*endpoint{a, b} {
		e.stop()
		if err := os.Remove(filepath.Join(e.cfg.Data, "store", "content", added.Content, "releases")); err != nil {
			t.Fatal(err)
		}
		e.run()
		t.Cleanup(e.stop)
	}
	if err := b.node.host.Connect(t.Context(), peer.AddrInfo{ID: a.node.host.ID(), Addrs: a.node.host.Addrs()}); err != nil {
		t.Fatal(err)
	}
	damage(t, b, added.Content, "app.bin")
	if r, err := b.node.API().Verify(t.Context(), added.Content, nil); err != nil || r.BadCount == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if done := b.node.repairOne(t.Context(), id); done {
		t.Error("given up where no release is known")
	}
	if c, ok := b.node.store.Get(id); !ok || !c.Damaged() {
		t.Error("fetched again without a release")
	}
	a.add(api.AddRequest{Paths: []string{src}, Name: "app", Version: "2"}) // signed again
	until(t, patience, func() bool { return b.node.repairOne(t.Context(), id) })
	if r, err := b.node.API().Verify(t.Context(), added.Content, nil); err != nil || r.BadCount > 0 {
		t.Errorf("after it was fetched again: %+v, %v", r, err)
	}
}
