package deciders

import (
	"testing"
	"time"
)

// Two branches and a publisher behind links that are alike: each chunk crosses each
// link once, and the time is the link's.
func TestCarriersBringEachChunkOnce(t *testing.T) {
	for _, seed := range []uint64{1, 2, 3} {
		p := Shape{Seed: seed, Sites: 2, Nodes: 5, Publisher: 50 * mbit, Up: 50 * mbit, Down: 50 * mbit}.Plan()
		r, err := Run(p, policy("carry"))
		if err != nil {
			t.Fatal(err)
		}
		if wire := 100 << 20 * 8 * time.Second / 50e6; r.Unfinished > 0 || r.MostCopies > 1.01 || r.Uplink > 1.05 || r.Last > wire*106/100 {
			t.Errorf("seed %d: %v; the wire needs %v", seed, r, wire)
		}
	}
}

// Whoever comes when all others are done takes nothing over the WAN.
func TestLateMembersTakeFromTheirSite(t *testing.T) {
	shape := Shape{Seed: 1, Sites: 2, Nodes: 12, Chunks: 40, Up: 50 * mbit, Down: 50 * mbit}
	early, err := Run(shape.Plan(), policy("carry"))
	if err != nil {
		t.Fatal(err)
	}
	shape.Late, shape.LateBy = 0.3, early.End+10*time.Second
	late, err := Run(shape.Plan(), policy("carry"))
	if err != nil {
		t.Fatal(err)
	}
	if late.Unfinished > 0 || late.MostCopies > 1.01 {
		t.Errorf("with late ones: %v; without: %v", late, early)
	}
}
