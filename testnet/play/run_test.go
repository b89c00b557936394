package play

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/p2pnode/p2pnode/testnet/scenario"
)

// Machines of the box run this program for their tools.
func TestMain(m *testing.M) {
	if len(os.Args) == 7 && os.Args[1] == "sample" {
		size, _ := strconv.ParseInt(os.Args[3], 10, 64)
		seed, _ := strconv.ParseUint(os.Args[4], 10, 64)
		changed, _ := strconv.ParseFloat(strings.TrimSuffix(os.Args[5], "%"), 64)
		edit, _ := strconv.ParseUint(os.Args[6], 10, 64)
		if err := Sample(os.Args[2], File{Size: size, Seed: seed, Changed: changed, Edit: edit}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) == 3 && os.Args[1] == "digest" {
		d, err := scenario.Digest(os.Args[2])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(d)
		os.Exit(0)
	}
	if len(os.Args) == 2 && os.Args[1] == "mute" { // a server that never says that it listens
		time.Sleep(time.Hour)
	}
	if len(os.Args) == 2 && os.Args[1] == "dying" {
		fmt.Fprintln(os.Stderr, "the port is taken")
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// play plays a text in a fake enterprise, in virtual time, and judges it.
func play(t *testing.T, text string, fiddle func(*fakeBox)) (r *Record, v []Verdict, f *fakeBox) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		sc, err := Parse("played", text)
		if err != nil {
			t.Fatal(err)
		}
		f = newFakeBox(sc.Plan(1))
		if fiddle != nil {
			fiddle(f)
		}
		r, err = Run(t.Context(), Config{Scenario: sc, Enterprise: f, Hands: f, Seed: 1, Say: func(at time.Duration, text string) { t.Log(at, text) }})
		if err != nil {
			t.Fatal(err)
		}
		v = Judge(sc, r, true)
	})
	return r, v, f
}

func mustHold(t *testing.T, r *Record, v []Verdict) {
	t.Helper()
	for _, x := range v {
		if x.Outcome != Pass {
			t.Errorf("%v: %s, %v %s", x.Level, x.Outcome, x.Figure, x.Why)
		}
	}
	for _, x := range Troubles(r) {
		t.Error(x)
	}
}

// A member is killed while it fetches, and goes on once it is started.
func TestRunPlaysWhatHappensWhen(t *testing.T) {
	r, v, f := play(t, killed, nil)
	mustHold(t, r, v)
	if i, j := slices.Index(f.said, "kill branch-a-2"), slices.Index(f.said, "start branch-b-2"); i < 0 || j < i {
		t.Errorf("what was done: %q", f.said)
	}
	if n := len(r.Gets); n != 4 {
		t.Errorf("%d gets, want 4: %+v", n, r.Gets)
	}
	for _, g := range r.Gets {
		if want := map[string]int{"branch-a-2": 1}[g.Node]; g.Again != want {
			t.Errorf("%s was asked again %d times, want %d", g.Node, g.Again, want)
		}
	}
}

const killed = `branches 2, peers 2
link down rate=80mbit
off branch-b-2
content image 10000KiB
at 0s publish image
at 0s get image at branch-a, branch-b
when image 30% at branch-a kill branch-a-2
after 5s start branch-a-2
at 2s cut branch-b
after 3s heal branch-b
at 4s start branch-b-2
level correct = all
level wrong = 0
level done at branch-a >= 15s
level done at branch-a <= 16s
level first at branch-a <= 10.6s
level done at branch-b-1 >= 13s
level done at branch-b-1 <= 14s
level copies at branch-a >= 1.99
level payload at branch-a <= 2.01
level stall at branch-a-2 >= 5s
level stall at branch-a-2 <= 5.8s
level resume at branch-b-1 <= 0.5s
level rss <= 41MiB
`

// What users felt is held against what they felt before anything was published.
func TestRunPlaysUsersAloneFirst(t *testing.T) {
	r, v, f := play(t, `branches 1, peers 2
link down rate=80mbit
content image 10000KiB
at 0s publish image
at 0s get image at all
at 2s bulk at branch-a for 5s
at 4s bulk at branch-a for 5s
level kept at branch-a = 50%
level correct = all
`, nil)
	mustHold(t, r, v)
	if n := strings.Count(strings.Join(f.said, "\n"), "bulk at branch-a-2"); n != 4 || len(r.Loads) != 2 {
		t.Errorf("%d loads, %d in the record; want 4 and 2", n, len(r.Loads))
	}
}

// What is done to one node is done in order, whatever takes how long; a node that is
// down at the end owes nothing.
func TestRunKeepsTheOrder(t *testing.T) {
	r, v, f := play(t, `branches 1, peers 3
link down rate=80mbit
content image 10000KiB
at 0s publish image
at 0s get image at all
at 1s freeze branch-a-1
at 1s thaw branch-a-1
at 1s restart branch-a-1
at 1s unplug branch-a-1
at 1s plug branch-a-1
at 1s move branch-a-1 to hq
at 2s kill branch-a-3
level correct = all
`, nil)
	mustHold(t, r, v)
	var done []string
	for _, s := range f.said {
		if rest, ok := strings.CutSuffix(s, " branch-a-1"); ok {
			done = append(done, rest)
		}
	}
	if got, want := strings.Join(done, ", "), "start, freeze, thaw, stop, start, unplug, plug, move to hq"; got != want {
		t.Errorf("done: %s; want %s", got, want)
	}
	if len(r.Gets) != 2 {
		t.Errorf("%d gets count, want 2", len(r.Gets))
	}
}

