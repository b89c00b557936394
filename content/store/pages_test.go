package store

import (
	"math/rand/v2"
	"testing"

	"go.uber.org/zap"
	"pgregory.net/rapid"

	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// The book has what was touched last, within its budgets, and gives out what falls
// out, each part once.
func TestPagesStayWithinTheirBudget(t *testing.T) {
	const length = 37<<20 + 123
	rapid.Check(t, func(t *rapid.T) {
		p := newPages(8 << 20)
		c := []*Content{{}, {}}
		in := make(map[part]bool)
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			of := c[rapid.IntRange(0, 1).Draw(t, "content")]
			kind := rapid.IntRange(wasRead, wasWritten).Draw(t, "kind")
			size := rapid.Int64Range(1, 3<<20).Draw(t, "size")
			offset := rapid.Int64Range(0, length-size).Draw(t, "offset")
			fresh, gone := p.touch(of, 0, length, offset, size, kind)
			news := false
			for unit := offset / pageUnit; unit <= (offset+size-1)/pageUnit; unit++ {
				key := part{of, 0, unit}
				news = news || !in[key]
				in[key] = true
			}
			if fresh != news {
				t.Fatalf("new in the book: %v, want %v", fresh, news)
			}
			for _, g := range gone {
				if !in[g] {
					t.Fatalf("%+v falls out twice", g)
				}
				delete(in, g)
			}
			var sum int64
			for kind, size := range p.size {
				if sum += size; size > p.budget[kind] {
					t.Fatalf("%d bytes in the book, the budget is %d", size, p.budget[kind])
				}
			}
			if len(p.parts) != len(in) || p.order[0].Len()+p.order[1].Len() != len(in) || sum > int64(len(in))*pageUnit {
				t.Fatalf("%d parts of %d, %d bytes", len(p.parts), len(in), sum)
			}
		}
		p.forget(c[0])
		for key := range p.parts {
			if key.content == c[0] {
				t.Fatal("in the book after it is gone")
			}
		}
	})
}

func TestPagesKeepWhatIsUsed(t *testing.T) {
	p := newPages(4 * pageUnit)
	c := &Content{}
	for unit := range int64(100) {
		p.touch(c, 0, 1<<30, 0, 10, wasRead) // a hot one
		fresh, gone := p.touch(c, 0, 1<<30, unit*pageUnit+pageUnit, 10, wasRead)
		if !fresh {
			t.Errorf("unit %d is no news", unit+1)
		}
		for _, g := range gone {
			if g.unit == 0 {
				t.Error("the part that is used all the time falls out")
			}
		}
	}
	// What was written waits for its sync to be forgotten.
	for unit := range int64(100) {
		p.touch(c, 1, 1<<30, unit*pageUnit, pageUnit, wasWritten)
	}
	if late := p.synced(slot{c, 1, true}); len(late) != 100-4*pagesWritten {
		t.Errorf("%d parts wait for the sync", len(late))
	}
	if late := p.synced(slot{c, 1, true}); len(late) != 0 {
		t.Errorf("%d parts wait for the next one", len(late))
	}
	off := newPages(NoLimit)
	if fresh, gone := off.touch(c, 0, 1<<30, 0, 10, wasRead); fresh || gone != nil || len(off.parts) > 0 {
		t.Error("a book is kept without a budget")
	}
}

// A tiny budget costs time, not bytes: everything is read and written as without.
func TestTinyPageBudget(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), PageBudget: 1}
	s, err := Open(cfg, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	sample := storetest.Tree(t, 1)
	c := begin(t, s, sample)
	put(t, c, sample, sample.Refs()...)
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, r := range sample.Shuffled(1) {
		got, err := c.ReadBlock(r.Chunk, r.Block, nil)
		if err != nil || string(got) != string(sample.Block(r.Chunk, r.Block)) {
			t.Fatalf("%v: %v", r, err)
		}
	}
	if n := len(s.pages.parts); n > 2 {
		t.Errorf("%d parts in the book", n)
	}
}

// BenchmarkTouch is what the book costs for each block: less than a microsecond,
// where nothing falls out, and with one part in 16 blocks that does.
func BenchmarkTouch(b *testing.B) {
	const length = 1 << 40
	for name, budget := range map[string]int64{"hot": 256 << 20, "cold": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			p, c := newPages(budget), &Content{}
			r := rand.New(rand.NewPCG(1, 1))
			at := int64(0)
			for b.Loop() {
				if name == "hot" {
					at = r.Int64N(200) << 20
				}
				p.touch(c, 0, length, at, 64<<10, wasRead)
				at = (at + 64<<10) % (length - 64<<10)
			}
		})
	}
}
