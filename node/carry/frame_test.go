package carry

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"runtime"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/content"
)

func samples() []*message {
	runs := roaring.BitmapOf(0, 1, 2, 7, 9, 10)
	p := peer.ID("\x00\x24\x08\x01\x12\x20" + string(bytes.Repeat([]byte{7}, 32)))
	return []*message{
		{kind: kindJoin, content: content.ID{1, 2}, joining: Joining{Chunks: 12, Willing: true, Reader: true, Has: runs, Carrying: []int{3, 11}}},
		{kind: kindJoin, joining: Joining{Has: roaring.New()}},
		{kind: kindChunks, n: 100},
		{kind: kindHas, has: runs},
		{kind: kindPropose, n: 4, insist: true, chunks: []int{9, 3, 1}},
		{kind: kindPropose, n: 1},
		{kind: kindProgress, bytes: 1 << 40, left: 77},
		{kind: kindRelease, chunks: []int{5}},
		{kind: kindDone}, {kind: kindAlive},
		{kind: kindCrew, crew: Crew{Carrier: true, Found: true, Carriers: []peer.ID{p, p}}},
		{kind: kindCrew},
		{kind: kindAnswer, chunks: []int{1, 2}, taken: []int{3}},
		{kind: kindAnswer},
		{kind: kindFree, chunks: []int{1 << 20}},
		{kind: kindRevoke, chunks: []int{0}},
		{kind: kindMeet, peers: []peer.ID{p}},
	}
}

func TestMessagesComeBackAsTheyWere(t *testing.T) {
	for _, m := range samples() {
		got, err := readMessage(bytes.NewReader(m.encode()))
		if err != nil {
			t.Fatalf("kind %#x: %v", m.kind, err)
		}
		if !same(m, got) {
			t.Errorf("kind %#x:\nsaid  %+v\nheard %+v", m.kind, m, got)
		}
	}
}

// same compares messages; an empty map is as good as none.
func same(a, b *message) bool {
	x, y := *a, *b
	equal := func(a, b *roaring.Bitmap) bool {
		return (a == nil || a.IsEmpty()) && (b == nil || b.IsEmpty()) || a != nil && b != nil && a.Equals(b)
	}
	if !equal(x.has, y.has) || !equal(x.joining.Has, y.joining.Has) {
		return false
	}
	x.has, y.has, x.joining.Has, y.joining.Has = nil, nil, nil, nil
	return reflect.DeepEqual(x, y)
}

func TestMalformedFramesAreRefused(t *testing.T) {
	for name, b := range map[string][]byte{
		"of no size":                {0, 0, 0, 0, 1},
		"too large":                 {0xff, 0, 0, 0, 1},
		"of a kind nobody knows":    {0, 0, 0, 1, 0x99},
		"short of a content id":     {0, 0, 0, 3, kindJoin, 1, 2},
		"longer than it says":       {0, 0, 0, 2, kindAlive, 1},
		"a list beyond the frame":   {0, 0, 0, 3, kindFree, 0xff, 0xff},
		"chunks beyond a manifest":  {0, 0, 0, 5, kindChunks, 0xff, 0xff, 0xff, 0xff},
		"runs that overlap":         append([]byte{0, 0, 0, 17, kindHas}, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 1),
		"an empty run":              append([]byte{0, 0, 0, 9, kindHas}, 0, 0, 0, 1, 0, 0, 0, 0),
		"a peer that is no peer":    {0, 0, 0, 3, kindMeet, 1, 9},
		"a peer beyond the frame":   {0, 0, 0, 3, kindMeet, 9, 9},
		"more bytes than there are": append([]byte{0, 0, 0, 17, kindProgress}, bytes.Repeat([]byte{0xff}, 16)...),
	} {
		if m, err := readMessage(bytes.NewReader(b)); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
	if _, err := readMessage(bytes.NewReader([]byte{0, 0, 0, 9, kindHas, 0})); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut off: %v", err)
	}
}

// A map in so many pieces that a frame can't say all of it is said in part.
func TestLongMapsAreCut(t *testing.T) {
	has := roaring.New()
	for i := range uint32(3 * maxRuns) {
		has.Add(2 * i)
	}
	got, err := readMessage(bytes.NewReader((&message{kind: kindHas, has: has}).encode()))
	if err != nil {
		t.Fatal(err)
	}
	if n := got.has.GetCardinality(); n != maxRuns || roaring.AndNot(got.has, has).GetCardinality() != 0 {
		t.Errorf("%d chunks came, of which %d were not said", n, roaring.AndNot(got.has, has).GetCardinality())
	}
}

func FuzzMessage(f *testing.F) {
	for _, m := range samples() {
		f.Add(m.encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		m, err := readMessage(bytes.NewReader(b))
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > uint64(64*len(b)+64<<10) {
			t.Errorf("%d bytes took %d of memory", len(b), grown)
		}
		if err != nil {
			return
		}
		again, err := readMessage(bytes.NewReader(m.encode()))
		if err != nil || !same(m, again) {
			t.Errorf("%+v came back as %+v, %v", m, again, err)
		}
	})
}
