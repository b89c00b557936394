package deciders

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func drawShape(t *rapid.T) Shape {
	return Shape{
		Seed:  rapid.Uint64Range(1, 1<<30).Draw(t, "seed"),
		Sites: rapid.IntRange(1, 5).Draw(t, "sites"), Nodes: rapid.IntRange(1, 6).Draw(t, "nodes"),
		Chunks: rapid.IntRange(1, 12).Draw(t, "chunks"), Blocks: rapid.IntRange(1, 8).Draw(t, "blocks"),
		Full: rapid.IntRange(-1, 2).Draw(t, "full"), Far: rapid.IntRange(1, 4).Draw(t, "far"),
		Publisher: 100 * mbit,
		Mixed:     rapid.Bool().Draw(t, "mixed"),
		Over:      time.Duration(rapid.IntRange(0, 20).Draw(t, "over")) * time.Second,
		Late:      rapid.Float64Range(0, 1).Draw(t, "late"), LateBy: 30 * time.Second,
		Limit: time.Hour,
	}
}

// What holds of every run, whoever decides.
func TestRunsKeepTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shape, by := drawShape(t), rapid.SampledFrom(Policies).Draw(t, "policy")
		ideal := slices.Contains([]string{"hub", "mesh", "swarm"}, by.Name)
		if !ideal {
			shape.Churn = rapid.Float64Range(0, 1).Draw(t, "churn")
		}
		p := shape.Plan()
		for i := range p.Absent { // while there is something to disturb
			a := &p.Absent[i]
			off := a.Until - a.From
			a.From = p.Wish[a.Node] + (a.From-p.Wish[a.Node])/100
			a.Until = a.From + off/10
		}
		s, err := newSim(p, by)
		if err != nil {
			t.Fatal(err)
		}
		s.run()
		r := s.result()
		if sum := r.Fresh + r.Again + r.Late + r.Lost + r.Flying; sum != r.Sent {
			t.Errorf("%d blocks sent, %d accounted for: %+v", r.Sent, sum, r.Tally)
		}
		if r.Forged > 0 {
			t.Errorf("%d blocks were sent by who hadn't them", r.Forged)
		}
		if r.Unfinished > 0 {
			t.Errorf("%d nodes didn't finish in %v", r.Unfinished, r.End)
		}
		if want := int64((len(p.Wish) - 1) * p.Chunks * p.Blocks); r.Fresh != want {
			t.Errorf("%d blocks were missing, %d came", want, r.Fresh)
		}
		if first := s.carried(0); first != r.Sent {
			t.Errorf("%d blocks sent, links out of nodes and sites carried %d", r.Sent, first)
		}
		if last, want := s.carried(1), r.Fresh+r.Again+r.Late+r.Lost; last < want || last > r.Sent {
			t.Errorf("%d blocks came of %d sent, links in carried %d", want, r.Sent, last)
		}
		for i, l := range s.links {
			if busy := time.Duration(l.served) * l.block; busy > s.now+l.block {
				t.Errorf("link %d carried for %v in %v", i, busy, s.now)
			}
		}
		for i := 1; i < len(s.sites); i++ {
			in := s.links[s.wan(int32(i))+1].served
			if least := int64(p.Chunks * p.Blocks); in < least || ideal && in != least {
				t.Errorf("%d blocks came into site %d, the content has %d", in, i, least)
			}
		}
		for n := range s.nodes {
			if s.nodes[n].backlog < 0 {
				t.Errorf("node %d has %d blocks to send", n, s.nodes[n].backlog)
			}
		}
		again, err := Run(p, by)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(r, again) {
			t.Errorf("the same plan gave\n%+v\nand\n%+v", r, again)
		}
	})
}

// carried counts the blocks on all links in one direction: 0 for out, 1 for in.
func (s *sim) carried(direction int) int64 {
	var sum int64
	for i := direction; i < len(s.links); i += 2 {
		sum += s.links[i].served
	}
	return sum
}

func TestHeapKeepsTheOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h heap
		type pair struct {
			at     time.Duration
			serial int32
		}
		var want []pair
		for i, at := range rapid.SliceOf(rapid.IntRange(0, 9)).Draw(t, "at") {
			h.push(time.Duration(at), wish, int32(i), 0)
			want = append(want, pair{time.Duration(at), int32(i)})
		}
		slices.SortStableFunc(want, func(a, b pair) int { return int(a.at - b.at) })
		for _, w := range want {
			if m := h.pop(); m.at != w.at || m.a != w.serial {
				t.Fatalf("got %d of %v, want %d of %v", m.a, m.at, w.serial, w.at)
			}
		}
	})
}

func TestFifoKeepsTheOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var f fifo[int]
		var want []int
		for i, push := range rapid.SliceOf(rapid.Bool()).Draw(t, "push") {
			switch {
			case push:
				f.push(i)
				want = append(want, i)
			case len(want) > 0:
				if got := f.pop(); got != want[0] {
					t.Fatalf("got %d, want %d", got, want[0])
				}
				want = want[1:]
			}
			if f.len() != len(want) {
				t.Fatalf("%d in it, want %d", f.len(), len(want))
			}
		}
	})
}
