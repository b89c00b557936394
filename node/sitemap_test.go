package node

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/p2pnode/p2pnode/node/api"
)

func (e *endpoint) signSites(text string) api.SiteMap {
	e.t.Helper()
	m, err := e.node.API().SignSites(e.t.Context(), api.SignSitesRequest{Text: text})
	if err != nil {
		e.t.Fatal(err)
	}
	return m
}

// warned returns what the status warns of about the map of sites.
func (e *endpoint) warned() string {
	e.t.Helper()
	st, err := e.node.API().Status(e.t.Context())
	if err != nil {
		e.t.Fatal(err)
	}
	for _, w := range st.Warnings {
		if w.Code == "site-map" {
			return w.Message + " -> " + w.Next
		}
	}
	return ""
}

// A file with a signed map holds for every node of the enterprise. What is no such file
// is told, and what was known before goes on.
func TestMapOfSitesComesAsAFile(t *testing.T) {
	t.Parallel()
	hq := start(t, Config{Name: "hq", Site: "hq"})
	file := filepath.Join(t.TempDir(), "sites.signed")
	till := hq.join("till", "branch", func(c *Config) { c.Site, c.SitesFile = "", file })
	if w := till.warned(); !strings.Contains(w, "no such file") || !strings.Contains(w, "Put the file there") {
		t.Errorf("without a file: %q", w)
	}
	if id := till.siteID(); id != "branch" {
		t.Errorf("without a map at %q", id)
	}

	m := hq.signSites("# all\n10.0.0.0/8 berlin\n10.1.0.0/16 paris\n")
	if m.Networks != 2 || strings.Join(m.Sites, " ") != "berlin paris" || strings.Join(m.Signers, " ") != "hq" {
		t.Errorf("signed: %+v", m)
	}
	write := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(file, b, 0o644); err != nil {
			t.Fatal(err)
		}
		till.node.loadSites()
	}
	write(m.Envelope)
	if w := till.warned(); w != "" {
		t.Errorf("with the file: %q", w)
	}
	known := func() string {
		got, _, err := openSites(till.node.identity, m.Envelope)
		if err != nil {
			t.Fatal(err)
		}
		id, _ := got.Of([]netip.Prefix{netip.MustParsePrefix("10.1.2.3/24")})
		return id
	}
	if id := known(); id != "paris" {
		t.Errorf("10.1.2.3 is at %q", id)
	}

	// The file as it was isn't read again; one that somebody changed is told.
	if _, changed, err := till.node.sites.read(file, till.node.identity); changed || err != nil {
		t.Errorf("unchanged: %t, %v", changed, err)
	}
	// One that couldn't be used is tried again as it is, and told once.
	other, f := start(t, Config{Name: "other", Site: "hq"}), &sitesFile{}
	for i, who := range []*endpoint{other, other, till, till} {
		got, changed, err := f.read(file, who.node.identity)
		if changed != (i == 0 || i == 2) || (err == nil) != (i > 1) || (got.Len() > 0) != (i == 2) {
			t.Errorf("read %d: %d networks, %t, %v", i, got.Len(), changed, err)
		}
	}
	bad := append([]byte{}, m.Envelope...)
	bad[len(bad)-1] ^= 1
	write(append(bad, 0))
	if w := till.warned(); !strings.Contains(w, "not a valid signed envelope") || !strings.Contains(w, "site map sign") {
		t.Errorf("damaged: %q", w)
	}
	write([]byte("10.0.0.0/8 berlin\n"))
	if w := till.warned(); !strings.Contains(w, "nobody signed it") {
		t.Errorf("unsigned: %q", w)
	}
	write(m.Envelope)
	if w := till.warned(); w != "" {
		t.Errorf("mended: %q", w)
	}
}

// Only an operator may sign a map, and only of this enterprise; what is no map isn't signed.
func TestMapOfSitesIsAnOperators(t *testing.T) {
	t.Parallel()
	hq := start(t, Config{Name: "hq", Site: "hq"})
	till := hq.join("till", "branch")
	if _, err := till.node.API().SignSites(t.Context(), api.SignSitesRequest{Text: "10.0.0.0/8 berlin"}); api.From(err).Code != api.NotPermitted {
		t.Errorf("a member signed: %v", err)
	}
	for text, want := range map[string]string{"": "no network", "10.0.0.1/8 berlin": "line 1", "10.0.0.0/8 berlin\n10.0.0.0/8 paris": "stands in line 1 already"} {
		if _, err := hq.node.API().SignSites(t.Context(), api.SignSitesRequest{Text: text}); api.From(err).Code != api.Usage || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	forged, err := till.node.identity.Sign(sitesType, []byte("10.0.0.0/8 berlin"))
	if err != nil {
		t.Fatal(err)
	}
	other := start(t, Config{Name: "other", Site: "hq"})
	for who, envelope := range map[string][]byte{"a member": forged, "a stranger": other.signSites("10.0.0.0/8 berlin").Envelope} {
		if _, err := hq.node.API().CheckSites(t.Context(), api.CheckSitesRequest{Envelope: envelope}); api.From(err).Code != api.Usage {
			t.Errorf("that of %s: %v", who, err)
		}
	}
	if m, err := till.node.API().CheckSites(t.Context(), api.CheckSitesRequest{Envelope: hq.signSites("10.0.0.0/8 berlin").Envelope}); err != nil || m.Networks != 1 {
		t.Errorf("hq's: %+v, %v", m, err)
	}
}
