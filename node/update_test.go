package node

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/node/api"
)

// Versions of a content, and copies that take no room of their own.

// nextVersion writes a file that differs from another by an insertion near its
// start and some overwritten places, and returns its name.
func nextVersion(t *testing.T, old string, places int, seed uint64) string {
	t.Helper()
	data, err := os.ReadFile(old)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.NewChaCha8([32]byte{byte(seed)})
	insert := make([]byte, 100_013)
	_, _ = random.Read(insert)
	data = append(append(append([]byte(nil), data[:5000]...), insert...), data[5000:]...)
	r := rand.New(random)
	for range places {
		_, _ = random.Read(data[r.IntN(len(data)-64<<10):][:64<<10])
	}
	path := filepath.Join(t.TempDir(), filepath.Base(old))
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestNextVersionBringsTheDifference(t *testing.T) {
	t.Parallel()
	hq := start(t, Config{Name: "hq", Site: "hq"})
	till := hq.join("till", "branch")
	till.meet(1)
	old := sample(t, filepath.Join(t.TempDir(), "image"), 16<<20, 21)
	hq.add(api.AddRequest{Paths: []string{old}, Name: "image", Version: "1"})
	dir := t.TempDir()
	till.get("image@1", filepath.Join(dir, "v1"))

	next := nextVersion(t, old, 4, 22)
	added := hq.add(api.AddRequest{Paths: []string{next}, Name: "image", Version: "2"})
	if added.New > 2<<20 {
		t.Errorf("%d bytes are new to the publisher", added.New)
	}
	res := till.get("image@2", filepath.Join(dir, "v2"))
	sameFile(t, next, filepath.Join(dir, "v2"))
	if res.Local+res.From.Total() != res.Size || res.From.Total() > 2<<20 || res.Here != 0 {
		t.Errorf("from this disk %d, fetched %d, here before %d, of %d", res.Local, res.From.Total(), res.Here, res.Size)
	}
	if res.From.Total() != added.New {
		t.Errorf("%d bytes are new and %d were fetched", added.New, res.From.Total())
	}
}

// Who never had the old version from us, but has it installed.
func TestSeedsSaveFetching(t *testing.T) {
	t.Parallel()
	hq := start(t, Config{Name: "hq", Site: "hq"})
	old := sample(t, filepath.Join(t.TempDir(), "image"), 16<<20, 23)
	till := hq.join("till", "branch")
	till.meet(1)
	next := nextVersion(t, old, 4, 24)
	hq.add(api.AddRequest{Paths: []string{next}, Name: "image", Version: "2"})
	out := filepath.Join(t.TempDir(), "v2")
	res, err := till.node.API().Get(t.Context(), api.GetRequest{Ref: "image@2", Output: out, Seeds: []string{old}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	sameFile(t, next, out)
	if res.Local+res.From.Total() != res.Size || res.From.Total() > 2<<20 {
		t.Errorf("from the seed %d, fetched %d, of %d", res.Local, res.From.Total(), res.Size)
	}
}

func TestGetMoves(t *testing.T) {
	t.Parallel()
	hq := start(t, Config{Name: "hq", Site: "hq"})
	till := hq.join("till", "branch")
	till.meet(1)
	file := sample(t, filepath.Join(t.TempDir(), "image"), 3<<20, 25)
	added := hq.add(api.AddRequest{Paths: []string{file}, Name: "image", Version: "1"})
	out := filepath.Join(t.TempDir(), "image")
	res, err := till.node.API().Get(t.Context(), api.GetRequest{Ref: "image", Output: out, Move: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	sameFile(t, file, out)
	if !res.Moved || res.From.Total() != res.Size {
		t.Errorf("moved: %v; %+v", res.Moved, res.From)
	}
	if _, err := till.node.API().Content(t.Context(), added.Content); !errors.Is(err, &api.Error{Code: api.NotFound}) {
		t.Errorf("the node still has it: %v", err)
	}
	if _, err := till.node.API().Get(t.Context(), api.GetRequest{Ref: "image", Output: out, Move: true, Link: true}, nil); !errors.Is(err, &api.Error{Code: api.Usage}) {
		t.Errorf("moved and linked: %v", err)
	}
	// What is published here, or pinned by somebody, is not handed over by the way.
	_, err = hq.node.API().Get(t.Context(), api.GetRequest{Ref: "image", Output: out + "-too", Move: true}, nil)
	if err == nil || api.From(err).Code != api.Usage || !strings.Contains(api.From(err).Next, "unpin "+added.Content) {
		t.Errorf("what is pinned was moved: %v", err)
	}
	if d := mustContent(t, hq, "image"); !d.Complete {
		t.Errorf("%+v", d)
	}
}

func TestGetLinks(t *testing.T) {
	t.Parallel()
	hq := start(t, Config{Name: "hq", Site: "hq"})
	file := sample(t, filepath.Join(t.TempDir(), "image"), 3<<20, 26)
	hq.add(api.AddRequest{Paths: []string{file}, Name: "image", Version: "1"})
	out := filepath.Join(t.TempDir(), "image")
	if _, err := hq.node.API().Get(t.Context(), api.GetRequest{Ref: "image", Output: out, Link: true}, nil); err != nil {
		t.Fatal(err)
	}
	sameFile(t, file, out)
	id, err := content.ParseID(mustContent(t, hq, "image").ID)
	if err != nil {
		t.Fatal(err)
	}
	ours, err1 := os.Stat(filepath.Join(hq.node.cfg.storeDir(), "content", id.String(), "files", "image"))
	theirs, err2 := os.Stat(out)
	if err := errors.Join(err1, err2); err != nil || !os.SameFile(ours, theirs) {
		t.Errorf("not the same file: %v", err)
	}
}

func mustContent(t *testing.T, e *endpoint, ref string) api.ContentDetail {
	t.Helper()
	d, err := e.node.API().Content(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
