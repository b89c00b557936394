package content

import (
	"bytes"
	"errors"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// bounded fails the test if decode allocates more than in proportion to input
// (G46).
func bounded(t *testing.T, input int, decode func()) {
	t.Helper()
	if n := allocated(decode); n > 4*uint64(input)+64<<10 {
		t.Errorf("%d bytes allocated for %d of input", n, input)
	}
}

func FuzzDecodeManifest(f *testing.F) {
	for _, m := range []*Manifest{goldenManifest(f), singleManifest(0), singleManifest(3)} {
		enc, err := m.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(enc.Root)
	}
	enc, err := singleManifest(60_000).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(enc.Root)
	f.Fuzz(func(t *testing.T, root []byte) {
		var m *Manifest
		var err error
		bounded(t, len(root), func() { m, err = Decode(ID(Sum(root)), root, nil) })
		bounded(t, len(root), func() { _, _ = SegmentsOf(root) })
		if err != nil {
			if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrPath) {
				t.Errorf("%v", err)
			}
			return
		}
		again, err := m.Encode()
		if err != nil || !bytes.Equal(again.Root, root) {
			t.Fatalf("taken, but not as it would be encoded (%v)\n got %x\nwant %x", err, again.Root, root)
		}
		if err := cbor.Wellformed(root); err != nil {
			t.Errorf("taken, but no CBOR: %v", err)
		}
	})
}

// Segments are what a manifest's bytes are cut into; here they are cut small, so
// that every item crosses from one to the next.
func FuzzDecodeSegments(f *testing.F) {
	enc, err := goldenManifest(f).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(enc.Root, uint8(1))
	f.Add(enc.Root, uint8(7))
	f.Fuzz(func(t *testing.T, all []byte, size uint8) {
		var pieces [][]byte
		for rest := all; len(rest) > 0; {
			n := min(len(rest), int(size)+1)
			pieces = append(pieces, rest[:n])
			rest = rest[n:]
		}
		whole, errWhole := decodeManifest([][]byte{all})
		cut, errCut := decodeManifest(pieces)
		if (errWhole == nil) != (errCut == nil) {
			t.Fatalf("in one: %v; in pieces: %v", errWhole, errCut)
		}
		if errWhole == nil && !bytes.Equal(whole.appendTo(nil), cut.appendTo(nil)) {
			t.Error("in pieces it is another manifest")
		}
	})
}

func FuzzDecodeBlocks(f *testing.F) {
	for _, blocks := range [][]Block{goldenBlocks(), many(MaxBlocks, MaxBlock)} {
		node, err := EncodeBlocks(blocks)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(node)
	}
	f.Fuzz(func(t *testing.T, node []byte) {
		var blocks []Block
		var err error
		bounded(t, len(node), func() { blocks, err = DecodeBlocks(Sum(node), node) })
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("%v", err)
			}
			return
		}
		again, err := EncodeBlocks(blocks)
		if err != nil || !bytes.Equal(again, node) {
			t.Fatalf("taken, but not as it would be encoded (%v)\n got %x\nwant %x", err, again, node)
		}
	})
}

func FuzzDecodeRelease(f *testing.F) {
	b, err := goldenRelease().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Release
		var err error
		bounded(t, len(b), func() { r, err = DecodeRelease(b) })
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("%v", err)
			}
			return
		}
		again, err := r.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("taken, but not as it would be encoded (%v)\n got %x\nwant %x", err, again, b)
		}
	})
}

func FuzzParseID(f *testing.F) {
	f.Add(ID(Sum(nil)).String())
	f.Add(Sum(nil).Raw().String())
	f.Add("zdpuAyhbVvhEvu7iPJmSSQLG1JWDbkRMR7SmVPMSZfxGYLZs6")
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 1000 {
			return
		}
		id, err := ParseID(s)
		if err != nil {
			if !errors.Is(err, ErrID) {
				t.Errorf("%v", err)
			}
			return
		}
		if again, err := ParseID(id.String()); err != nil || again != id {
			t.Errorf("%q is %v, which is %v (%v)", s, id, again, err)
		}
	})
}