func TestRunSeesWhatGoesWrong(t *testing.T) {
	const text = `branches 1, peers 2
link down rate=80mbit
limit 20s
content image 10000KiB
at 0s publish image
at 0s get image at all
level correct = all
`
	for name, c := range map[string]struct {
		more   string
		fiddle func(*fakeBox)
		passed bool
		took   time.Duration
	}{
		"all is well":   {"", nil, true, 11 * time.Second},
		"another copy":  {"", func(f *fakeBox) { f.wrong = "branch-a-2" }, false, 11 * time.Second},
		"a frozen node": {"at 1s freeze branch-a-1\n", nil, false, 20 * time.Second},
		"an event that can't happen": {"at 1s kill branch-a-1\nafter 1s start branch-a-1\n", func(f *fakeBox) {
			time.AfterFunc(time.Second, func() { f.mu.Lock(); f.lame = "branch-a-1"; f.mu.Unlock() })
		}, false, 11 * time.Second},
		"an event whose time is never": {"when image done at hq kill branch-a-1\n", nil, false, 11 * time.Second},
	} {
		r, v, _ := play(t, text+c.more, c.fiddle)
		if Passed(v, r) != c.passed {
			t.Errorf("%s: passed is %v: %v %v", name, Passed(v, r), v, Troubles(r))
		}
		if r.Length < c.took-time.Second || r.Length > c.took+time.Second {
			t.Errorf("%s: took %v, want about %v", name, r.Length, c.took)
		}
	}
}

// Whoever runs it may end it: nothing goes on behind it.
func TestRunEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc, err := Parse("played", killed[:strings.Index(killed, "content")]+"content image 1GiB\nat 0s publish image\nat 0s get image at branch-a\nlevel correct = all\n")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		f := newFakeBox(sc.Plan(1))
		began := time.Now()
		if _, err := Run(ctx, Config{Scenario: sc, Enterprise: f, Hands: f}); err == nil {
			t.Error("it says that it was played")
		}
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("it ended after %v", took)
		}
	})
}

// What a node fetched just before it was frozen isn't something that arrived after it
// was thawed.
func TestRunSeesNothingArriveBehindACut(t *testing.T) {
	_, v, _ := play(t, `branches 1, peers 1
link down rate=80mbit
limit 10s
content image 10000KiB
at 0s publish image
at 0s get image at all
at 1150ms freeze branch-a-1
at 2s cut branch-a
at 5s thaw branch-a-1
level resume at branch-a-1 <= 1s
`, nil)
	if v[0].Measured || v[0].Why != "nothing arrived after it" {
		t.Errorf("%+v, want nothing arrived", v[0])
	}
}

// Two changes of one content are two contents.
func TestRunMakesEachChangeAnew(t *testing.T) {
	sc, err := Parse("played", "branches 1, peers 1\ncontent v1 1MiB\ncontent v2 from v1 5% changed\ncontent v3 from v1 5% changed\nat 0s publish v1\nlevel rss <= 1GiB")
	if err != nil {
		t.Fatal(err)
	}
	p := newPlayer(Config{Scenario: sc, Enterprise: newFakeBox(sc.Plan(1)), Seed: 1})
	var files [][]byte
	for _, name := range []string{"v2", "v3"} {
		path := filepath.Join(t.TempDir(), name)
		if err := Sample(path, p.contents[name].file); err != nil {
			t.Fatal(err)
		}
		files = append(files, read(t, path))
	}
	if bytes.Equal(files[0], files[1]) {
		t.Error("v2 and v3 are the same bytes")
	}
}

// Copies that can't be looked at are not known to be wrong ones.
func TestRunTellsAnUnreadableCopyFromAWrongOne(t *testing.T) {
	r, v, _ := play(t, `branches 1, peers 1
link down rate=80mbit
content image 1000KiB
at 0s publish image
at 0s get image at all
level correct = all
level wrong = 0
`, func(f *fakeBox) { f.unread = "branch-a-1" })
	if v[0].Outcome != Fail || v[1].Outcome != Pass || !strings.Contains(r.Gets[0].Said, "no such file") {
		t.Errorf("%v; it said %q", v, r.Gets[0].Said)
	}
}

// A link whose last counts are missing would seem to have carried less.
func TestRunNeedsTheLastCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc, err := Parse("played", killed)
		if err != nil {
			t.Fatal(err)
		}
		f := newFakeBox(sc.Plan(1))
		time.AfterFunc(5*time.Second, func() { f.links["branch-b"].fail(errors.New("it is gone")) })
		_, err = Run(t.Context(), Config{Scenario: sc, Enterprise: f, Hands: f, Seed: 1})
		if err == nil || !strings.Contains(err.Error(), "link of branch-b carried: it is gone") {
			t.Errorf("got %v, want an error of the link", err)
		}
	})
}

// Whoever is done has all of it, seen or not.
func TestRunFiresTriggersBetweenSamples(t *testing.T) {
	r, v, _ := play(t, `branches 1, peers 1
link down rate=800mbit
content image 900KiB
at 0s publish image
at 10ms get image at all
when image 90% at branch-a cut branch-a
level correct = all
`, nil)
	mustHold(t, r, v)
}
