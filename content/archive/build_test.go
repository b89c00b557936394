package archive

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/p2pnode/p2pnode/content"
)

var then = time.Date(2024, 2, 29, 12, 34, 56, 0, time.UTC)

// A memory is a target that holds its caller to the contract.
type memory struct {
	files   map[string]*bytes.Buffer
	folders map[string]bool
	open    int
	broken  string // what the caller did wrong
	fail    error  // of every write
}

func newMemory() *memory {
	return &memory{files: make(map[string]*bytes.Buffer), folders: map[string]bool{".": true}}
}

func (m *memory) place(p string) {
	switch {
	case content.CheckPath(p) != nil || p == ".":
		m.broken = fmt.Sprintf("%q is no path", p)
	case !m.folders[path.Dir(p)]:
		m.broken = fmt.Sprintf("%q came before its folder", p)
	case m.folders[p] || m.files[p] != nil:
		m.broken = fmt.Sprintf("%q came twice", p)
	}
}

func (m *memory) Mkdir(p string) error {
	m.place(p)
	m.folders[p] = true
	return nil
}

func (m *memory) Create(p string) (io.WriteCloser, error) {
	m.place(p)
	if m.open++; m.open > 1 {
		m.broken = fmt.Sprintf("%q was made before another was closed", p)
	}
	m.files[p] = new(bytes.Buffer)
	return memoryFile{m, m.files[p]}, nil
}

type memoryFile struct {
	m *memory
	b *bytes.Buffer
}

func (f memoryFile) Write(b []byte) (int, error) {
	if f.m.fail != nil {
		return 0, f.m.fail
	}
	return f.b.Write(b)
}

func (f memoryFile) Close() error { f.m.open--; return nil }

// list writes a tree as text, with the bytes that the target has.
func (m *memory) list(t *Tree) string {
	var b strings.Builder
	for _, f := range t.Files {
		fmt.Fprintf(&b, "%v %v %s", f.Mode, f.ModTime.UTC().Format(time.RFC3339), f.Path)
		if !f.Mode.IsDir() {
			fmt.Fprintf(&b, " %d %v", f.Size, content.Sum(m.files[f.Path].Bytes()))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func try(data []byte, o Options) (*Tree, *memory, error) {
	m := newMemory()
	t, err := Unpack(context.Background(), bytes.NewReader(data), int64(len(data)), m, o)
	if m.broken != "" {
		err = errors.Join(err, errors.New("contract of Target: "+m.broken))
	}
	return t, m, err
}

// An item is one entry of an archive to be built. A zero kind is a file, or a
// folder if the name ends in a slash.
type item struct {
	name string
	data string
	mode int64
	kind byte   // as in tar
	link string // where it leads
	size int64  // declared, if not that of data
}

// tarOf builds a tar, without its end if it is cut.
func tarOf(t testing.TB, items ...item) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, i := range items {
		h := &tar.Header{Name: i.name, Mode: i.mode, Size: int64(len(i.data)), Typeflag: i.kind, Linkname: i.link, ModTime: then}
		switch {
		case i.kind == 0 && strings.HasSuffix(i.name, "/"):
			h.Typeflag = tar.TypeDir
		case i.kind == 0:
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o644
			if h.Typeflag == tar.TypeDir {
				h.Mode = 0o755
			}
		}
		check(t, w.WriteHeader(h))
		_, err := io.WriteString(w, i.data)
		check(t, err)
	}
	check(t, w.Close())
	return b.Bytes()
}

// zipOf builds a zip.
func zipOf(t testing.TB, items ...item) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, i := range items {
		h := &zip.FileHeader{Name: i.name, Method: zip.Deflate, Modified: then}
		mode := fs.FileMode(i.mode)
		switch {
		case i.kind == tar.TypeSymlink:
			mode |= fs.ModeSymlink | 0o777
		case i.kind == tar.TypeFifo:
			mode |= fs.ModeNamedPipe | 0o644
		case strings.HasSuffix(i.name, "/") && mode == 0:
			mode = fs.ModeDir | 0o755
		case strings.HasSuffix(i.name, "/"):
			mode |= fs.ModeDir
		case mode == 0:
			mode = 0o644
		}
		h.SetMode(mode)
		f, err := w.CreateHeader(h)
		check(t, err)
		data := i.data + i.link
		_, err = io.WriteString(f, data)
		check(t, err)
	}
	check(t, w.Close())
	return b.Bytes()
}

// debOf builds a Debian package of ready members.
func debOf(members ...item) []byte {
	b := []byte(arMagic)
	for _, m := range members {
		size := int64(len(m.data))
		if m.size != 0 {
			size = m.size
		}
		b = fmt.Appendf(b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n%s", m.name, then.Unix(), 0, 0, "100644", size, m.data)
		if len(m.data)%2 == 1 {
			b = append(b, '\n')
		}
	}
	return b
}

func gz(t testing.TB, b []byte) []byte {
	return packed(t, b, func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) })
}

func zst(t testing.TB, b []byte) []byte {
	return packed(t, b, func(w io.Writer) io.WriteCloser {
		z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(64<<10))
		check(t, err)
		return z
	})
}

func xzip(t testing.TB, b []byte) []byte {
	return packed(t, b, func(w io.Writer) io.WriteCloser {
		z, err := xz.WriterConfig{DictCap: 64 << 10, BlockSize: 4000}.NewWriter(w)
		check(t, err)
		return z
	})
}

func packed(t testing.TB, b []byte, open func(io.Writer) io.WriteCloser) []byte {
	t.Helper()
	var out bytes.Buffer
	w := open(&out)
	_, err := w.Write(b)
	check(t, err)
	check(t, w.Close())
	return out.Bytes()
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// allocated returns how many bytes f takes from the heap.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
