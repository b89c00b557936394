package node

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/node/api"
)

// packTar packs a folder as a tar.gz, with what else is given.
func packTar(t testing.TB, dir string, more ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		h, err := tar.FileInfoHeader(info, "")
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		h.Name, h.Format = "./"+filepath.ToSlash(rel), tar.FormatPAX // which has nanoseconds
		if err := w.WriteHeader(h); err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		return errors.Join(err, second(w.Write(data)))
	})
	for _, h := range more {
		err = errors.Join(err, w.WriteHeader(h))
	}
	if err := errors.Join(err, w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func second(_ int, err error) error { return err }

func packZip(t testing.TB, dir string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	if err := errors.Join(w.AddFS(os.DirFS(dir)), w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// packDeb makes a package whose files are those of a tar.
func packDeb(data []byte, control []byte) []byte {
	b := []byte("!<arch>\n")
	for _, m := range []struct {
		name string
		data []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar.gz", control}, {"data.tar.gz", data}} {
		b = fmt.Appendf(b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n%s", m.name, 0, 0, 0, "100644", len(m.data), m.data)
		if len(m.data)%2 == 1 {
			b = append(b, '\n')
		}
	}
	return b
}

// An archive is published as what is in it: the same content as the folder that
// it was made of, and another node gets that folder.
func TestAddUnpacks(t *testing.T) {
	t.Parallel()
	hq := start(t, Config{Name: "hq"})
	branch := hq.join("branch", "a")
	branch.meet(1)
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	writeTree(t, tree, map[string][]byte{"app/bin": publishRandom(1, 3<<20), "app/readme": []byte("hello"), "empty/": nil})
	plain := hq.add(api.AddRequest{Paths: []string{tree}, Name: "plain"})

	link := &tar.Header{Name: "app/current", Typeflag: tar.TypeSymlink, Linkname: "bin"}
	archives := map[string][]byte{
		"app.tar.gz":   packTar(t, tree),
		"linked.weird": packTar(t, tree, link), // told by its bytes
		"app.zip":      packZip(t, tree),
	}
	control := filepath.Join(dir, "control")
	writeTree(t, control, map[string][]byte{"control": []byte("Package: app\n")})
	archives["app.deb"] = packDeb(packTar(t, tree), packTar(t, control))
	for name, data := range archives {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		phases := map[string]int64{}
		res, err := hq.node.API().Add(t.Context(), api.AddRequest{Paths: []string{path}, Name: name, Unpack: true, SkipLinks: name == "linked.weird"},
			func(p api.Progress) { mu.Lock(); defer mu.Unlock(); phases[p.Phase] = p.Done })
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		mu.Lock()
		if phases["unpack"] == 0 || phases["read"] != res.Size || phases["verify"] != res.Size {
			t.Errorf("%s: progress ended at %v, of %d bytes", name, phases, res.Size)
		}
		mu.Unlock()
		switch name {
		case "app.deb":
			if res.Unpacked != "deb" || res.Files != 3 || res.New > res.Size/2 {
				t.Errorf("%s: %+v", name, res)
			}
		case "linked.weird":
			if res.Unpacked != "tar.gz" || res.Content != plain.Content || res.Skipped != 1 || res.SkippedList[0] != "app/current -> bin" {
				t.Errorf("%s: %+v, plain it is %s", name, res, plain.Content)
			}
		case "app.tar.gz":
			if res.Unpacked != "tar.gz" || res.Content != plain.Content || res.New != 0 {
				t.Errorf("%s: %+v, plain it is %s", name, res, plain.Content)
			}
		case "app.zip": // times to the second, root's mode unknown: another id, the same blocks
			if res.Unpacked != "zip" || res.Files != 2 || res.New != 0 {
				t.Errorf("%s: %+v", name, res)
			}
		}
		out := filepath.Join(dir, "out "+name)
		branch.get(name, out)
		if name == "app.deb" {
			if b, err := os.ReadFile(filepath.Join(out, "DEBIAN", "control")); err != nil || string(b) != "Package: app\n" {
				t.Errorf("%s: control %q, %v", name, b, err)
			}
			if err := os.RemoveAll(filepath.Join(out, "DEBIAN")); err != nil {
				t.Fatal(err)
			}
		}
		sameFile(t, filepath.Join(tree, "app/bin"), filepath.Join(out, "app/bin"))
		sameFile(t, filepath.Join(tree, "app/readme"), filepath.Join(out, "app/readme"))
	}
}

func TestAddRefusesToUnpack(t *testing.T) {
	t.Parallel()
	hq := start(t, Config{Name: "hq"})
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	writeTree(t, tree, map[string][]byte{"a": []byte("x")})
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	w := tar.NewWriter(z)
	const size = 32 << 20
	err := errors.Join(w.WriteHeader(&tar.Header{Name: "zeros", Size: size, Typeflag: tar.TypeReg}), second(w.Write(make([]byte, size))), w.Close(), z.Close())
	if err != nil {
		t.Fatal(err)
	}
	good := write("good.tar.gz", packTar(t, tree))
	for name, c := range map[string]struct {
		r    api.AddRequest
		says string
	}{
		"text":   {api.AddRequest{Paths: []string{write("text", []byte("just text"))}, Unpack: true}, "no tar"},
		"folder": {api.AddRequest{Paths: []string{tree}, Unpack: true}, "no archive"},
		"link":   {api.AddRequest{Paths: []string{write("l.tgz", packTar(t, tree, &tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "a"}))}, Unpack: true}, `"l" is a symbolic link`},
		"escape": {api.AddRequest{Paths: []string{write("e.tgz", packTar(t, tree, &tar.Header{Name: "../../e", Typeflag: tar.TypeReg}))}, Unpack: true}, `"../../e"`},
		"bomb":   {api.AddRequest{Paths: []string{write("b.tgz", bomb.Bytes())}, Unpack: true}, "out of proportion"},
		"cut":    {api.AddRequest{Paths: []string{write("c.tgz", packTar(t, tree)[:100])}, Unpack: true}, "cut short"},
		"two":    {api.AddRequest{Paths: []string{good, good}, Unpack: true}, "can't be one content"},
	} {
		_, err := hq.node.API().Add(t.Context(), c.r, nil)
		var told *api.Error
		if !errors.As(err, &told) || told.Code != api.Usage || told.Next == "" || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v (next: %v)", name, err, told)
		}
		if again := name == "cut"; told != nil && strings.Contains(told.Next, "Get the archive again") != again {
			t.Errorf("%s: next: %s", name, told.Next)
		}
	}
	if all := hq.node.store.List(); len(all) != 0 {
		t.Errorf("%d contents were left behind", len(all))
	}
	left, err := os.ReadDir(filepath.Join(hq.cfg.Data, "store", "content"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

// An archive that changes while it is unpacked is none.
func TestUnpackNoticesChanges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	writeTree(t, tree, map[string][]byte{"a": publishRandom(1, 1<<20)})
	path := filepath.Join(dir, "a.tgz")
	if err := os.WriteFile(path, packTar(t, tree), 0o600); err != nil {
		t.Fatal(err)
	}
	changed := false
	_, err := publishUnpacked(t.Context(), newTestStage(t), path, false, publishOptions{Progress: func(phase string, done, total int64) {
		if phase == publishUnpacks && !changed {
			changed = true
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
			if err == nil {
				_, err = io.WriteString(f, "more")
				err = errors.Join(err, f.Close())
			}
			if err != nil {
				t.Error(err)
			}
		}
	}})
	if !errors.Is(err, content.ErrChanged) {
		t.Errorf("%v, want ErrChanged", err)
	}
}
