package chaos

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

var anyBox = rapid.Custom(func(t *rapid.T) box.Plan {
	return box.Plan{
		Branches: rapid.IntRange(1, 5).Draw(t, "branches"),
		Peers:    rapid.IntRange(1, 8).Draw(t, "peers"),
		Disk:     rapid.SampledFrom([]int64{0, 64 << 20, 1 << 30}).Draw(t, "disk"),
		Seed:     rapid.Uint64().Draw(t, "seed"),
	}
})

func anyTimeline(t *rapid.T) Timeline {
	b, d := anyBox.Draw(t, "box"), time.Duration(rapid.Int64Range(int64(minFor), int64(20*time.Minute)).Draw(t, "for"))
	p, err := Make(b, d)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestSameSeedSameTimeline(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := anyTimeline(t)
		again, err := Make(p.Box, p.For)
		if err != nil || again.String() != p.String() {
			t.Fatalf("%v\nthe second time:\n%v%v", p, again, err)
		}
	})
}

func TestOtherSeedOtherTimeline(t *testing.T) {
	b := box.Plan{Branches: 2, Peers: 3}
	seen := map[string]bool{}
	for b.Seed = range 100 {
		p, err := Make(b, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		_, text, _ := strings.Cut(p.String(), "\n")
		if seen[text] {
			t.Fatalf("seed %d has the timeline of another:\n%s", b.Seed, text)
		}
		seen[text] = true
	}
}

// Every fault heals before the quiet part, what happens to a node is in an order
// that is possible, and never are all away at once.
func TestFaultsHeal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := anyTimeline(t)
		places, sites := p.Box.Places(), p.Box.Sites()
		for i, f := range p.Faults {
			if f.Number != i+1 || f.From < 0 || f.Until-f.From < shortest || f.Until > p.For-p.Quiet {
				t.Fatalf("#%d %v from %v until %v, of %v with %v quiet", f.Number, f, f.From, f.Until, p.For, p.Quiet)
			}
			isSite := slices.Contains(sites, f.Who)
			if isSite != (f.Kind.slot() == "link") || !isSite && p.Box.Disk == 0 && f.Kind == Fill {
				t.Fatalf("%v can't be", f)
			}
			for _, s := range []wan.Settings{f.Up, f.Down} {
				if got, err := wan.Parse(s.String()); err != nil || got.String() != s.String() {
					t.Fatalf("%v: settings %v: %v", f, s, err)
				}
			}
			// All that begin no later than this one and last still.
			away, cut := 0, 0
			for j, o := range p.Faults[:i+1] {
				if o.Until <= f.From {
					continue
				}
				if j < i && o.Who == f.Who && o.Kind.slot() == f.Kind.slot() {
					t.Fatalf("%v beside %v", f, o)
				}
				if o.Kind.away() {
					away++
				}
				if o.Kind == Cut {
					cut++
				}
			}
			if away > len(places)/2 || cut > 0 && cut == len(sites) {
				t.Fatalf("%d nodes of %d are away at %v, %d links cut", away, len(places), f.From, cut)
			}
		}
		for _, place := range places {
			var at time.Duration
			last := map[string]bool{}
			for _, s := range p.steps(place.Node) {
				slot := s.fault.Kind.slot()
				if s.at < at || last[slot] == !s.heal {
					t.Fatalf("%s at %v: %v (heal %v) after %v, %v", place.Node, s.at, s.fault, s.heal, at, last)
				}
				at, last[slot] = s.at, !s.heal
			}
		}
	})
}

// What is wanted was published before, by the time of the timeline, and fits on
// the disks.
func TestLoadCanBe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := anyTimeline(t)
		var sum int64
		for i, c := range p.Contents {
			sum += c.Size
			if c.Size <= 0 || c.At > p.For || i > 0 && c.At < p.Contents[i-1].At {
				t.Fatalf("%+v", c)
			}
		}
		if p.Box.Disk > 0 && sum > p.Box.Disk/2 {
			t.Fatalf("%d bytes on a disk of %d", sum, p.Box.Disk)
		}
		for i, w := range p.Wants {
			if w.Number != i+1 || w.At < p.Contents[w.Content].At || w.At > p.For || w.Node == box.Publisher {
				t.Fatalf("%+v of %+v", w, p.Contents[w.Content])
			}
		}
		for _, c := range p.Chores {
			if c.At < p.Contents[c.Content].At || c.At > p.For || c.Node == box.Publisher {
				t.Fatalf("%+v of %+v", c, p.Contents[c.Content])
			}
		}
	})
}

// A minute on eight nodes has every kind of fault within a few seeds, and enough of
// them to find something.
func TestFaultsAreOfAllKinds(t *testing.T) {
	seen := map[Kind]int{}
	for s := range uint64(20) {
		p, err := Make(box.Plan{Branches: 2, Peers: 3, Disk: 1 << 30, Seed: s}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Faults) < 3 || len(p.Wants) < 10 {
			t.Errorf("seed %d: %d faults, %d gets", s, len(p.Faults), len(p.Wants))
		}
		for _, f := range p.Faults {
			seen[f.Kind]++
		}
	}
	for _, o := range odds {
		if seen[o.kind] == 0 {
			t.Errorf("none is a %s: %v", o.kind, seen)
		}
	}
}

func TestMakeSaysWhatIsWrong(t *testing.T) {
	ok := box.Plan{Branches: 1, Peers: 1}
	for _, c := range []struct {
		box box.Plan
		d   time.Duration
	}{{box.Plan{}, time.Minute}, {ok, time.Second}, {ok, 25 * time.Hour}} {
		if _, err := Make(c.box, c.d); err == nil {
			t.Errorf("%+v passes", c)
		}
	}
}

func TestPatienceFollowsTheSlowestLink(t *testing.T) {
	p := Timeline{
		Box:      box.Plan{Branches: 1, Peers: 1, HQUp: wan.Settings{Rate: 80 * bandwidth.MbitPerSecond}, Down: wan.Settings{Rate: 8 * bandwidth.MbitPerSecond}},
		Contents: []Content{{Size: 1_000_000}, {Size: 5_000_000}},
		Wants:    []Want{{Content: 1}, {Content: 1}},
	}
	if got, want := p.Patience(), 2*time.Minute+20*time.Second; got != want {
		t.Errorf("patience is %v, want %v", got, want)
	}
	p.Box.Down.Rate, p.Box.HQUp.Rate = 0, 0
	if got, want := p.Patience(), 2*time.Minute; got != want {
		t.Errorf("without a limit patience is %v, want %v", got, want)
	}
}
