package archive

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/p2pnode/p2pnode/content"
)

// Names that can't be in a content end the unpacking, whatever the archive.
func TestUnpackHostileNames(t *testing.T) {
	for _, name := range []string{
		"../a", "a/../../b", "..", "a/..", "/etc/passwd", "//server/share", "C:/windows", `C:\windows`, `a\b`, `..\a`, "a:stream",
		"a//b", "a/./b", "con", "aux.txt", "lpt1", "COM¹.log", "a.", "a ", "a/b. /c", "nul/a", "CONIN$", "progra~1",
		"a\x00b", "a\nb", "\u202egnp.exe", "a\u200bb", "\xff\xfe", "a*", "a?", "a|b", "<a>", `"`,
		strings.Repeat("a", 256), strings.Repeat("a/", 130) + "a", strings.Repeat("ab", 120) + "x",
	} {
		for _, suffix := range []string{"", "/"} {
			files := []item{{name: "first", data: "x"}, {name: name + suffix}}
			archives := map[string][]byte{"zip": zipOf(t, files...)}
			if !strings.Contains(name, "\x00") { // which no tar can have
				archives["tar"] = tarOf(t, files...)
			}
			for kind, packed := range archives {
				_, m, err := try(packed, Options{SkipLinks: true})
				if !errors.Is(err, content.ErrPath) {
					t.Errorf("%s with %q: %v", kind, name+suffix, err)
				}
				if len(m.files) > 1 {
					t.Errorf("%s with %q: made %d files", kind, name+suffix, len(m.files))
				}
			}
		}
		if strings.Contains(name, "\x00") {
			continue
		}
		link := tarOf(t, item{name: name, kind: tar.TypeSymlink, link: "x"})
		if _, _, err := try(link, Options{SkipLinks: true}); !errors.Is(err, content.ErrPath) {
			t.Errorf("a link %q was left out and not refused: %v", name, err)
		}
	}
}

