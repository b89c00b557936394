package node

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/p2pnode/p2pnode/node/api"
)

// What can't be written because of what stands there is refused before anything is
// fetched, whatever that is; what is the same is no hindrance.
func TestGetRefusesBeforeItFetches(t *testing.T) {
	hq := start(t, Config{Name: "hq", Site: "hq"})
	till := hq.join("till", "branch")
	till.meet(1)
	dir := t.TempDir()
	data := sampleBytes(2<<20, 90)
	file := filepath.Join(dir, "file")
	writeTree(t, filepath.Join(dir, "tree"), map[string][]byte{"a/same": data, "b": sampleBytes(100, 91)})
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	hq.add(api.AddRequest{Paths: []string{file}, Name: "file"})
	hq.add(api.AddRequest{Paths: []string{filepath.Join(dir, "tree")}, Name: "tree"})
	other := sampleBytes(len(data), 92)
	late := append(append([]byte{}, data[:len(data)-1]...), ^data[len(data)-1])
	for name, test := range map[string]struct {
		ref       string
		there     map[string][]byte // at the output; "" is the output itself
		overwrite bool
		taken     bool
	}{
		"shorter":            {"file", map[string][]byte{"": data[:10]}, false, false},
		"other bytes":        {"file", map[string][]byte{"": other}, false, false},
		"other byte at last": {"file", map[string][]byte{"": late}, false, false},
		"in a folder":        {"file", map[string][]byte{"file": other}, false, false},
		"a folder there":     {"file", map[string][]byte{"file/x": nil}, true, false},
		"a file for a tree":  {"tree", map[string][]byte{"": data}, true, false},
		"in a tree":          {"tree", map[string][]byte{"b": sampleBytes(100, 93)}, false, false},
		"a file in between":  {"tree", map[string][]byte{"a": data}, true, false},
		"the same":           {"file", map[string][]byte{"": data}, false, true},
		"the same in a tree": {"tree", map[string][]byte{"a/same": data, "c": data}, false, true},
		"to be overwritten":  {"file", map[string][]byte{"": other}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			for at, b := range test.there {
				name := filepath.Join(out, at)
				if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, b, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			defer till.node.API().Remove(t.Context(), test.ref) // so that the next one fetches it too
			res, err := till.node.API().Get(t.Context(), api.GetRequest{Ref: test.ref, Output: out, Overwrite: test.overwrite}, nil)
			if test.taken {
				if err != nil || res.From.Total() != res.Size {
					t.Errorf("%+v, %v", res, err)
				}
				return
			}
			if e := api.From(err); err == nil || e.Code != api.Failed || e.Next == "" {
				t.Fatalf("%+v, %v", res, err)
			}
			for _, c := range till.node.store.List() {
				if c.Progress() > 0 {
					t.Errorf("%d bytes were fetched", c.Progress())
				}
			}
		})
	}
}
