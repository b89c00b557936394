package node

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/node/api"
)

// What is new of a next version is counted by blocks: a byte that changed in each
// of two places is four new blocks at most, of 16 MiB.
func TestAddTellsWhatIsNew(t *testing.T) {
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
