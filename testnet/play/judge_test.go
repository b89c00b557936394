package play

import (
	"math"
	"strings"
	"testing"
	"time"
)

const s = time.Second

// a playing of 8 MiB at 8 Mbit/s, of which the link takes 8.39 s: branch-a is done
// after 10 s, a member was killed at 3 s and started at 5 s.
func playing() *Record {
	const mib = 1 << 20
	r := &Record{
		Length: 12 * s,
		Happened: []Happened{
			{Line: 6, At: 0, What: "publish image"}, {Line: 7, At: 0, What: "get image at branch-a"},
			{Line: 8, At: 3 * s, What: "kill branch-a-2"}, {Line: 9, At: 5 * s, Took: s, What: "start branch-a-2"},
		},
		Gets: []Got{
			{Node: "branch-a-1", Site: "branch-a", Content: "image", Ended: 9 * s, Right: true, WAN: 6 * mib, LAN: 2 * mib},
			{Node: "branch-a-2", Site: "branch-a", Content: "image", Ended: 10 * s, Right: true, Again: 1, WAN: 3 * mib, LAN: 5 * mib, Wasted: mib / 4},
		},
		Nodes: []NodeSeries{
			{Node: "branch-a-1", Site: "branch-a", PeakRSS: 50 * mib, Have: []Have{{At: 1 * s, Content: "image", Bytes: 1 * mib}, {At: 2 * s, Content: "image", Bytes: 2 * mib}, {At: 6 * s, Content: "image", Bytes: 5 * mib}, {At: 9 * s, Content: "image", Bytes: 8 * mib}}},
			{Node: "branch-a-2", Site: "branch-a", PeakRSS: 60 * mib, Have: []Have{{At: 2 * s, Content: "image", Bytes: 1 * mib}, {At: 6500 * time.Millisecond, Content: "image", Bytes: 1 * mib}, {At: 7 * s, Content: "image", Bytes: 2 * mib}, {At: 10 * s, Content: "image", Bytes: 8 * mib}}},
		},
		Links: []LinkSeries{
			{Site: "hq", Points: []LinkPoint{{At: 0, Up: mib}, {At: 12 * s, Up: 11 * mib}}},
			{Site: "branch-a", Points: []LinkPoint{{At: 0, Down: mib}, {At: 10 * s, Down: 10*mib + mib/4, ForegroundDown: mib}, {At: 12 * s, Down: 10*mib + mib/2, ForegroundDown: mib}}},
		},
		Loads: []Played{
			{Kind: "bulk", Site: "branch-a", Alone: Felt{Rate: 8e6}, With: Felt{Rate: 6e6}},
			{Kind: "voip", Site: "branch-a", Alone: Felt{Delay: 10 * time.Millisecond, MOS: 4.4}, With: Felt{Delay: 15 * time.Millisecond, MOS: 4.1}},
			{Kind: "voip", Site: "branch-a", Alone: Felt{Delay: 10 * time.Millisecond, MOS: 4.4}, With: Felt{Delay: 30 * time.Millisecond, MOS: 3.9}},
			{Kind: "web", Site: "branch-a", Alone: Felt{Page: 200 * time.Millisecond, Pages: 10}, With: Felt{Page: 300 * time.Millisecond, Pages: 8}},
		},
	}
	return r
}

const played = `branches 1, peers 2
link down rate=8mbit
link up rate=8mbit
content image 8MiB
content spare 1MiB
at 0s publish image
at 0s get image at branch-a
when image 30% at branch-a kill branch-a-2
after 2s start branch-a-2
`

