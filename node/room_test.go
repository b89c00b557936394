package node

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/p2pnode/p2pnode/node/api"
)

// What doesn't fit is refused before it is read; what may go makes room, and is
// known no more.
func TestQuotaHoldsForWhatIsPublished(t *testing.T) {
	t.Parallel()
	hq := start(t, Config{Name: "hq", CacheQuota: 3 << 20})
	dir := t.TempDir()
	one := sample(t, filepath.Join(dir, "one"), 2<<20, 1)
	two := sample(t, filepath.Join(dir, "two"), 2<<20, 2)
	first := hq.add(api.AddRequest{Paths: []string{one}, Name: "one"})
	_, err := hq.node.API().Add(t.Context(), api.AddRequest{Paths: []string{two}, Name: "two"}, func(p api.Progress) {
		t.Errorf("%+v of what was refused", p)
	})
	e := api.From(err)
	if err == nil || e.Code != api.NoSpace || !strings.Contains(e.Message, "1 pinned (2.0 MiB)") || !strings.Contains(e.Next, "unpin") {
		t.Fatalf("%+v", e)
	}
	if c, err := hq.node.API().Pin(t.Context(), "one", false); err != nil || c.Pinned || c.ID != first.Content {
		t.Fatalf("%+v, %v", c, err)
	}
	hq.add(api.AddRequest{Paths: []string{two}, Name: "two"})
	if _, err := hq.node.API().Content(t.Context(), "one"); api.From(err).Code != api.NotFound {
		t.Errorf("evicted, and still known: %v", err)
	}
	all, err := hq.node.API().Contents(t.Context())
	if err != nil || len(all) != 1 || !all[0].Pinned {
		t.Errorf("%+v, %v", all, err)
	}
}

// Under a quota that doesn't take two versions the next one still costs no more than
// what is new in it.
func TestNextVersionUnderQuotaBringsTheDifference(t *testing.T) {
	t.Parallel()
	const size = 16 << 20
	hq := start(t, Config{Name: "hq", Site: "hq"})
	dir := t.TempDir()
	till := hq.join("till", "branch", func(c *Config) { c.CacheQuota = size * 13 / 10 })
	till.meet(1)
	old := sample(t, filepath.Join(dir, "image"), size, 31)
	hq.add(api.AddRequest{Paths: []string{old}, Name: "image", Version: "1"})
	till.get("image@1", filepath.Join(dir, "v1"))

	next := nextVersion(t, old, 8, 32) // 5 % of it
	added := hq.add(api.AddRequest{Paths: []string{next}, Name: "image", Version: "2"})
	res := till.get("image@2", filepath.Join(dir, "v2"))
	sameFile(t, next, filepath.Join(dir, "v2"))
	if res.From.Total() != added.New || added.New > size/8 {
		t.Errorf("%d bytes are new, %d were fetched, of %d", added.New, res.From.Total(), res.Size)
	}
	all, err := till.node.API().Contents(t.Context())
	if err != nil || len(all) != 1 || all[0].ID != added.Content {
		t.Errorf("%+v, %v", all, err)
	}
	if c, err := till.node.API().Cache(t.Context()); err != nil || c.Used > c.Quota || c.Reserved != 0 {
		t.Errorf("%+v, %v", c, err)
	}
}
