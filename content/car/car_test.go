package car_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/ipfs/go-cid"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/car"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// A source is a sample as it would be read from a store.
type source struct{ *storetest.Sample }

func (s source) Encoded() content.Encoded                 { return s.Sample.Encoded }
func (s source) Manifest() *content.Manifest              { return s.Sample.Manifest }
func (s source) Node(chunk int) ([]byte, bool)            { return s.Nodes[chunk], true }
func (s source) Blocks(chunk int) ([]content.Block, bool) { return s.Sample.Blocks[chunk], true }
func (s source) ReadBlock(chunk, block int, buf []byte) ([]byte, error) {
	return append(buf[:0], s.Block(chunk, block)...), nil
}

// A target takes what a sample has, and fails the test if it is given anything
// else.
type target struct {
	t      testing.TB
	want   *storetest.Sample
	blocks int
}

func (g *target) SetBlocks(chunk int, node []byte) error {
	if !bytes.Equal(node, g.want.Nodes[chunk]) {
		g.t.Errorf("chunk %d has another list", chunk)
	}
	return nil
}

func (g *target) WriteBlock(chunk, block int, data []byte) (bool, error) {
	if !bytes.Equal(data, g.want.Block(chunk, block)) {
		g.t.Errorf("block %d of chunk %d has other bytes", block, chunk)
	}
	g.blocks++
	return true, nil
}

// goldenSum is the hash of a small file.
const goldenSum = "e550affdcafbf802846dd6066e6608ad75e7c5b762847ee815a6da0eac34fd46"

var envelopes = [][]byte{[]byte(`{"payloadType":"release","payload":"one"}`), []byte("two")}

func write(t testing.TB, s *storetest.Sample, releases [][]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var last int64
	if err := car.Write(t.Context(), &out, source{s}, releases, func(done int64) { last = done }); err != nil {
		t.Fatal(err)
	}
	if last != int64(len(s.Data)) {
		t.Errorf("told of %d bytes of %d", last, len(s.Data))
	}
	return out.Bytes()
}

// read reads a file as an importer does.
func read(r io.Reader, to func(enc content.Encoded) car.Target) (*car.Bundle, error) {
	b, err := car.Open(r)
	if err != nil {
		return nil, err
	}
	enc, err := b.Manifest()
	if err != nil {
		return b, err
	}
	return b, b.Copy(context.Background(), to(enc), nil)
}

