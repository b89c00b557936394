package mdns

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// alone returns a talk without a subnet.
func alone(now time.Time) *talk {
	return newTalk(now, "a", false, func() bool { return false }, rand.New(rand.NewPCG(1, 1)))
}

func TestFoundAreToldAgainButNotAllTheTime(t *testing.T) {
	now := time.Now()
	a := alone(now)
	b := message{says: []saying{{instance: "b", life: recordLife, info: peer.AddrInfo{ID: "b"}}}}
	told := 0
	for range 61 {
		told += len(a.hear(now, b, false))
		now = now.Add(time.Second)
	}
	if told != 4 {
		t.Errorf("told %d times in a minute", told)
	}
}

func TestAFloodOfForgeriesFillsABoundedTable(t *testing.T) {
	now := time.Now()
	a := alone(now)
	for i := range 100 * maxNeighbours {
		a.hear(now, message{asks: true, says: []saying{{instance: fmt.Sprint(i), life: recordLife, info: peer.AddrInfo{ID: peer.ID(fmt.Sprint(i))}}}}, false)
	}
	if len(a.neighbours) > maxNeighbours {
		t.Errorf("%d neighbours", len(a.neighbours))
	}
	// Nor does it make us talk: one answer a second at most.
	says := 0
	for end := now.Add(10 * time.Second); now.Before(end); now = now.Add(10 * time.Millisecond) {
		a.hear(now, message{asks: true}, false)
		for _, act := range a.due(now) {
			if act.what == say {
				says++
			}
		}
	}
	if says > 12 {
		t.Errorf("said %d times in 10 s", says)
	}
}
