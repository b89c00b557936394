package content

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/unicode/norm"
)

// golden returns the file of testdata, written in hexadecimal with line breaks.
func golden(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return b
}

// The moment in the golden vectors: nanoseconds matter.
var goldenTime = time.Date(2024, 2, 29, 12, 34, 56, 123456789, time.UTC)

// goldenBlocks are the blocks of the golden content: five of them, their bytes
// being their number again and again.
func goldenBlocks() []Block {
	var blocks []Block
	for i, size := range []int{16 << 10, 64 << 10, 256 << 10, 100_000, 1} {
		blocks = append(blocks, Block{Hash: Sum(bytes.Repeat([]byte{byte(i)}, size)), Size: uint32(size)})
	}
	return blocks
}

func goldenManifest(t testing.TB) *Manifest {
	t.Helper()
	node, err := EncodeBlocks(goldenBlocks())
	if err != nil {
		t.Fatal(err)
	}
	var size uint32
	for _, b := range goldenBlocks() {
		size += b.Size
	}
	return &Manifest{
		Type:   "os-image",
		Labels: map[string]string{"os": "linux", "arch": "amd64", "team": "é ☂"},
		Files: []File{
			{Path: ".", Mode: fs.ModeDir | 0o755, ModTime: goldenTime},
			{Path: "empty", Mode: 0o600, ModTime: time.Unix(0, 0).UTC()},
			{Path: "sub", Mode: fs.ModeDir | 0o700, ModTime: time.Unix(-1, 0).UTC()},
			{Path: "sub/größe.bin", Size: int64(size) - 1, Mode: 0o644, ModTime: goldenTime},
			{Path: "sub.txt", Size: 1, Mode: 0o755, ModTime: goldenTime},
		},
		Chunks:  []Chunk{{Hash: Sum(node), Size: size}},
		Origins: []Origin{{URL: "https://origin.example/größe.bin?x=1", File: 3}},
	}
}

// singleManifest is a content of one file with n chunks.
func singleManifest(n int) *Manifest {
	m := &Manifest{Files: []File{{Path: "image.iso", Mode: 0o644, ModTime: goldenTime}}}
	for i := range n {
		size := uint32(900_000 + i%200_000)
		m.Chunks = append(m.Chunks, Chunk{Hash: Sum(binary.BigEndian.AppendUint64(nil, uint64(i))), Size: size})
		m.Files[0].Size += int64(size)
	}
	return m
}

