package node

import (
	"fmt"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
)

func TestNodesOfALargeSubnetAreInTouchWithAFew(t *testing.T) {
	// 500 nodes hear the same 32 first, and then one another, now and then.
	const nodes = 500
	var hoods []*neighbourhood
	links := make([]map[int]bool, nodes) // of each, with whom
	for i := range nodes {
		hoods = append(hoods, newNeighbourhood())
		links[i] = make(map[int]bool)
	}
	dialled := 0
	dial := func(from, to int) {
		dialled++
		links[from][to], links[to][from] = true, true
	}
	var index = make(map[peer.ID]int)
	info := func(i int) peer.AddrInfo {
		p := peer.ID(fmt.Sprint(i))
		index[p] = i
		return peer.AddrInfo{ID: p}
	}
	hear := func(speaker int) {
		for i, h := range hoods {
			if i != speaker && !links[i][speaker] && h.hear(info(speaker), len(links[i])) {
				dial(i, speaker)
			}
		}
	}
	for speaker := range 32 {
		hear(speaker)
	}
	for speaker := 32; speaker < 152; speaker++ { // two minutes
		hear(speaker * 7 % nodes)
		if speaker%5 > 0 {
			continue
		}
		for i, h := range hoods {
			if to, ok := h.next(len(links[i])); ok && !links[i][index[to.ID]] {
				dial(i, index[to.ID])
			}
		}
	}
	seen, todo := map[int]bool{0: true}, []int{0}
	for len(todo) > 0 {
		i := todo[0]
		todo = todo[1:]
		for j := range links[i] {
			if !seen[j] {
				seen[j] = true
				todo = append(todo, j)
			}
		}
	}
	if len(seen) != nodes {
		t.Errorf("%d of %d nodes are in one piece", len(seen), nodes)
	}
	least := nodes
	for _, l := range links {
		least = min(least, len(l))
	}
	if least < enoughNear {
		t.Errorf("one is in touch with %d", least)
	}
	if most := nodes * enoughNear; dialled > most {
		t.Errorf("%d dials, want at most %d", dialled, most)
	}
}

func TestASmallSiteIsWholeAtOnceAndAFloodRemembersFew(t *testing.T) {
	h := newNeighbourhood()
	for i := range nearAtOnce {
		if !h.hear(peer.AddrInfo{ID: peer.ID(fmt.Sprint(i))}, i) {
			t.Errorf("neighbour %d isn't dialled at once", i)
		}
	}
	for i := range 10 * maxHeard {
		if h.hear(peer.AddrInfo{ID: peer.ID(fmt.Sprint(i))}, nearAtOnce) {
			t.Fatal("all are dialled at once")
		}
	}
	if len(h.heard) > maxHeard {
		t.Errorf("%d are remembered", len(h.heard))
	}
	if _, ok := h.next(enoughNear); ok {
		t.Error("one is dialled beyond those that are enough")
	}
	if _, ok := h.next(enoughNear - 1); !ok {
		t.Error("none is dialled though one is missing")
	}
}
