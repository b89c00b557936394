package archive

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/p2pnode/p2pnode/content"
)

// What a fuzzer is up to has to show with small inputs.
var tiny = limits{ratio: 20, slack: 64 << 10, window: 256 << 10, files: 200, names: 20_000}

// hold unpacks b with and without links, and holds the result to what Unpack
// promises and the memory to a bound in proportion to the input (G46). Fixed are
// buffers of the unpackers: bzip2 takes 4 MiB, inflating 300 kB for each file of a
// zip that is not read to its end.
func hold(t *testing.T, b []byte, fixed uint64) {
	t.Helper()
	if len(b) > 1<<20 {
		return
	}
	for _, skip := range []bool{false, true} {
		var tree *Tree
		var err error
		m := newMemory()
		n := allocated(func() {
			tree, err = unpack(t.Context(), bytes.NewReader(b), int64(len(b)), m, Options{SkipLinks: skip}, tiny)
		})
		var size uint64
		for _, f := range m.files {
			size += uint64(f.Cap())
		}
		if bound := fixed + 64*uint64(len(b)) + 4*size; n > bound {
			t.Errorf("%d bytes allocated for %d of input, %d of output", n, len(b), size)
		}
		if m.broken != "" {
			t.Error(m.broken)
		}
		if err != nil {
			if !errors.Is(err, content.ErrFormat) && !errors.Is(err, content.ErrPath) {
				t.Errorf("%v", err)
			}
			continue
		}
		manifest := content.Manifest{}
		for _, f := range tree.Files {
			if !f.Mode.IsDir() && int64(m.files[f.Path].Len()) != f.Size {
				t.Errorf("%q has %d bytes, not %d", f.Path, m.files[f.Path].Len(), f.Size)
			}
			f.Size = 0
			manifest.Files = append(manifest.Files, f)
		}
		if err := manifest.Check(); err != nil {
			t.Errorf("a tree that no manifest can have: %v", err)
		}
		if len(tree.Files) != len(m.files)+len(m.folders) || !skip && tree.Skipped > 0 {
			t.Errorf("%d files and folders for %d and %d, %d left out", len(tree.Files), len(m.files), len(m.folders), tree.Skipped)
		}
	}
}

func seed(f *testing.F, names ...string) {
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		check(f, err)
		f.Add(b)
	}
}

var fuzzed = []item{
	{name: "./"}, {name: "./a/b", data: "bytes"}, {name: "a/link", kind: '2', link: "b"}, {name: "u\u0308", mode: 0o755}, {name: "empty/"},
}

func FuzzTar(f *testing.F) {
	f.Add(tarOf(f, fuzzed...))
	f.Add(tarOf(f, item{name: "hard", kind: '1', link: "x"}, item{name: "pipe", kind: '6'}))
	f.Fuzz(func(t *testing.T, b []byte) { hold(t, b, 3<<20) }) // a PAX header may have 1 MiB, read twice
}

func FuzzZip(f *testing.F) {
	seed(f, "infozip.zip")
	f.Add(zipOf(f, fuzzed...))
	f.Add(zipOf(f, item{name: "a", data: "1"}, item{name: "a", data: "2"}))
	f.Fuzz(func(t *testing.T, b []byte) { hold(t, b, 2<<20) })
}

func FuzzDeb(f *testing.F) {
	seed(f, "dpkg-xz.deb", "dpkg-zstd.deb")
	plain := string(tarOf(f, item{name: "./a", data: "x"}))
	f.Add(debOf(item{name: "debian-binary", data: "2.0\n"}, item{name: "control.tar", data: plain}, item{name: "_x", data: "y"}, item{name: "data.tar", data: plain}))
	f.Fuzz(func(t *testing.T, b []byte) { hold(t, b, 12<<20) })
}

// Tars packed by gzip, zstd, xz and bzip2.
func FuzzPacked(f *testing.F) {
	seed(f, "gzip.tar.gz", "bzip2.tar.bz2", "xz.tar.xz", "zstd.tar.zst")
	plain := tarOf(f, item{name: "a", data: "x"})
	for _, b := range [][]byte{gz(f, plain), zst(f, plain), xzip(f, plain)} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { hold(t, b, 12<<20) })
}