func TestJudgeMeasures(t *testing.T) {
	for _, c := range []struct {
		level string
		want  float64
		error string
	}{
		{"done at branch-a <= 1s", 10, ""},
		{"done at branch-a <= 1 x wire", 10 / 8.388608, ""},
		{"first <= 1s", 9, ""},
		{"first image at branch-a-2 <= 1s", 10, ""},
		{"copies at branch-a <= 1", 9.5 / 8, ""},
		{"payload at branch-a <= 1", 9.0 / 8, ""},
		{"payload at branch-a-2 <= 1", 3.0 / 8, ""},
		{"copies <= 1", 9.5 / 8, ""},
		{"mos >= 4", 3.9, ""},
		{"uplink <= 1", 10.0 / 8, ""},
		{"overhead at branch-a <= 1%", 100 * 0.5 / 9, ""},
		{"wasted <= 1%", 100 * 0.25 / 16, ""},
		{"correct = all", 1, ""},
		{"wrong = 0", 0, ""},
		{"stall at branch-a <= 1s", 4, ""},
		{"stall at branch-a-2 <= 1s", 5, ""},
		{"resume at branch-a-2 <= 1s", 1, ""},
		{"resume at branch-a <= 1s", 0, ""}, // another member went on meanwhile
		{"use at branch-a >= 1%", 100 * 9.25 * (1 << 20) / (10e6 - (1 << 20)), ""},
		{"kept at branch-a >= 1%", 75, ""},
		{"delay at branch-a <= 1s", 0.020, ""},
		{"mos at branch-a >= 4", 3.9, ""},
		{"page at branch-a <= 1 x alone", 1.5, ""},
		{"rss <= 1MiB", 60 << 20, ""},
		{"rss at branch-a-1 <= 1MiB", 50 << 20, ""},
		{"done spare <= 1s", 0, "nobody asked"},
		{"rss at hq <= 1MiB", 0, "no process was sampled"},
		{"resume at publisher <= 1s", 0, "nothing was restored there"},
	} {
		sc, err := Parse("played", played+"level "+c.level)
		if err != nil {
			t.Fatal(err)
		}
		v := Judge(sc, playing(), false)[0]
		if c.error != "" {
			if v.Measured || !strings.Contains(v.Why, c.error) || v.Outcome != Fail {
				t.Errorf("%s: %+v, want not measured: %s", c.level, v, c.error)
			}
			continue
		}
		if !v.Measured || math.Abs(v.Figure.Value-c.want) > 1e-9*max(1, c.want) {
			t.Errorf("%s: %v (%s), want %v", c.level, v.Figure, v.Why, c.want)
		}
	}
}

// A branch that can't be judged is not hidden behind one that can.
func TestJudgeCountsEveryBranchThatHadAPart(t *testing.T) {
	const two = `branches 2, peers 1
link down rate=8mbit
content image 8MiB
at 0s publish image
at 0s get image at branch-a
level copies <= 2
`
	beside := func(r *Record) {
		r.Gets[1].Node, r.Gets[1].Site = "branch-b-1", "branch-b"
	}
	for name, c := range map[string]struct {
		also  func(*Record)
		error string
	}{
		"one asked":                    {func(r *Record) { r.Gets = r.Gets[:1] }, ""},
		"both asked, one not sampled":  {beside, "branch-b: the link of branch-b was not sampled"},
		"neither asked":                {func(r *Record) { r.Gets = nil }, "nobody asked"},
		"both asked, both are sampled": {func(r *Record) { beside(r); r.Links = append(r.Links, r.Links[1]); r.Links[2].Site = "branch-b" }, ""},
	} {
		sc, err := Parse("two", two)
		if err != nil {
			t.Fatal(err)
		}
		r := playing()
		c.also(r)
		if v := Judge(sc, r, false)[0]; v.Why != c.error || v.Measured != (c.error == "") {
			t.Errorf("%s: %v, measured %v, why %q, want %q", name, v.Figure, v.Measured, v.Why, c.error)
		}
	}
}