func TestGoldenManifest(t *testing.T) {
	m := goldenManifest(t)
	enc, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if want := golden(t, "manifest.hex"); !bytes.Equal(enc.Root, want) {
		t.Errorf("the format has changed: every content id would\n got %x\nwant %x", enc.Root, want)
	}
	const id = "bafyreidoetfbzgirsqmu35lliaer6ridye4yamtfk2inhxki3t4nydmyrq"
	if enc.ID.String() != id {
		t.Errorf("content id is %v, want %v", enc.ID, id)
	}
	parsed, err := ParseID(id)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(parsed, golden(t, "manifest.hex"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, got); diff != "" {
		t.Errorf("decoded manifest differs (-want +got):\n%s", diff)
	}
}

func TestGoldenBlocks(t *testing.T) {
	node, err := EncodeBlocks(goldenBlocks())
	if err != nil {
		t.Fatal(err)
	}
	want := golden(t, "blocks.hex")
	if !bytes.Equal(node, want) {
		t.Errorf("the format has changed: every chunk's hash would\n got %x\nwant %x", node, want)
	}
	got, err := DecodeBlocks(Sum(want), want)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(goldenBlocks(), got); diff != "" {
		t.Errorf("decoded blocks differ (-want +got):\n%s", diff)
	}
}

// Our encoding is what an independent encoder makes of the same values in
// DAG-CBOR's deterministic form.
func TestEncodingIsDeterministicCBOR(t *testing.T) {
	m := goldenManifest(t)
	enc, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	opts := cbor.EncOptions{Sort: cbor.SortLengthFirst, IndefLength: cbor.IndefLengthForbidden}
	mode, err := opts.EncMode()
	if err != nil {
		t.Fatal(err)
	}
	files := []any{}
	for _, f := range m.Files {
		posix := uint64(0o100000)
		if f.Mode.IsDir() {
			posix = 0o040000
		}
		nanos := binary.BigEndian.AppendUint64(nil, uint64(f.ModTime.UnixNano()))
		files = append(files, []any{f.Path, f.Size, posix | uint64(f.Mode.Perm()), nanos})
	}
	want, err := mode.Marshal(map[string]any{
		"v": 1, "type": m.Type, "labels": m.Labels, "files": files,
		"chunks":  []any{[]any{m.Chunks[0].Hash[:], m.Chunks[0].Size}},
		"origins": []any{[]any{m.Origins[0].URL, m.Origins[0].File}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(enc.Root, want) {
		t.Errorf("encodings differ\nours   %x\ntheirs %x", enc.Root, want)
	}
}

func TestManifestRoundTrip(t *testing.T) {
	tree := &Manifest{Files: []File{{Path: ".", Mode: fs.ModeDir | 0o755, ModTime: goldenTime}}}
	for i := range 30_000 { // over one MiB
		tree.Files = append(tree.Files, File{Path: fmt.Sprintf("%05d.a-file-of-some-name", i), Size: 1, Mode: 0o644, ModTime: goldenTime})
	}
	tree.Chunks = []Chunk{{Size: 30_000}}

	for name, c := range map[string]struct {
		m        *Manifest
		segments int
	}{
		"an empty file":      {singleManifest(0), 0},
		"a small file":       {singleManifest(1), 0},
		"10 GB":              {singleManifest(10_000), 0},
		"60 GB":              {singleManifest(60_000), 3},
		"an empty folder":    {&Manifest{Files: tree.Files[:1]}, 0},
		"many small files":   {tree, 2},
		"everything at once": {goldenManifest(t), 0},
	} {
		t.Run(name, func(t *testing.T) {
			enc, err := c.m.Encode()
			if err != nil {
				t.Fatal(err)
			}
			hashes, err := SegmentsOf(enc.Root)
			if err != nil {
				t.Fatal(err)
			}
			if len(hashes) != c.segments || len(enc.Segments) != c.segments {
				t.Fatalf("root lists %d segments, Encode gave %d, want %d", len(hashes), len(enc.Segments), c.segments)
			}
			for i, s := range enc.Segments {
				if Sum(s) != hashes[i] || len(s) > MaxNode {
					t.Fatalf("segment %d of %d bytes is not what the root lists", i, len(s))
				}
			}
			got, err := Decode(enc.ID, enc.Root, enc.Segments)
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Chunks) == 0 {
				got.Chunks = c.m.Chunks
			}
			if !reflect.DeepEqual(c.m, got) {
				t.Error("decoded manifest differs")
			}
		})
	}
}

func TestTenGigabytesAreFourHundredKilobytes(t *testing.T) {
	enc, err := singleManifest(10_000).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(enc.Root); n < 380_000 || n > 420_000 {
		t.Errorf("10,000 chunks take %d bytes", n)
	}
}

// G15: no change of one byte of a manifest is accepted for its id; and where the
// id is made to fit, it is refused, or it is the one encoding of another manifest.
func TestManifestTamper(t *testing.T) {
	m := goldenManifest(t)
	for i := range 60 {
		m.Chunks = append(m.Chunks, Chunk{Hash: Sum([]byte{byte(i)}), Size: 1 << 20})
	}
	m.Files[4].Size += 60 << 20
	enc, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	root := bytes.Clone(enc.Root)
	changes, other := 0, 0
	for i := range root {
		for x := 1; x < 256; x++ {
			root[i] ^= byte(x)
			if _, err := Decode(enc.ID, root, nil); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("byte %d xor %#x: %v, want ErrCorrupt", i, x, err)
			}
			// Digests are most of the bytes; one in sixteen of the rest will do.
			if (i+x)%16 == 0 {
				got, err := Decode(ID(Sum(root)), root, nil)
				if err == nil {
					other++
					if again, err := got.Encode(); err != nil || !bytes.Equal(again.Root, root) {
						t.Fatalf("byte %d xor %#x: taken, but its encoding is another (%v)", i, x, err)
					}
				} else if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrPath) {
					t.Fatalf("byte %d xor %#x: %v", i, x, err)
				}
			}
			root[i] ^= byte(x)
			changes++
		}
	}
	t.Logf("%d changes refused; of those with an id that fits, %d are other manifests", changes, other)
}

func TestSegmentTamper(t *testing.T) {
	enc, err := singleManifest(60_000).Encode()
	if err != nil {
		t.Fatal(err)
	}
	clone := func() [][]byte {
		var s [][]byte
		for _, b := range enc.Segments {
			s = append(s, bytes.Clone(b))
		}
		return s
	}
	for name, c := range map[string]struct {
		change func(s [][]byte) [][]byte
		want   error
	}{
		"flip":    {func(s [][]byte) [][]byte { s[1][77] ^= 1; return s }, ErrCorrupt},
		"swap":    {func(s [][]byte) [][]byte { s[0], s[1] = s[1], s[0]; return s }, ErrCorrupt},
		"shorter": {func(s [][]byte) [][]byte { s[2] = s[2][1:]; return s }, ErrCorrupt},
		"longer":  {func(s [][]byte) [][]byte { s[0] = append(s[0], 0); return s }, ErrCorrupt},
		"fewer":   {func(s [][]byte) [][]byte { return s[:2] }, ErrFormat},
		"none":    {func(s [][]byte) [][]byte { return nil }, ErrFormat},
		"more":    {func(s [][]byte) [][]byte { return append(s, []byte{0}) }, ErrFormat},
	} {
		if _, err := Decode(enc.ID, enc.Root, c.change(clone())); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// allocated returns the bytes that f takes from the heap.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// G40: what claims to be huge is refused before room is made for it.
func TestManifestBombs(t *testing.T) {
	text := func(b []byte, s string) []byte { return appendText(b, s) }
	head := func(keys uint64) []byte { return appendHead(text(appendHead(nil, majorMap, keys), "v"), majorUint, 1) }
	files := func(n uint64) []byte { return appendHead(text(head(3), "files"), majorArray, n) }
	one := func(size uint64) []byte {
		f := appendHead(text(appendHead(nil, majorArray, 4), "f"), majorUint, size)
		f = appendHead(f, majorUint, 0o100644)
		return append(files(1), appendBytes(f, make([]byte, 8))...)
	}
	chunks := func(b []byte, n uint64) []byte { return appendHead(text(b, "chunks"), majorArray, n) }

	bombs := map[string][]byte{
		"10^7 chunks":            chunks(one(1<<40), 10_000_000),
		"10^7 chunks, 1 MiB":     append(chunks(one(1<<40), 10_000_000), make([]byte, MaxNode-200)...),
		"a file beyond MaxSize":  one(MaxSize + 1),
		"chunks that don't fit":  appendPiece(chunks(one(1<<40), 1), Hash{}, 1<<20),
		"a chunk over MaxChunk":  appendPiece(chunks(one(1<<40), 1), Hash{}, 1<<31),
		"2^63 files":             files(1 << 63),
		"2^64-1 files":           files(1<<64 - 1),
		"10^6 files of a byte":   append(files(MaxFiles), bytes.Repeat([]byte{0x80}, MaxNode-200)...),
		"2^63 keys":              head(1 << 63),
		"a key of 2^63 bytes":    appendHead(head(3), majorText, 1<<63),
		"a path of 2^63 bytes":   appendHead(appendHead(files(1), majorArray, 4), majorText, 1<<63),
		"2^32 labels":            appendHead(text(append(chunks(one(0), 0)[:0:0], chunks(one(0), 0)...), "labels"), majorMap, 1<<32),
		"depth 10^5":             append(files(1), bytes.Repeat([]byte{0x81}, 100_000)...),
		"indefinite array":       append(text(head(3), "files"), 0x9f, 0xff),
		"indefinite map":         {0xbf, 0x61, 'v', 1, 0xff},
		"tags":                   append(text(head(3), "files"), bytes.Repeat([]byte{0xc1}, 1000)...),
		"over MaxNode":           make([]byte, MaxNode+1),
		"2^63 segments":          appendHead(text(appendHead(text(head(3), "size"), majorUint, MaxNode+1), "segments"), majorArray, 1<<63),
		"segments of 2^63 bytes": appendHead(text(head(3), "size"), majorUint, 1<<63),
		"nothing":                {},
	}
	const limit = 10 * time.Millisecond
	for name, bomb := range bombs {
		t.Run(name, func(t *testing.T) {
			for what, decode := range map[string]func() error{
				"Decode":        func() error { _, err := Decode(ID(Sum(bomb)), bomb, nil); return err },
				"DecodeBlocks":  func() error { _, err := DecodeBlocks(Sum(bomb), bomb); return err },
				"DecodeRelease": func() error { _, err := DecodeRelease(bomb); return err },
			} {
				var err error
				var n uint64
				took := time.Hour
				for i := 0; i < 3 || i < 100 && took > limit; i++ { // a busy machine may stop us in between
					start := time.Now()
					n = allocated(func() { err = decode() })
					took = min(took, time.Since(start))
				}
				if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrPath) {
					t.Errorf("%s: %v", what, err)
				}
				if n > 4<<20 || n > 4*uint64(len(bomb))+64<<10 {
					t.Errorf("%s: %d bytes allocated for %d", what, n, len(bomb))
				}
				if took > limit {
					t.Errorf("%s: took %v", what, took)
				}
			}
			if _, err := SegmentsOf(bomb); err == nil && strings.Contains(name, "segment") {
				t.Error("SegmentsOf: no error")
			}
		})
	}
}

// What a hostile publisher could choose to make a manifest grow in memory: the
// smallest files with the shortest names, in scripts that are slow to fold. G46.
func TestDecodeAllocatesInProportion(t *testing.T) {
	for name, letters := range map[string]string{
		"ASCII": "!#$%&'()+,-0123456789;=@[]^_`abcdefghijklmnopqrstuvwxyz{}",
		// Two of them decompose, one is a mark that might compose but does not.
		"others": "!#$%&'()+,-0123456789;=@[]^_`abcdefghi\u0331\u00e9\u03b6\u03ca",
	} {
		sorted := []rune(letters)
		slices.Sort(sorted)
		m := &Manifest{Files: []File{{Path: ".", Mode: fs.ModeDir, ModTime: time.Unix(0, 0)}}}
		for _, a := range sorted[:25] {
			for _, b := range sorted {
				for _, c := range sorted {
					path := string([]rune{a, b, c})
					if norm.NFC.IsNormalString(path) && CheckPath(path) == nil {
						m.Files = append(m.Files, File{Path: path, ModTime: time.Unix(0, 0)})
					}
				}
			}
		}
		enc, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		input := len(enc.Root)
		for _, s := range enc.Segments {
			input += len(s)
		}
		n := allocated(func() { _, err = Decode(enc.ID, enc.Root, enc.Segments) })
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d files: %d bytes of input, %d allocated (%.2f times)", name, len(m.Files), input, n, float64(n)/float64(input))
		times := uint64(4)
		if raced {
			times = 5
		}
		if n > times*uint64(input)+64<<10 {
			t.Errorf("%s: %d bytes allocated for %d", name, n, input)
		}
	}
}

func TestManifestRules(t *testing.T) {
	dir := func(p string) File { return File{Path: p, Mode: fs.ModeDir | 0o755, ModTime: goldenTime} }
	file := func(p string) File { return File{Path: p, Mode: 0o644, ModTime: goldenTime} }
	tree := func(f ...File) []File { return append([]File{dir(".")}, f...) }
	with := func(f File, change func(*File)) File { change(&f); return f }

	for name, c := range map[string]struct {
		m    Manifest
		want error
	}{
		"one file":                  {Manifest{Files: []File{file("a")}}, nil},
		"a tree":                    {Manifest{Files: tree(dir("a"), file("a/b"), dir("a/c"), file("a/c/d"), file("a/e"), file("a.txt"), file("b"))}, nil},
		"no file":                   {Manifest{}, ErrFormat},
		"one file in a folder":      {Manifest{Files: []File{file("a/b")}}, ErrPath},
		"a file called .":           {Manifest{Files: []File{file(".")}}, ErrPath},
		"two files, no folder":      {Manifest{Files: []File{file("a"), file("b")}}, ErrPath},
		"a folder not called .":     {Manifest{Files: []File{dir("a")}}, ErrPath},
		"twice the root":            {Manifest{Files: tree(dir("."))}, ErrPath},
		"twice a file":              {Manifest{Files: tree(file("a"), file("a"))}, ErrPath},
		"out of order":              {Manifest{Files: tree(file("b"), file("a"))}, ErrPath},
		"a.txt before a/b":          {Manifest{Files: tree(dir("a"), file("a.txt"), file("a/b"))}, ErrPath},
		"no parent":                 {Manifest{Files: tree(file("a/b"))}, ErrPath},
		"no parent after another":   {Manifest{Files: tree(dir("a"), file("a/b"), file("a/c/d"))}, ErrPath},
		"a file as folder":          {Manifest{Files: tree(file("a"), file("a/b"))}, ErrPath},
		"a sibling's prefix":        {Manifest{Files: tree(dir("a"), file("ab/c"))}, ErrPath},
		"case collision":            {Manifest{Files: tree(file("README"), file("readme"))}, ErrPath},
		"case collision of folders": {Manifest{Files: tree(dir("Sub"), file("Sub/x"), dir("sub"), file("sub/y"))}, ErrPath},
		"sharp s":                   {Manifest{Files: tree(file("STRASSE"), file("straße"))}, ErrPath},
		"Greek sigmas":              {Manifest{Files: tree(file("ΣΑΣ"), file("σας"))}, ErrPath},
		"a decomposing fold":        {Manifest{Files: tree(file("ᾼ"), file("ᾳ"))}, ErrPath},
		"a variation selector":      {Manifest{Files: tree(file("❤"), file("❤\ufe0f"))}, ErrPath},
		"an i without dot":          {Manifest{Files: tree(file("i"), file("ı"))}, nil},
		"a hostile name":            {Manifest{Files: tree(file("../a"))}, ErrPath},
		"negative size":             {Manifest{Files: []File{with(file("a"), func(f *File) { f.Size = -1 })}}, ErrFormat},
		"huge size":                 {Manifest{Files: []File{with(file("a"), func(f *File) { f.Size = MaxSize + 1 })}}, ErrFormat},
		"huge sum": {Manifest{Files: tree(with(file("a"), func(f *File) { f.Size = MaxSize }),
			with(file("b"), func(f *File) { f.Size = 1 }))}, ErrFormat},
		"a folder with bytes": {Manifest{Files: []File{with(dir("."), func(f *File) { f.Size = 1 })}}, ErrFormat},
		"a symlink":           {Manifest{Files: []File{with(file("a"), func(f *File) { f.Mode |= fs.ModeSymlink })}}, ErrFormat},
		"setuid":              {Manifest{Files: []File{with(file("a"), func(f *File) { f.Mode |= fs.ModeSetuid })}}, ErrFormat},
		"the year 1600":       {Manifest{Files: []File{with(file("a"), func(f *File) { f.ModTime = time.Date(1600, 1, 1, 0, 0, 0, 0, time.UTC) })}}, ErrFormat},
		"the zero time":       {Manifest{Files: []File{with(file("a"), func(f *File) { f.ModTime = time.Time{} })}}, ErrFormat},
		"chunks without file": {Manifest{Files: []File{file("a")}, Chunks: []Chunk{{Size: 1}}}, ErrFormat},
		"file without chunks": {Manifest{Files: []File{with(file("a"), func(f *File) { f.Size = 1 })}}, ErrFormat},
		"an empty chunk":      {Manifest{Files: []File{file("a")}, Chunks: []Chunk{{}}}, ErrFormat},
		"a huge chunk": {Manifest{Files: []File{with(file("a"), func(f *File) { f.Size = MaxChunk + 1 })},
			Chunks: []Chunk{{Size: MaxChunk + 1}}}, ErrFormat},
		"a type":                {Manifest{Files: []File{file("a")}, Type: "os-image2"}, nil},
		"a type with a line":    {Manifest{Files: []File{file("a")}, Type: "os\nimage"}, ErrFormat},
		"a type too long":       {Manifest{Files: []File{file("a")}, Type: strings.Repeat("a", MaxType+1)}, ErrFormat},
		"a label":               {Manifest{Files: []File{file("a")}, Labels: map[string]string{"a/b.c_d-e": ""}}, nil},
		"no key":                {Manifest{Files: []File{file("a")}, Labels: map[string]string{"": "x"}}, ErrFormat},
		"a bad key":             {Manifest{Files: []File{file("a")}, Labels: map[string]string{"a b": "x"}}, ErrFormat},
		"a bad value":           {Manifest{Files: []File{file("a")}, Labels: map[string]string{"a": "\u202e"}}, ErrFormat},
		"a value too long":      {Manifest{Files: []File{file("a")}, Labels: map[string]string{"a": strings.Repeat("x", MaxValue+1)}}, ErrFormat},
		"too many labels":       {Manifest{Files: []File{file("a")}, Labels: manyLabels(MaxLabels + 1)}, ErrFormat},
		"as many labels":        {Manifest{Files: []File{file("a")}, Labels: manyLabels(MaxLabels)}, nil},
		"an origin":             {Manifest{Files: []File{file("a")}, Origins: []Origin{{URL: "http://h/p?q"}}}, nil},
		"no such file":          {Manifest{Files: []File{file("a")}, Origins: []Origin{{URL: "http://h/p", File: 1}}}, ErrFormat},
		"an origin of a folder": {Manifest{Files: tree(file("a")), Origins: []Origin{{URL: "http://h/p", File: 0}}}, ErrFormat},
		"a file URL":            {Manifest{Files: []File{file("a")}, Origins: []Origin{{URL: "file:///etc/passwd"}}}, ErrFormat},
		"no host":               {Manifest{Files: []File{file("a")}, Origins: []Origin{{URL: "http:///p"}}}, ErrFormat},
		"a password":            {Manifest{Files: []File{file("a")}, Origins: []Origin{{URL: "http://u:p@h/"}}}, ErrFormat},
		"a URL too long":        {Manifest{Files: []File{file("a")}, Origins: []Origin{{URL: "http://h/" + strings.Repeat("x", MaxURL)}}}, ErrFormat},
		"too many origins":      {Manifest{Files: []File{file("a")}, Origins: make([]Origin, MaxOrigins+1)}, ErrFormat},
	} {
		t.Run(name, func(t *testing.T) {
			enc, err := c.m.Encode()
			if !errors.Is(err, c.want) {
				t.Fatalf("Encode: %v, want %v", err, c.want)
			}
			if c.want == nil {
				if _, err := Decode(enc.ID, enc.Root, nil); err != nil {
					t.Errorf("Decode: %v", err)
				}
				return
			}
			// What Encode refuses, Decode refuses too, were it written by another.
			// (What can't be written at all is not for this test.)
			root := c.m.appendTo(nil)
			if _, err := Decode(ID(Sum(root)), root, nil); err == nil && !strings.Contains("a symlink setuid the zero time the year 1600", name) {
				t.Error("Decode takes it")
			}
		})
	}
}

func manyLabels(n int) map[string]string {
	labels := make(map[string]string)
	for i := range n {
		labels[fmt.Sprintf("label%d", i)] = "x"
	}
	return labels
}

func TestBlockListRules(t *testing.T) {
	for name, c := range map[string]struct {
		blocks []Block
		want   error
	}{
		"none":       {nil, ErrFormat},
		"one":        {[]Block{{Size: 1}}, nil},
		"most":       {many(MaxBlocks, MaxBlock), nil},
		"too many":   {many(MaxBlocks+1, 1), ErrFormat},
		"empty":      {[]Block{{Size: 1}, {Size: 0}}, ErrFormat},
		"over large": {[]Block{{Size: MaxBlock + 1}}, ErrFormat},
	} {
		node, err := EncodeBlocks(c.blocks)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if c.want != nil {
			node = appendHead(nil, majorArray, uint64(len(c.blocks)))
			for _, b := range c.blocks {
				node = appendPiece(node, b.Hash, b.Size)
			}
		}
		if _, err := DecodeBlocks(Sum(node), node); !errors.Is(err, c.want) {
			t.Errorf("%s: DecodeBlocks: %v, want %v", name, err, c.want)
		}
		if _, err := DecodeBlocks(Hash{}, node); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: with another hash: %v, want ErrCorrupt", name, err)
		}
	}
}

func many(n int, size uint32) []Block {
	blocks := make([]Block, n)
	for i := range blocks {
		blocks[i] = Block{Hash: Sum([]byte{byte(i)}), Size: size}
	}
	return blocks
}

func TestLaterVersionIsNamed(t *testing.T) {
	b := appendHead(appendText(appendHead(nil, majorMap, 2), "v"), majorUint, 2)
	b = appendHead(appendText(b, "x"), majorUint, 0)
	for _, decode := range []func() error{
		func() error { _, err := Decode(ID(Sum(b)), b, nil); return err },
		func() error { _, err := DecodeRelease(b); return err },
	} {
		if err := decode(); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "version 2") {
			t.Errorf("%v, want ErrFormat that names version 2", err)
		}
	}
}
