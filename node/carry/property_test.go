package carry

import (
	"slices"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/libp2p/go-libp2p/core/peer"
	"pgregory.net/rapid"
)

// Whatever members say and in whatever order, the books are right: see the
// invariants of Plan.
func TestPlanKeepsItsBooks(t *testing.T) {
	const chunks = 12
	ids := []peer.ID{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n"}
	rapid.Check(t, func(t *rapid.T) {
		p, now := NewPlan(), epoch
		some := func(name string) []int {
			return rapid.SliceOfN(rapid.IntRange(-1, chunks+1), 0, chunks).Draw(t, name)
		}
		bitmap := func(name string) *roaring.Bitmap {
			m := roaring.New()
			for _, c := range some(name) {
				m.Add(uint32(max(c, 0)))
			}
			return m
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				p.check(t)
				for _, o := range p.Ready() {
					if p.byID[o.To] == nil && o.Answer != nil {
						t.Fatalf("an answer to %s, who left", string(o.To))
					}
					if a := o.Answer; a != nil {
						for _, c := range a.Granted {
							if p.carried[c] != p.byID[o.To] {
								t.Fatalf("%s was granted %d and doesn't carry it", string(o.To), c)
							}
						}
					}
				}
			},
			"join": func(t *rapid.T) {
				p.Join(now, rapid.SampledFrom(ids).Draw(t, "who"), Joining{
					Chunks: rapid.SampledFrom([]int{0, chunks}).Draw(t, "chunks"), Willing: rapid.Bool().Draw(t, "willing"),
					Reader: rapid.Bool().Draw(t, "reader"), Has: bitmap("has"), Carrying: some("carrying"),
				})
			},
			"leave":  func(t *rapid.T) { p.Leave(now, rapid.SampledFrom(ids).Draw(t, "who")) },
			"done":   func(t *rapid.T) { p.Done(now, rapid.SampledFrom(ids).Draw(t, "who")) },
			"chunks": func(t *rapid.T) { p.Chunks(now, rapid.SampledFrom(ids).Draw(t, "who"), chunks) },
			"has":    func(t *rapid.T) { p.Has(now, rapid.SampledFrom(ids).Draw(t, "who"), bitmap("has")) },
			"propose": func(t *rapid.T) {
				p.Propose(now, rapid.SampledFrom(ids).Draw(t, "who"), rapid.IntRange(0, 4).Draw(t, "n"), some("chunks"), rapid.Bool().Draw(t, "insist"))
			},
			"progress": func(t *rapid.T) {
				p.Progress(now, rapid.SampledFrom(ids).Draw(t, "who"), rapid.Int64Range(0, 1<<30).Draw(t, "bytes"), rapid.Int64Range(0, 1<<24).Draw(t, "left"))
			},
			"release": func(t *rapid.T) { p.Release(now, rapid.SampledFrom(ids).Draw(t, "who"), some("chunks")) },
			"tick": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(1, 3000).Draw(t, "ms")) * time.Millisecond)
				p.Tick(now)
			},
		})
	})
}

// check holds a plan to its invariants.
func (p *Plan) check(t interface {
	Fatalf(format string, args ...any)
}) {
	holders := make([]uint16, len(p.holders))
	carried, carriers := 0, 0
	for _, m := range p.members {
		if p.byID[m.id] != m {
			t.Fatalf("%s is a member and isn't found", string(m.id))
		}
		for i := range roaring.Values(m.has) {
			if m.believed() {
				holders[i]++
			}
		}
		for _, c := range m.grants {
			if p.carried[c] != m || !m.active || m.has.ContainsInt(c) {
				t.Fatalf("%s has %d among its grants: active %v, has it %v", string(m.id), c, m.active, m.has.ContainsInt(c))
			}
		}
		carried += len(m.grants)
		if m.carrier {
			carriers++
			if !m.active {
				t.Fatalf("%s carries and is done", string(m.id))
			}
		}
		if len(m.grants) > MaxGrants {
			t.Fatalf("%s has %d grants", string(m.id), len(m.grants))
		}
	}
	vacant := 0
	for c := range holders {
		if p.open(c) {
			vacant++
		}
	}
	switch {
	case len(p.byID) != len(p.members):
		t.Fatalf("%d members, %d known", len(p.members), len(p.byID))
	case carried != len(p.carried):
		t.Fatalf("%d chunks granted, %d carried", carried, len(p.carried))
	case !slices.Equal(holders, p.holders):
		t.Fatalf("holders %v, counted %v", p.holders, holders)
	case vacant != p.vacant:
		t.Fatalf("%d vacant, counted %d", p.vacant, vacant)
	case carriers > maxCarriers:
		t.Fatalf("%d carriers", carriers)
	}
}
