package exchange

import (
	"bytes"
	"errors"
	"testing"

	"github.com/p2pnode/p2pnode/content"
)

func TestListsOfChunksThatAreNotHeld(t *testing.T) {
	h := newHolding(t, 2560*kib, kib).only(0) // 160 chunks, of which one is held; several frames
	_, _, s := pair(t, newMemory(h), Config{})
	all, err := s.Lists(t.Context(), h.encoded.ID, 0, MaxLists)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != len(h.nodes) {
		t.Fatalf("%d lists of %d chunks", len(all), len(h.nodes))
	}
	for i, l := range all {
		if l.Chunk != i || !bytes.Equal(l.Node, h.nodes[i]) {
			t.Errorf("list %d is of chunk %d, or differs", i, l.Chunk)
		}
	}
	some, err := s.Lists(t.Context(), h.encoded.ID, 7, 3)
	if err != nil || len(some) != 3 || some[0].Chunk != 7 || some[2].Chunk != 9 {
		t.Errorf("lists 7 to 9: %v, %v", some, err)
	}
	if beyond, err := s.Lists(t.Context(), h.encoded.ID, len(h.nodes), 5); err != nil || len(beyond) != 0 {
		t.Errorf("lists beyond the content: %d, %v", len(beyond), err)
	}
	if _, err := s.Lists(t.Context(), content.ID{1}, 0, 1); !errors.Is(err, content.ErrNotFound) {
		t.Errorf("lists of what the peer lacks: %v", err)
	}
	for _, bad := range [][2]int{{-1, 1}, {0, 0}, {0, MaxLists + 1}, {MaxChunks, 1}} {
		if _, err := s.Lists(t.Context(), h.encoded.ID, bad[0], bad[1]); err == nil || s.Err() != nil {
			t.Errorf("%d lists from %d on: %v", bad[1], bad[0], err)
		}
	}
}
