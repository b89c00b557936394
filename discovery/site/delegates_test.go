package site

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"pgregory.net/rapid"

	"github.com/p2pnode/p2pnode/content"
)

// member reads "name mains wired willing free=GIB up=N sits=SECONDS silent".
func member(s string) Member {
	words := strings.Fields(s)
	m := Member{Peer: peer.ID(words[0]), Home: true}
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		var n int64
		_, _ = fmt.Sscan(value, &n)
		switch key {
		case "mains":
			m.Mains = true
		case "wired":
			m.Wired = true
		case "willing":
			m.Willing = true
		case "guest":
			m.Home = false
		case "silent":
			m.Silent = true
		case "free":
			m.Free = n << 30
		case "up":
			m.Uptime = Uptime(n)
		case "sits":
			m.Sits = time.Unix(n, 0)
		}
	}
	return m
}

func TestDelegatesAreTheFittest(t *testing.T) {
	const desk = " mains wired willing free=99"
	for _, c := range []struct {
		why     string
		members []string
		want    string
	}{
		{"alone", []string{"a" + desk}, "a"},
		{"all of two", []string{"a" + desk, "b willing"}, "a b"},
		{"nobody is willing", []string{"a mains wired"}, ""},
		{"a desktop before a laptop on the air, and it before one on battery", []string{"a wired willing up=2", "b mains willing", "c" + desk + " up=0"}, "c b a"},
		{"uptime, then disk, for a seat that is free", []string{"a mains wired willing up=1 free=20", "b mains wired willing up=2", "c mains wired willing up=1 free=2"}, "b a c"},
		{"who sits keeps the seat against more uptime and disk", []string{"a" + desk + " up=2", "b mains wired willing up=0 sits=9", "c mains wired willing up=0 sits=8", "d mains wired willing up=0 sits=7"}, "d c b"},
		{"not against a better class", []string{"a mains willing sits=1", "b mains willing sits=2", "c mains willing sits=3", "d" + desk}, "d a b"},
		{"a silent one is gone", []string{"a" + desk + " sits=1 silent", "b" + desk, "c willing", "d willing mains"}, "b d c"},
		{"no guest, however long it says it sits", []string{"a" + desk + " guest sits=1", "b willing", "c willing mains", "d willing wired"}, "c d b"},
		{"guests before nobody", []string{"a" + desk + " guest", "b willing"}, "b a"},
		{"of two halves that sat apart those who sat for longest", []string{"a" + desk + " sits=5", "b" + desk + " sits=5", "c" + desk + " sits=4", "d" + desk + " sits=3", "e" + desk + " sits=2", "f" + desk + " sits=6"}, "e d c"},
	} {
		var members []Member
		for _, m := range c.members {
			members = append(members, member(m))
		}
		var got []string
		for _, p := range Delegates(members) {
			got = append(got, string(p))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", c.why, got, c.want)
		}
	}
}

var anyMember = rapid.Custom(func(t *rapid.T) Member {
	m := Member{Peer: peer.ID(rapid.StringMatching(`[a-z]{4}`).Draw(t, "peer")), Silent: rapid.IntRange(0, 9).Draw(t, "silent") == 0, Home: rapid.IntRange(0, 3).Draw(t, "home") != 0}
	m.Report = Report{
		Mains: rapid.Bool().Draw(t, "mains"), Wired: rapid.Bool().Draw(t, "wired"), Willing: rapid.IntRange(0, 9).Draw(t, "willing") != 0,
		Uptime: Uptime(rapid.IntRange(0, 2).Draw(t, "up")), Free: rapid.Int64Range(0, 20<<30).Draw(t, "free"),
	}
	if rapid.Bool().Draw(t, "sits") {
		m.Sits = time.Unix(rapid.Int64Range(1, 5).Draw(t, "since"), 0)
	}
	return m
})

func anySite(t *rapid.T) []Member {
	return rapid.SliceOfNDistinct(anyMember, 0, 40, func(m Member) peer.ID { return m.Peer }).Draw(t, "members")
}

// Whoever knows the same members chooses the same delegates, in whatever order it
// heard of them.
func TestAllWhoKnowTheSameAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := anySite(t)
		want := Delegates(members)
		if got := Delegates(rapid.Permutation(members).Draw(t, "order")); !slices.Equal(got, want) {
			t.Fatalf("%q in another order, else %q", got, want)
		}
	})
}

// A delegate loses its seat only to a member of a better class, or to one that has
// been a delegate for longer.
func TestNewcomersTakeNoSeat(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := anySite(t)
		for i, m := range members {
			if slices.Contains(Delegates(members), m.Peer) && m.Sits.IsZero() {
				members[i].Sits = time.Unix(9, 0)
			}
		}
		before := Delegates(members)
		comes := anyMember.Draw(t, "comes")
		if slices.ContainsFunc(members, func(m Member) bool { return m.Peer == comes.Peer }) {
			return
		}
		after := Delegates(append(slices.Clone(members), comes))
		for _, m := range members {
			if !slices.Contains(before, m.Peer) || slices.Contains(after, m.Peer) {
				continue
			}
			class := func(m Member) int { return -4*first(m.Home, false) - 2*first(m.Mains, false) - first(m.Wired, false) }
			older := !comes.Sits.IsZero() && (m.Sits.IsZero() || !comes.Sits.After(m.Sits))
			if class(comes) < class(m) || class(comes) == class(m) && !older {
				t.Fatalf("%+v took the seat of %+v", comes, m)
			}
		}
	})
}

// Contents spread over the delegates, and one that leaves moves only its own.
func TestPlannersShareContents(t *testing.T) {
	three := []peer.ID{"a", "b", "c"}
	plans := make(map[peer.ID]int)
	for i := range 3000 {
		id := content.ID{byte(i), byte(i >> 8)}
		p, ok := Planner(id, three)
		again, _ := Planner(id, []peer.ID{"c", "a", "b"})
		if !ok || p != again {
			t.Fatalf("%s and %s plan the same", p, again)
		}
		plans[p]++
		if q, _ := Planner(id, []peer.ID{"a", "c"}); p != "b" && p != q {
			t.Fatalf("a content of %s moved to %s when b left", p, q)
		}
	}
	for p, n := range plans {
		if n < 800 || n > 1200 {
			t.Errorf("%s plans %d of 3000", p, n)
		}
	}
	if _, ok := Planner(content.ID{}, nil); ok {
		t.Error("nobody plans")
	}
}
