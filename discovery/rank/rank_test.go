package rank

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"pgregory.net/rapid"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/discovery"
)

const (
	lan    = bandwidth.LAN
	wan    = bandwidth.WAN
	origin = bandwidth.Origin
	mbit   = bandwidth.MbitPerSecond
	mib    = 1 << 20
)

var now = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)

func TestRank(t *testing.T) {
	type candidate = discovery.Candidate
	for _, c := range []struct {
		name string
		in   []candidate
		want string
	}{
		{"nobody", nil, ""},
		{"one", []candidate{{Peer: "a", Link: wan}}, "a only-source"},
		{"the LAN before a faster WAN, an origin last",
			[]candidate{{Peer: "o", Link: origin, Rate: 900 * mbit}, {Peer: "w", Link: wan, Rate: 500 * mbit}, {Peer: "l", Link: lan, Rate: 5 * mbit, Pending: 4 * mib}},
			"l same-site, w less-loaded, o less-loaded"},
		{"the faster first",
			[]candidate{{Peer: "a", Link: wan, Rate: 20 * mbit}, {Peer: "b", Link: wan, Rate: 100 * mbit}},
			"b faster, a less-loaded"},
		{"the faster first, until it has enough to do",
			[]candidate{{Peer: "a", Link: wan, Rate: 20 * mbit}, {Peer: "b", Link: wan, Rate: 100 * mbit, Pending: 8 * mib}},
			"a less-loaded, b less-loaded"},
		{"the nearer first when a chunk takes no time",
			[]candidate{{Peer: "a", Link: wan, Rate: 1000 * mbit, Latency: 80 * time.Millisecond}, {Peer: "b", Link: wan, Rate: 1000 * mbit, Latency: 5 * time.Millisecond}},
			"b less-loaded, a less-loaded"},
		{"failures push back, and doubly so in a row",
			[]candidate{{Peer: "a", Link: lan, Rate: 900 * mbit, Failures: 2}, {Peer: "b", Link: lan, Rate: 900 * mbit, Failures: 1}, {Peer: "c", Link: lan, Rate: 9 * mbit}},
			"c less-loaded, b less-loaded, a less-loaded"},
		{"but not behind the WAN",
			[]candidate{{Peer: "a", Link: wan, Rate: 900 * mbit}, {Peer: "b", Link: lan, Rate: 1 * mbit, Failures: 5}},
			"b same-site, a less-loaded"},
		{"a wrong block weighs two failures",
			[]candidate{{Peer: "a", Link: lan, Rate: 900 * mbit, Bad: 1}, {Peer: "b", Link: lan, Rate: 900 * mbit, Failures: 1}},
			"b less-loaded, a less-loaded"},
		{"the banned are left out while they are",
			[]candidate{{Peer: "a", Link: lan, Banned: now.Add(time.Second)}, {Peer: "b", Link: wan, Banned: now}},
			"b only-source"},
		{"one untried is tried first, the others wait",
			[]candidate{{Peer: "a", Link: lan, Rate: 500 * mbit}, {Peer: "b", Link: lan}, {Peer: "c", Link: lan}, {Peer: "d", Link: lan}},
			"b untried, a faster, c untried, d untried"},
		{"nobody else while one is being tried",
			[]candidate{{Peer: "a", Link: lan, Rate: 500 * mbit}, {Peer: "b", Link: lan, Pending: mib}, {Peer: "c", Link: lan}},
			"a faster, c untried, b untried"},
		{"each link tries its own",
			[]candidate{{Peer: "a", Link: lan, Rate: 500 * mbit}, {Peer: "b", Link: lan, Pending: mib}, {Peer: "c", Link: wan, Rate: 500 * mbit}, {Peer: "d", Link: wan}},
			"a same-site, b untried, d untried, c less-loaded"},
		{"whoever failed is not untried",
			[]candidate{{Peer: "a", Link: lan, Rate: 100 * mbit}, {Peer: "b", Link: lan, Failures: 1}},
			"a faster, b less-loaded"},
		{"equals stand in the order of their names",
			[]candidate{{Peer: "b", Link: lan, Rate: mbit}, {Peer: "a", Link: lan, Rate: mbit}},
			"a less-loaded, b less-loaded"},
		{"rates that say nothing overflow nothing",
			[]candidate{{Peer: "a", Link: lan, Rate: 1, Pending: math.MaxInt64 / 2, Failures: math.MaxInt32, Bad: math.MaxInt32}, {Peer: "b", Link: lan, Rate: -1}},
			"b less-loaded, a less-loaded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := story(Rank(c.in, now)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func story(cs []discovery.Choice) string {
	var s []string
	for _, c := range cs {
		s = append(s, fmt.Sprintf("%s %s", string(c.Peer), c.Reason))
	}
	return strings.Join(s, ", ")
}

// Whatever the candidates: nobody is lost, doubled or made up, the banned are
// out, links are in order, and the order of the input doesn't matter.
func TestRankKeepsItsPromises(t *testing.T) {
	candidates := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) discovery.Candidate {
		return discovery.Candidate{
			Peer:     peer.ID(rapid.StringMatching(`[a-z]{1,3}`).Draw(t, "peer")),
			Link:     rapid.SampledFrom(bandwidth.Links[:]).Draw(t, "link"),
			Rate:     bandwidth.Rate(rapid.Int64Range(0, 1<<40).Draw(t, "rate")),
			Latency:  time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "latency")),
			Pending:  rapid.Int64Range(0, 1<<40).Draw(t, "pending"),
			Failures: rapid.IntRange(0, 100).Draw(t, "failures"),
			Bad:      rapid.IntRange(0, 3).Draw(t, "bad"),
			Banned:   now.Add(time.Duration(rapid.Int64Range(-3, 3).Draw(t, "banned"))),
		}
	}), 0, 20, func(c discovery.Candidate) peer.ID { return c.Peer })
	rapid.Check(t, func(t *rapid.T) {
		in := candidates.Draw(t, "candidates")
		given := slices.Clone(in)
		out := Rank(in, now)
		if !slices.Equal(in, given) {
			t.Fatal("the input was changed")
		}
		ranked := make(map[peer.ID]discovery.Candidate)
		for i, c := range out {
			ranked[c.Peer] = c.Candidate
			if c.Reason == discovery.Unknown {
				t.Fatalf("no reason for %s", c.Peer)
			}
			if i > 0 && out[i-1].Link > c.Link {
				t.Fatalf("%v before %v", out[i-1].Link, c.Link)
			}
		}
		if len(ranked) != len(out) {
			t.Fatal("someone is in twice")
		}
		for _, c := range in {
			if got, ok := ranked[c.Peer]; ok == c.Banned.After(now) || ok && got != c {
				t.Fatalf("%+v became %+v", c, got)
			}
		}
		in = rapid.Permutation(in).Draw(t, "another order")
		if again := Rank(in, now); !slices.Equal(out, again) {
			t.Fatalf("another order of the same gave\n%s\nnot\n%s", story(again), story(out))
		}
	})
}

func BenchmarkRank(b *testing.B) {
	var cs []discovery.Candidate
	for i := range 64 {
		cs = append(cs, discovery.Candidate{Peer: peer.ID(fmt.Sprint(i)), Link: bandwidth.Links[i%2], Rate: bandwidth.Rate(i) * mbit, Pending: int64(i) * mib})
	}
	for b.Loop() {
		Rank(cs, now)
	}
}