func samples(t testing.TB) map[string]*storetest.Sample {
	wide := []content.File{{Path: ".", Mode: fs.ModeDir | 0o755}}
	for i := range 50_000 { // a manifest in two segments
		wide = append(wide, content.File{Path: fmt.Sprintf("f%05d", i), Mode: 0o644})
	}
	wide[1].Size = 10_000
	return map[string]*storetest.Sample{
		"file":  storetest.File(t, 1, 300_000, storetest.Small),
		"empty": storetest.File(t, 2, 0, storetest.Small),
		"tree":  storetest.Tree(t, 3),
		"split": storetest.New(t, 4, storetest.Small, wide...),
		"large": storetest.File(t, 5, 5<<20, storetest.Large),
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	var many [][]byte
	for i := range car.MaxReleases {
		many = append(many, bytes.Repeat([]byte{byte(i)}, car.MaxRelease-i))
	}
	for name, s := range samples(t) {
		for _, releases := range [][][]byte{nil, envelopes, many} {
			t.Run(fmt.Sprintf("%s/%d", name, len(releases)), func(t *testing.T) {
				if name == "split" && len(s.Segments) < 2 {
					t.Fatal("the manifest isn't split")
				}
				file := write(t, s, releases)
				g := &target{t: t, want: s}
				b, err := read(iotest{bytes.NewReader(file)}, func(enc content.Encoded) car.Target {
					if enc.ID != s.ID || !bytes.Equal(enc.Root, s.Root) || len(enc.Segments) != len(s.Segments) {
						t.Error("another manifest")
					}
					return g
				})
				if err != nil {
					t.Fatal(err)
				}
				if b.ID != s.ID || len(b.Releases) != len(releases) || g.blocks != len(s.Refs()) {
					t.Errorf("%v with %d releases and %d blocks", b.ID, len(b.Releases), g.blocks)
				}
				for i, r := range b.Releases {
					if !bytes.Equal(r, releases[i]) {
						t.Errorf("release %d is %q", i, r)
					}
				}
			})
		}
	}
}

// iotest gives a few bytes at a time.
type iotest struct{ r io.Reader }

func (r iotest) Read(b []byte) (int, error) { return r.r.Read(b[:min(len(b), 7919)]) }

// The file is what the specification says, as other implementations of its parts
// read them: sections as lengths, CIDs and bytes; nodes as DAG-CBOR.
func TestFileIsPlainCARv1(t *testing.T) {
	s := storetest.Tree(t, 3)
	file := write(t, s, envelopes)
	section := func() []byte {
		n, k := binary.Uvarint(file)
		if k <= 0 || n > uint64(len(file)-k) {
			t.Fatalf("length %d of %d bytes", n, len(file))
		}
		b := file[k : k+int(n)]
		file = file[k+int(n):]
		return b
	}
	link := func(x any) cid.Cid {
		tag, ok := x.(cbor.Tag)
		b, isBytes := tag.Content.([]byte)
		if !ok || tag.Number != 42 || !isBytes || b[0] != 0 {
			t.Fatalf("no link: %v", x)
		}
		c, err := cid.Cast(b[1:])
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	var head map[string]any
	if err := cbor.Unmarshal(section(), &head); err != nil {
		t.Fatal(err)
	}
	roots := head["roots"].([]any)
	if len(head) != 2 || head["version"] != uint64(1) || len(roots) != 2 || link(roots[0]).String() != s.ID.String() {
		t.Fatalf("header %v", head)
	}
	var names []cid.Cid
	seen := map[cid.Cid][]byte{}
	for len(file) > 0 {
		b := section()
		n, c, err := cid.CidFromBytes(b)
		if err != nil {
			t.Fatal(err)
		}
		sum, err := c.Prefix().Sum(b[n:])
		if err != nil || sum != c {
			t.Fatalf("section %d: %v names %v (%v)", len(names), c, sum, err)
		}
		names = append(names, c)
		seen[c] = b[n:]
	}
	var bundle map[string]any
	if err := cbor.Unmarshal(seen[link(roots[1])], &bundle); err != nil {
		t.Fatal(err)
	}
	releases := bundle["releases"].([]any)
	if len(bundle) != 3 || bundle["v"] != uint64(1) || link(bundle["content"]).String() != s.ID.String() || len(releases) != len(envelopes) {
		t.Errorf("bundle %v", bundle)
	}
	for i, r := range releases {
		if !bytes.Equal(seen[link(r)], envelopes[i]) {
			t.Errorf("release %d is %q", i, seen[link(r)])
		}
	}
	want := []cid.Cid{link(roots[1]), link(releases[0]), link(releases[1]), link(roots[0])}
	for i, c := range s.Manifest.Chunks {
		want = append(want, c.Hash.Node())
		for _, b := range s.Blocks[i] {
			want = append(want, b.Hash.Raw())
		}
	}
	if fmt.Sprint(names) != fmt.Sprint(want) {
		t.Error("sections are in another order than doc.go says")
	}
}

// One content has one file, for as long as there is a version 1 of it.
func TestFileNeverChanges(t *testing.T) {
	sum := content.Sum(write(t, storetest.File(t, 1, 20_000, storetest.Small), envelopes))
	if got := fmt.Sprintf("%x", sum[:]); got != goldenSum {
		t.Errorf("the file's hash is %s", got)
	}
}

// hostile says whether err is what a bad file may bring.
func hostile(err error) bool {
	return errors.Is(err, content.ErrFormat) || errors.Is(err, content.ErrCorrupt) || errors.Is(err, content.ErrPath)
}

// Every byte of the file is turned: no change is taken for the content, and no
// wrong block is handed on. The same for every place where it may end early.
func TestNothingWrongIsTaken(t *testing.T) {
	s := storetest.File(t, 1, 6_000, storetest.Small)
	file := write(t, s, envelopes)
	take := func(b []byte) error {
		_, err := read(bytes.NewReader(b), func(content.Encoded) car.Target { return &target{t: t, want: s} })
		return err
	}
	for i := range file {
		if err := take(file[:i]); !errors.Is(err, content.ErrFormat) {
			t.Fatalf("ends at byte %d: %v", i, err)
		}
		for _, bit := range []byte{1, 0x80} {
			file[i] ^= bit
			if err := take(file); !hostile(err) {
				t.Fatalf("byte %d, bit %#x: %v", i, bit, err)
			}
			file[i] ^= bit
		}
	}
	if err := take(file); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d files", 3*len(file))
}

func TestHostileFiles(t *testing.T) {
	s, other := storetest.File(t, 1, 6_000, storetest.Small), storetest.File(t, 2, 6_000, storetest.Small)
	put := func(roots []cid.Cid, parts ...[]byte) []byte {
		var out bytes.Buffer
		w, err := car.NewWriter(&out, roots...)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range parts {
			if err := w.Put(content.Sum(p).Node(), p); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	root := content.Hash(s.ID).Node()
	plain := write(t, s, nil)
	block := bytes.Repeat([]byte{7}, content.MaxBlock)
	cases := map[string]io.Reader{
		"nothing":               bytes.NewReader(nil),
		"zeros":                 endless{0},
		"ones":                  endless{0xff},
		"no roots":              bytes.NewReader(put(nil)),
		"three roots":           bytes.NewReader(put([]cid.Cid{root, root, root})),
		"root is a block":       bytes.NewReader(put([]cid.Cid{content.Sum(nil).Raw()})),
		"root of another":       bytes.NewReader(put([]cid.Cid{root}, other.Root)),
		"root is no manifest":   bytes.NewReader(put([]cid.Cid{content.Sum(block).Node()}, block)),
		"bundle of another":     bytes.NewReader(append(write(t, s, envelopes)[:50], write(t, other, envelopes)[50:]...)),
		"bundle is the content": bytes.NewReader(put([]cid.Cid{root, root}, s.Root)),
		"a section more":        bytes.NewReader(append(bytes.Clone(plain), put(nil, s.Nodes[0])[18:]...)),
		"twice":                 bytes.NewReader(append(bytes.Clone(plain), plain...)),
		"endless behind":        io.MultiReader(bytes.NewReader(plain), endless{1}),
		"length in ten bytes":   io.MultiReader(bytes.NewReader([]byte("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00")), endless{0}),
		"length not shortest":   bytes.NewReader(append([]byte{plain[0] | 0x80, 0}, plain[1:]...)),
		"length of 2^62":        io.MultiReader(bytes.NewReader([]byte("\x80\x80\x80\x80\x80\x80\x80\x80\x40")), endless{0}),
	}
	for name, r := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := read(r, func(content.Encoded) car.Target { return &target{t: t, want: s} })
			if !hostile(err) {
				t.Errorf("%v", err)
			}
		})
	}
}

// endless is one byte for ever.
type endless struct{ c byte }

func (e endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = e.c
	}
	return len(b), nil
}

// A file is no place where what rotted on this disk goes on to others.
func TestWriteRefusesWhatRotted(t *testing.T) {
	s := storetest.File(t, 1, 6_000, storetest.Small)
	s.Data[5_000] ^= 1
	if err := car.Write(t.Context(), io.Discard, source{s}, nil, nil); !errors.Is(err, content.ErrCorrupt) {
		t.Errorf("%v", err)
	}
}

func TestWriteEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := storetest.File(t, 1, 300_000, storetest.Small)
	err := car.Write(ctx, io.Discard, source{s}, nil, func(int64) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
