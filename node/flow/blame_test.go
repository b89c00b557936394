package flow

import (
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/bandwidth"
)

// badBlock lets source id answer its oldest request with a bad block.
func badBlock(t *testing.T, m *model, id sourceID) {
	t.Helper()
	for _, r := range m.order {
		if a := m.open[r]; a.Source == id {
			m.answer(t, r, "") // the list
			m.answer(t, r, "bad")
			m.judge(t, len(m.pending)-1)
			return
		}
	}
	t.Fatalf("source %d is asked for nothing", id)
}

func joinWithAll(t *testing.T, m *model, p peer.ID) sourceID {
	t.Helper()
	id := m.join(t, p, bandwidth.LAN)
	all := roaring.New()
	all.AddRange(0, uint64(len(m.verified)))
	m.claims[id] = all.Clone()
	m.step(t, have{id, all})
	return id
}

func TestBadBlocksAreRememberedAcrossConnections(t *testing.T) {
	m := newModel(4, make([]uint64, 4), false)
	id := joinWithAll(t, m, "liar")
	badBlock(t, m, id)
	m.drop(id)
	m.step(t, left{id})
	if len(m.banned) != 0 {
		t.Fatal("banned after one bad block")
	}
	badBlock(t, m, joinWithAll(t, m, "liar"))
	if len(m.banned) != 1 {
		t.Error("not banned after two bad blocks, with a new connection in between")
	}
	joinWithAll(t, m, "liar") // the model fails if it is asked
	if len(m.open) != 0 {
		t.Error("a banned peer is asked after it came back")
	}
}

// The last bad block is looked at when its sender has left already.
func TestWhoLeftIsBlamed(t *testing.T) {
	m := newModel(4, make([]uint64, 4), false)
	id := joinWithAll(t, m, "liar")
	for _, r := range m.order[:2] {
		m.answer(t, r, "")
		m.answer(t, r, "bad")
	}
	m.drop(id)
	m.step(t, left{id})
	m.judge(t, 0)
	m.judge(t, 0)
	if len(m.banned) != 1 {
		t.Error("not banned")
	}
}

func TestBanRunsOut(t *testing.T) {
	m := newModel(4, make([]uint64, 4), false)
	id := joinWithAll(t, m, "liar")
	for round := 1; round <= 2; round++ {
		badBlock(t, m, id)
		badBlock(t, m, id)
		until := m.banned["liar"]
		if !until.Equal(m.now.Add(time.Minute)) || len(m.open) != 0 {
			t.Fatalf("round %d: banned until %v, %d requests", round, until, len(m.open))
		}
		m.now = until.Add(-time.Millisecond)
		m.step(t, tick{})
		if len(m.open) != 0 {
			t.Fatal("asked before its ban had run out")
		}
		m.now = until
		m.step(t, tick{})
		if len(m.open) != minWindow {
			t.Fatalf("%d requests once the ban had run out", len(m.open))
		}
	}
}
