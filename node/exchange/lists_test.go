package exchange

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"golang.org/x/time/rate"

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

// A peer that asks for lists without end gets so many and then waits, on another
// stream too, and only for lists.
func TestListsOfAPeerAreBounded(t *testing.T) {
	h := newHolding(t, mib, 64*kib)
	x := newExchange(t, newHost(t), newMemory(h), Config{})
	mallory := newHost(t)
	slow := rate.NewLimiter(1, listsAtOnce)
	x.mu.Lock()
	x.budgets[mallory.ID()] = slow
	x.mu.Unlock()
	lists := func(id uint32) []byte {
		b := append(slices.Clone(h.encoded.ID[:]), 0, 0, 0, 0)
		return frame(kindLists, 0, 0, id, binary.BigEndian.AppendUint32(b, MaxLists)...)
	}
	// ends reads what comes up to the end of id, and returns which have ended.
	ends := func(stream network.Stream, id uint32) (ended []uint32) {
		t.Helper()
		for !slices.Contains(ended, id) {
			switch f := readOne(stream, true); f.kind {
			case 0:
				t.Fatalf("the stream ends before the answer %d", id)
			case kindEnd, kindBlock:
				ended = append(ended, f.id)
			}
		}
		return ended
	}
	write := func(stream network.Stream, frames ...[]byte) {
		t.Helper()
		for _, f := range frames {
			if _, err := stream.Write(f); err != nil {
				t.Fatal(err)
			}
		}
	}
	stream := client(t, mallory, x.host)
	for id := uint32(1); id <= maxCalls; id++ {
		write(stream, lists(id))
		ends(stream, id)
	}
	// Of these the lists would come first.
	write(stream, lists(100), asking(101, h.encoded.ID, 0, 1))
	if ended := ends(stream, 101); len(ended) != 1 {
		t.Fatalf("%d are answered", ended)
	}
	write(stream, frame(kindCancel, 0, 0, 100))
	ends(stream, 100)
	eventually(t, "what was given up takes nothing", func() bool { return slow.Tokens() > -1 })

	again := client(t, mallory, x.host)
	write(again, lists(1), asking(2, h.encoded.ID, 0, 1))
	if ended := ends(again, 2); len(ended) != 1 {
		t.Errorf("%d are answered on another stream", ended)
	}
	_ = again.Reset()
	eventually(t, "the stream has ended", func() bool { return len(x.Stats().Serving) == 0 })
	known := func(later time.Duration) bool {
		x.sweepBudgets(time.Now().Add(later))
		x.mu.Lock()
		defer x.mu.Unlock()
		return x.budgets[mallory.ID()] != nil
	}
	if !known(0) || known(listsAtOnce*time.Second) {
		t.Error("a peer is forgotten before its budget is whole again, or never")
	}
}

// What is beyond the budget comes when its time has come.
func TestListsComeLater(t *testing.T) {
	h := newHolding(t, mib, 64*kib)
	_, _, s := pair(t, newMemory(h), Config{})
	for range maxCalls + 2 {
		if all, err := s.Lists(t.Context(), h.encoded.ID, 0, MaxLists); err != nil || len(all) != len(h.nodes) {
			t.Fatalf("%d lists, %v", len(all), err)
		}
	}
}
