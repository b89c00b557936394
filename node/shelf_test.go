package node

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/node/api"
)

// What is new of a next version is counted by blocks: a byte that changed in each
// of two places is four new blocks at most, of 16 MiB.
func TestAddTellsWhatIsNew(t *testing.T) {
	t.Parallel()
	hq := start(t, Config{Name: "hq"})
	file := sample(t, filepath.Join(t.TempDir(), "image"), 16<<20, 1)
	add := func() api.AddResult { return hq.add(api.AddRequest{Paths: []string{file}, Name: "image"}) }
	if first := add(); first.New != first.Size {
		t.Errorf("%d of %d bytes are new to an empty store", first.New, first.Size)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[3<<20]++
	data[12<<20]++
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if second := add(); second.New < 2*content.MinBlock || second.New > 4*content.MaxBlock {
		t.Errorf("%d of %d bytes are new", second.New, second.Size)
	}
	if again := add(); again.New != 0 {
		t.Errorf("%d bytes are new of what was added before", again.New)
	}
}

// What is here under one name and asked for by another is here by both: after a
// restart, and for others when the publisher is gone.
func TestGetByAnotherNameIsRemembered(t *testing.T) {
	hq := start(t, Config{Name: "hq", Site: "hq"})
	till := hq.join("till", "branch")
	next := hq.join("next", "branch")
	till.meet(1)
	file := sample(t, filepath.Join(t.TempDir(), "image"), 1<<20, 31)
	hq.add(api.AddRequest{Paths: []string{file}, Name: "image"})
	dir := t.TempDir()
	till.get("image", filepath.Join(dir, "image"))
	hq.add(api.AddRequest{Paths: []string{file}, Name: "pos"})
	if res := till.get("pos", filepath.Join(dir, "pos")); res.Here != res.Size {
		t.Errorf("fetched again: %+v", res)
	}
	for range 2 {
		if c, err := till.node.API().Content(t.Context(), "pos"); err != nil || len(c.Releases) != 2 {
			t.Fatalf("shown as pos: %+v (%v)", c, err)
		}
		till.stop()
		till.run()
	}
	next.meet(2)
	hq.stop()
	next.get("pos", filepath.Join(dir, "next"))
	sameFile(t, file, filepath.Join(dir, "next"))
}

// What the user that runs the node may not read is told with what to do about it.
func TestAddOfWhatMayNotBeRead(t *testing.T) {
	err := explainAdd(fmt.Errorf("add: %w", &fs.PathError{Op: "open", Path: "/secret", Err: fs.ErrPermission}))
	if e := api.From(err); e.Code != api.NotPermitted || e.Next == "" || !strings.Contains(e.Message, "/secret") {
		t.Errorf("%+v", e)
	}
}