func TestUnpackHostileTrees(t *testing.T) {
	for name, items := range map[string][]item{
		"a file twice":                   {{name: "a", data: "1"}, {name: "a", data: "2"}},
		"a file twice, by ./":            {{name: "a", data: "1"}, {name: "./a", data: "2"}},
		"names that differ in case":      {{name: "Setup.exe", data: "1"}, {name: "setup.EXE", data: "2"}},
		"folders that differ in case":    {{name: "A/x"}, {name: "a/y"}},
		"one name in two forms":          {{name: "\u00fc"}, {name: "u\u0308"}},
		"a file as folder":               {{name: "a", data: "1"}, {name: "a/b", data: "2"}},
		"a folder as file":               {{name: "a/b", data: "1"}, {name: "a", data: "2"}},
		"a file that is a folder, later": {{name: "a", data: "1"}, {name: "a/"}},
		"a folder of no name":            {{name: "/"}},
		"the root as file":               {{name: ".", data: "x", kind: tar.TypeReg}},
		"case that folds longer":         {{name: "stra\u00dfe"}, {name: "STRASSE"}},
	} {
		for kind, packed := range map[string][]byte{"tar": tarOf(t, items...), "zip": zipOf(t, items...)} {
			if _, _, err := try(packed, Options{}); !errors.Is(err, content.ErrPath) {
				t.Errorf("%s in a %s: %v", name, kind, err)
			}
		}
	}
	for name, items := range map[string][]item{
		"a link and a file":      {{name: "a", kind: '2', link: "/etc/passwd"}, {name: "a", data: "x"}},
		"a file and a link":      {{name: "a", data: "x"}, {name: "a", kind: '2', link: "/etc/passwd"}},
		"a link, twice":          {{name: "a", kind: '2', link: "b"}, {name: "a", kind: '2', link: "c"}},
		"a link and a folder":    {{name: "a", kind: '2', link: "/etc"}, {name: "a/"}},
		"behind a hard link":     {{name: "a", kind: '1', link: "b"}, {name: "a/b", data: "x"}},
		"deeply behind a link":   {{name: "a", kind: '2', link: "/"}, {name: "a/b/c/d", data: "x"}},
		"a link behind a device": {{name: "a", kind: '4'}, {name: "a/b", kind: '2', link: "x"}},
	} {
		if _, _, err := try(tarOf(t, items...), Options{SkipLinks: true}); !errors.Is(err, content.ErrPath) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUnpackNoArchives(t *testing.T) {
	plain := string(tarOf(t, item{name: "a", data: "x"}))
	version := item{name: "debian-binary", data: "2.0\n"}
	for name, data := range map[string][]byte{
		"nothing":                  nil,
		"text":                     []byte("just text"),
		"zeros":                    make([]byte, 10_000),
		"packed text":              gz(t, []byte("just text")),
		"packed twice":             gz(t, gz(t, []byte(plain))),
		"two tars in one":          []byte(plain + plain),
		"two packed tars in one":   append(gz(t, []byte(plain)), gz(t, []byte(plain))...),
		"behind a gzip":            append(gz(t, []byte(plain)), "and more"...),
		"behind an xz":             append(xzip(t, []byte(plain)), "and more"...),
		"two xz in one":            append(xzip(t, []byte(plain)), xzip(t, []byte(plain))...),
		"an ar that is no package": debOf(item{name: "readme", data: "x"}),
		"control of zeros":         debOf(version, item{name: "control.tar", data: string(tarOf(t))}, item{name: "data.tar", data: plain}),
		"version 3":                debOf(item{name: "debian-binary", data: "3.0\n"}, item{name: "control.tar", data: plain}, item{name: "data.tar", data: plain}),
		"data first":               debOf(version, item{name: "data.tar", data: plain}, item{name: "control.tar", data: plain}),
		"data twice":               debOf(version, item{name: "control.tar", data: plain}, item{name: "data.tar", data: plain}, item{name: "data.tar", data: plain}),
		"no data":                  debOf(version, item{name: "control.tar", data: plain}),
		"data in a zip":            debOf(version, item{name: "control.tar", data: plain}, item{name: "data.tar", data: string(zipOf(t))}),
		"a member too long":        debOf(version, item{name: "control.tar", data: plain, size: 9_999_999_999}),
		"a member below nothing":   debOf(version, item{name: "control.tar", data: plain, size: -1}),
		"a device of no kind":      tarOf(t, item{name: "a", kind: 'Z'}),
		"an encrypted zip":         altered(zipOf(t, item{name: "a", data: "x"}), "PK\x01\x02", 8, 1),
		"an unknown method":        altered(zipOf(t, item{name: "a", data: "x"}), "PK\x01\x02", 10, 97),
		"another checksum":         altered(zipOf(t, item{name: "a", data: "x"}), "PK\x01\x02", 16, 1),
		"more than it says":        altered(zipOf(t, item{name: "a", data: "xyz"}), "PK\x01\x02", 24, 2),
		"less than it says":        altered(zipOf(t, item{name: "a", data: "xyz"}), "PK\x01\x02", 24, 4),
		"a folder with bytes":      altered(zipOf(t, item{name: "a/"}), "PK\x01\x02", 24, 4),
	} {
		if _, _, err := try(data, Options{}); !errors.Is(err, content.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// altered sets a byte of the first header that begins with magic.
func altered(b []byte, magic string, at int, to byte) []byte {
	b[bytes.Index(b, []byte(magic))+at] = to
	return b
}

// zeros packs size zeros as a file of a tar, and what packs it.
func zeros(t testing.TB, size int64, open func(io.Writer) io.WriteCloser) []byte {
	var b bytes.Buffer
	z := open(&b)
	w := tar.NewWriter(z)
	check(t, w.WriteHeader(&tar.Header{Name: "zeros", Size: size, Typeflag: tar.TypeReg}))
	_, err := io.CopyN(w, zero{}, size)
	check(t, err)
	check(t, w.Close())
	check(t, z.Close())
	return b.Bytes()
}

type zero struct{}

func (zero) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// openZst packs with a window that is small beside the bound on memory.
func openZst(w io.Writer) io.WriteCloser {
	z, err := zstd.NewWriter(w, zstd.WithWindowSize(512<<10))
	if err != nil {
		panic(err)
	}
	return z
}

// G40: what is out of proportion is refused at once, in little memory.
func TestUnpackBombs(t *testing.T) {
	// A header that declares a size, and zeros behind it.
	declared := func(size int64) []byte {
		var b bytes.Buffer
		check(t, tar.NewWriter(&b).WriteHeader(&tar.Header{Name: "big", Size: size, Typeflag: tar.TypeReg}))
		return append(b.Bytes(), make([]byte, 100_000)...)
	}
	// The writer makes no sparse files (GNU's format 1.0 in PAX): others are renamed.
	sparse := func() []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		data := "1\n0\n1\n" + strings.Repeat("\x00", 506) + "x"
		check(t, w.WriteHeader(&tar.Header{Name: "sparse", Size: int64(len(data)), Typeflag: tar.TypeReg, PAXRecords: map[string]string{
			"XNU.sparse.major": "1", "XNU.sparse.minor": "0", "XNU.sparse.name": "sparse", "XNU.sparse.realsize": "1099511627776",
		}}))
		_, err := io.WriteString(w, data)
		check(t, err)
		check(t, w.Close())
		return bytes.ReplaceAll(b.Bytes(), []byte("XNU."), []byte("GNU."))
	}()
	overlapping := func() []byte {
		// Entries whose headers all lead to the same bytes, of 1 MiB each.
		b := zipOf(t, item{name: "a", data: strings.Repeat("\x00", 1<<20)})
		at := bytes.Index(b, []byte("PK\x01\x02"))
		end := bytes.LastIndex(b, []byte("PK\x05\x06"))
		entry := b[at:end]
		out := bytes.Clone(b[:at])
		const n = 2000
		for i := range n {
			e := bytes.Clone(entry)
			e = append(e[:46], append([]byte(fmt.Sprintf("%05d", i)), e[47:]...)...)
			binary.LittleEndian.PutUint16(e[28:], 5)
			out = append(out, e...)
		}
		tail := bytes.Clone(b[end:])
		binary.LittleEndian.PutUint16(tail[8:], n)
		binary.LittleEndian.PutUint16(tail[10:], n)
		binary.LittleEndian.PutUint32(tail[12:], uint32(len(out)-at))
		return append(out, tail...)
	}()
	dictionary := func() []byte {
		b := xzip(t, tarOf(t, item{name: "a"}))
		header := b[12 : 12+4*(int(b[12])+1)]
		header[bytes.IndexByte(header, 0x21)+2] = 40 // 4 GiB
		binary.LittleEndian.PutUint32(header[len(header)-4:], crc32.ChecksumIEEE(header[:len(header)-4]))
		return b
	}()
	window := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x98, 0x01, 0, 0} // a frame with a window of 512 MiB
	padding := gz(t, append(tarOf(t, item{name: "a"}), make([]byte, 5<<20)...))
	comments := func() []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for range 60 {
			check(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": strings.Repeat("x", 100_000)}}))
		}
		check(t, w.Close())
		return gz(t, b.Bytes())
	}()
	for name, c := range map[string]struct {
		data  []byte
		bound uint64
	}{
		"zeros by gzip, 1000:1":        {zeros(t, 5<<20, func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }), 4 << 20},
		"zeros by zstd, 10000:1":       {zeros(t, 5<<20, openZst), 4 << 20},
		"zeros in a zip":               {zipOf(t, item{name: "a", data: strings.Repeat("\x00", 5<<20)}), 4 << 20},
		"a tar of 1 TiB":               {declared(1 << 40), 4 << 20},
		"a tar of 8 EiB":               {declared(1<<63 - 1), 4 << 20},
		"a zip of 2^63 bytes":          {zip64(t), 4 << 20},
		"a zip that overlaps":          {overlapping, 4 << 20},
		"a dictionary of 4 GiB":        {dictionary, 4 << 20},
		"a window of 512 MiB":          {window, 4 << 20},
		"padding behind the end":       {padding, 4 << 20},
		"a sparse file of 1 TiB":       {sparse, 4 << 20},
		"comments of 100 kB, no files": {comments, 40 << 20}, // which come and go
	} {
		var err error
		var m *memory
		l := usual
		l.slack = 1 << 20 // so that the bombs need not be large
		took := allocated(func() {
			m = newMemory()
			_, err = unpack(t.Context(), bytes.NewReader(c.data), int64(len(c.data)), m, Options{}, l)
		})
		if !errors.Is(err, content.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
		if took > c.bound {
			t.Errorf("%s: %d bytes allocated for %d", name, took, len(c.data))
		}
		if len(m.files) > 1 {
			t.Errorf("%s: made %d files", name, len(m.files))
		}
	}
}

// zip64 declares one file of 2^63 bytes.
func zip64(t testing.TB) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	_, err := w.CreateRaw(&zip.FileHeader{Name: "big", Method: zip.Deflate, UncompressedSize64: 1 << 63, CompressedSize64: 10})
	check(t, err)
	check(t, w.Close())
	return b.Bytes()
}

// The limits on numbers hold where the bytes alone would pass.
func TestUnpackLimits(t *testing.T) {
	var many []item
	for i := range 300 {
		many = append(many, item{name: fmt.Sprintf("%d/%d/file", i%7, i)})
	}
	deep := []item{{name: strings.Repeat("a/", 100) + "a"}}
	for name, c := range map[string]struct {
		items  []item
		limits limits
	}{
		"entries":         {many, limits{ratio: 200, slack: 1 << 20, window: 1 << 20, files: 600, names: 1 << 20}},
		"folders of them": {deep, limits{ratio: 200, slack: 1 << 20, window: 1 << 20, files: 60, names: 1 << 20}},
		"bytes of names":  {many, limits{ratio: 200, slack: 1 << 20, window: 1 << 20, files: 1000, names: 20_000}},
		"bytes":           {[]item{{name: "a", data: strings.Repeat("x", 9000)}, {name: "b", data: strings.Repeat("x", 9000)}}, limits{ratio: 1, slack: 0, window: 1 << 20, files: 10, names: 1 << 20}},
	} {
		for kind, b := range map[string][]byte{"tar.gz": gz(t, tarOf(t, c.items...)), "zip": zipOf(t, c.items...)} {
			_, err := unpack(t.Context(), bytes.NewReader(b), int64(len(b)), newMemory(), Options{}, c.limits)
			if !errors.Is(err, content.ErrFormat) {
				t.Errorf("%s in a %s: %v", name, kind, err)
			}
			if _, _, err := try(b, Options{}); err != nil {
				t.Errorf("%s in a %s is refused for something else: %v", name, kind, err)
			}
		}
	}
}