func TestJudgeNamesWhatFallsShort(t *testing.T) {
	for _, c := range []struct {
		level  string
		strict bool
		want   Outcome
	}{
		{"done <= 11s", false, Pass},
		{"done <= 9s", false, Fail},
		{"done <= 9s short: slow", false, FallsShort},
		{"done <= 9s short: slow", true, FallsShort},
		{"done <= 11s short: slow", false, HoldsNow},
		{"done <= 11s short: slow", true, Fail},
		{"done spare <= 1s short: nobody", false, Fail}, // a mark is no excuse for what wasn't played
		{"resume at publisher <= 1s short: slow", false, Fail},
	} {
		sc, err := Parse("played", played+"level "+c.level)
		if err != nil {
			t.Fatal(err)
		}
		r := playing()
		v := Judge(sc, r, c.strict)
		if v[0].Outcome != c.want {
			t.Errorf("%s: %s, want %s", c.level, v[0].Outcome, c.want)
		}
		if Passed(v, r) != (c.want != Fail) {
			t.Errorf("%s: passed is %v", c.level, Passed(v, r))
		}
	}
}

// What can't be right isn't: a get that never ended, one that ended with an error, a
// copy that is another.
func TestJudgeSeesWhatIsWrong(t *testing.T) {
	for name, break_ := range map[string]func(*Record){
		"never ended":  func(r *Record) { r.Gets[1].Ended = 0 },
		"exit code 11": func(r *Record) { r.Gets[1].Exit = 11 },
		"another copy": func(r *Record) { r.Gets[1].Right = false },
	} {
		r := playing()
		break_(r)
		sc, err := Parse("played", played+"level correct = all\nlevel wrong = 0\nlevel done <= 1h")
		if err != nil {
			t.Fatal(err)
		}
		v := Judge(sc, r, false)
		if v[0].Outcome != Fail || (v[1].Outcome == Fail) != (name == "another copy") || (v[2].Outcome == Fail) == (name == "another copy") {
			t.Errorf("%s: %v", name, v)
		}
	}
	r := playing()
	r.Happened[2].Error = "no such process"
	if Passed(nil, r) {
		t.Error("an event that couldn't be made happen fails nothing")
	}
}

// What never ended falls short if its level is marked: no figure is worse.
func TestJudgeTellsEndlessFromNobody(t *testing.T) {
	sc, err := Parse("played", played+"level done <= 1h short: slow\nlevel page at branch-a <= 2 x alone short: slow")
	if err != nil {
		t.Fatal(err)
	}
	r := playing()
	r.Gets[1].Ended, r.Loads[3].With = 0, Felt{}
	for _, v := range Judge(sc, r, false) {
		if v.Measured || v.Outcome != FallsShort {
			t.Errorf("%v: %+v, want FALLS SHORT without a figure", v.Level, v)
		}
	}
	r.Loads[3].Alone = Felt{} // the pages can't be had without us either
	if v := Judge(sc, r, false)[1]; v.Outcome != Fail {
		t.Errorf("%v: %+v, want FAIL", v.Level, v)
	}
}

// What users felt when nothing was fetched beside them is no figure of ours.
func TestJudgeWantsUsersBesideUs(t *testing.T) {
	sc, err := Parse("played", played+"level kept at branch-a >= 50%")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		at, length time.Duration
		want       Outcome
	}{{0, 10 * s, Pass}, {1 * s, 8 * s, Pass}, {5 * s, 6 * s, Fail}, {11 * s, s, Fail}} {
		r := playing()
		r.Loads[0].At, r.Loads[0].For = c.at, c.length
		if v := Judge(sc, r, false)[0]; v.Outcome != c.want {
			t.Errorf("from %v for %v: %+v, want %s", c.at, c.length, v, c.want)
		}
	}
}

// What came between two samples has come when its get ended.
func TestJudgeSeesResumeByTheEndOfAGet(t *testing.T) {
	sc, err := Parse("played", played+"level resume at branch-a-2 <= 5s")
	if err != nil {
		t.Fatal(err)
	}
	r := playing()
	have := r.Nodes[1].Have
	r.Nodes[1].Have = []Have{have[0], {At: 9900 * time.Millisecond, Content: "image", Bytes: 8 << 20, Anew: true}}
	if v := Judge(sc, r, false)[0]; v.Figure.Value != 4 {
		t.Errorf("%+v, want 4 s", v)
	}
}
