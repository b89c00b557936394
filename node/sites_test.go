package node

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/node/carry"
)

// A node tells who is at its site and what they say of themselves, and of other sites
// whom it is connected to.
func TestSitesAreShown(t *testing.T) {
	t.Parallel()
	hq := start(t, Config{Name: "hq", Site: "hq"})
	a, b := hq.join("b1", "branch"), hq.join("b2", "branch")
	a.meet(1)
	a.node.keeper.dial(t.Context(), peer.AddrInfo{ID: b.node.host.ID(), Addrs: b.node.host.Addrs()})
	show := func(id string) api.SiteDetail {
		t.Helper()
		s, err := a.node.API().Site(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	until(t, patience, func() bool {
		s := show("")
		return len(s.Delegates) == 2 && len(s.Members) == 2 && s.Members[1].Report != nil
	})
	own := show("")
	if m := own.Members; !own.Own || own.Site != "branch" || own.From != "credential" ||
		m[0].Name != "b1" || !m[0].Self || !m[0].Delegate || m[0].Report == nil ||
		m[1].Name != "b2" || m[1].Self || !m[1].Delegate || m[1].Report.Free == 0 || !m[1].Report.Mains || m[1].Since.IsZero() {
		t.Errorf("%+v", own)
	}
	if named := show("branch"); !named.Own || len(named.Members) != 2 {
		t.Errorf("by its name: %+v", named)
	}
	if far := show("hq"); far.Own || far.From != "" || len(far.Members) != 1 || far.Members[0].Name != "hq" || far.Members[0].Delegate || far.Members[0].Report != nil || len(far.Delegates) != 0 {
		t.Errorf("another site: %+v", far)
	}
	if _, err := a.node.API().Site(t.Context(), "nowhere"); api.From(err).Code != api.NotFound || api.From(err).Next == "" {
		t.Errorf("a site of nobody: %v", err)
	}
	all, err := a.node.API().Sites(t.Context())
	if err != nil || len(all) != 2 || all[0].Site != "branch" || !all[0].Own || all[0].Link != "lan" || all[0].Nodes != 2 || !slices.Equal(all[0].Names, []string{"b1", "b2"}) ||
		all[1].Site != "hq" || all[1].Own || all[1].Link != "wan" || all[1].Nodes != 1 {
		t.Errorf("%+v, %v", all, err)
	}
}

// What a site fetches is shown by who plans it, with who carries.
func TestUnderwayIsShown(t *testing.T) {
	t.Parallel()
	a := start(t, Config{Name: "hq", Site: "hq"})
	id := "bafyreib2rxk3rybk3aobmv5cjuql3bm2twh4jo5uxgf5kpqcsgz7soitae"
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	out := filepath.Join(t.TempDir(), "out")
	go func() {
		defer close(ended)
		_, _ = a.node.API().Get(ctx, api.GetRequest{Ref: id, Output: out}, nil)
	}()
	underway := func() []api.Carrying {
		s, err := a.node.API().Site(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		return s.Underway
	}
	until(t, patience, func() bool { u := underway(); return len(u) == 1 && u[0].Planned })
	if u := underway()[0]; u.Content != id || u.Planner != a.node.host.ID().String() || u.Members != 1 {
		t.Errorf("%+v", u)
	}
	cancel()
	<-ended
	until(t, patience, func() bool { return len(underway()) == 0 })

	got := local{a.node}.plannedHere(carry.State{Chunks: 9, Here: 2, Members: 3, Carriers: map[peer.ID]int{a.node.host.ID(): 4, "other": 5}})
	if c := got.Carriers; len(c) != 2 || c[0].Chunks != 5 || c[1].Name != "hq" || c[1].Chunks != 4 || got.Chunks != 9 || got.Here != 2 || got.Members != 3 {
		t.Errorf("%+v", got)
	}
}
