package node

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/discovery/site"
)

func (e *endpoint) siteID() string {
	e.t.Helper()
	st, err := e.node.API().Status(e.t.Context())
	if err != nil {
		e.t.Fatal(err)
	}
	return st.Site
}

// Members of a site that joined one after the other agree on their delegates, and
// whoever is elsewhere is none.
func TestMembersOfASiteAgreeOnTheirDelegates(t *testing.T) {
	t.Parallel()
	hq := start(t, Config{Name: "hq", Site: "hq"})
	var branch []*endpoint
	for _, name := range []string{"b1", "b2", "b3"} {
		branch = append(branch, hq.join(name, "branch"))
	}
	for _, e := range branch {
		for _, o := range branch { // there is no multicast here
			e.node.keeper.dial(t.Context(), peer.AddrInfo{ID: o.node.host.ID(), Addrs: o.node.host.Addrs()})
		}
	}
	until(t, patience, func() bool {
		return len(branch[0].node.site.Delegates()) == 3 && !slices.ContainsFunc(branch, func(e *endpoint) bool {
			return !slices.Equal(e.node.site.Delegates(), branch[0].node.site.Delegates()) || len(e.node.site.Members()) != 3
		})
	})
	if got := hq.node.site.Delegates(); len(got) != 1 || got[0] != hq.node.host.ID() {
		t.Errorf("delegates of hq: %v", got)
	}
	for _, e := range branch {
		if e.node.link(hq.node.host.ID()) != bandwidth.WAN || e.node.link(branch[0].node.host.ID()) != bandwidth.LAN {
			t.Errorf("%s takes the wrong nodes for neighbours", e.cfg.Name)
		}
	}
}

// Where a node is configured to be counts more than where it was invited to, and the
// others know.
func TestConfiguredSiteCountsMoreThanTheCredential(t *testing.T) {
	t.Parallel()
	hq := start(t, Config{Name: "hq", Site: "hq"})
	moved := hq.join("moved", "branch", func(c *Config) { c.Site = "hq" })
	if id := moved.siteID(); id != "hq" {
		t.Errorf("at site %q", id)
	}
	moved.meet(1)
	until(t, patience, func() bool {
		return hq.node.link(moved.node.host.ID()) == bandwidth.LAN && moved.node.link(hq.node.host.ID()) == bandwidth.LAN
	})
	until(t, patience, func() bool {
		m, ok := hq.node.site.Of(moved.node.host.ID())
		return ok && m.Name == "moved" && m.Free > 0
	})
	if p, ok := moved.node.API().Peers(t.Context()); ok != nil || len(p) != 1 || p[0].Site != "hq" || p[0].Link != "lan" {
		t.Errorf("%+v, %v", p, ok)
	}
}

func TestStateOfTheHostIsRead(t *testing.T) {
	dir := t.TempDir()
	supply := func(name, status, scope string) {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		for file, text := range map[string]string{"status": status, "scope": scope} {
			if err := os.WriteFile(filepath.Join(dir, name, file), []byte(text+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !onMains(filepath.Join(dir, "none")) {
		t.Error("without a battery a machine is on mains")
	}
	supply("BAT0", "Charging", "System")
	supply("mouse", "Discharging", "Device")
	if !onMains(dir) {
		t.Error("charging is on mains, whatever the mouse does")
	}
	supply("BAT0", "Discharging", "System")
	if onMains(dir) {
		t.Error("a battery is being emptied")
	}
	if err := os.MkdirAll(filepath.Join(dir, "lo", "wireless"), 0o755); err != nil {
		t.Fatal(err)
	}
	home := netip.MustParseAddr("127.0.0.1")
	if !onWire(filepath.Join(dir, "none"), home) || !onWire(dir, netip.Addr{}) {
		t.Error("what isn't known to be wireless is wired")
	}
	for _, p := range ownNetworks(nil) {
		if !p.IsValid() {
			t.Errorf("network %v", p)
		}
	}
	if got := ownNetworks(oneAddress{}); len(got) != 1 || got[0].String() != "10.1.2.3/24" {
		t.Errorf("networks %v", got)
	}
	if id, from := site.Resolve(site.Claims{Addrs: ownNetworks(oneAddress{})}); id != "10.1.2.0-24" || from != site.FromSubnet {
		t.Errorf("%s by %s", id, from)
	}
}
