package play

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// An Outcome is what became of a level.
type Outcome string

// Outcomes. FallsShort is of a level that is marked short and does not hold;
// HoldsNow of one that is marked and holds. A mark is no excuse for a playing in which
// there was nothing to measure: that is a Fail.
const (
	Pass       Outcome = "PASS"
	Fail       Outcome = "FAIL"
	FallsShort Outcome = "FALLS SHORT"
	HoldsNow   Outcome = "HOLDS NOW"
)

// A Verdict is a level with its figure.
type Verdict struct {
	Level    Level
	Figure   Figure // valid if Measured
	Measured bool
	Why      string // it was not measured
	Outcome  Outcome
}

// Judge holds a record against the levels of its scenario. With strict, a level that
// is marked short and holds is a failure: its mark must go.
func Judge(s *Scenario, r *Record, strict bool) []Verdict {
	out := make([]Verdict, 0, len(s.Levels))
	for _, l := range s.Levels {
		v := Verdict{Level: l}
		f, err := judged{s, r}.figure(l)
		if err != nil {
			v.Why = err.Error()
		} else {
			v.Figure, v.Measured = Figure{f, l.Figure.Unit}, true
		}
		held := v.Measured && l.holds(f)
		switch {
		case held && l.Short == "":
			v.Outcome = Pass
		case held && strict:
			v.Outcome = Fail
		case held:
			v.Outcome = HoldsNow
		case l.Short != "" && (v.Measured || errors.As(err, new(endless))):
			v.Outcome = FallsShort
		default:
			v.Outcome = Fail
		}
		out = append(out, v)
	}
	return out
}

// Passed reports whether nothing failed.
func Passed(verdicts []Verdict, r *Record) bool {
	return !slices.ContainsFunc(verdicts, func(v Verdict) bool { return v.Outcome == Fail }) && len(Troubles(r)) == 0
}

// Troubles returns what went wrong with the playing itself, which no level tells.
func Troubles(r *Record) []string {
	var out []string
	for _, h := range r.Happened {
		if h.Error != "" {
			out = append(out, fmt.Sprintf("line %d: %s: %s", h.Line, h.What, h.Error))
		}
	}
	return out
}

// judged is a record with the scenario that says what it should have been.
type judged struct {
	s *Scenario
	r *Record
}

// An absence is why a level has no figure at a place that had no part in it. Of
// several sites, such a one doesn't count; one that had a part and wasn't measured
// leaves all of them without a figure.
type absence string

func (a absence) Error() string { return string(a) }

// An endless is why there is no figure of something that never came to an end: it is as
// bad as a figure can be.
type endless string

func (e endless) Error() string { return string(e) }

// figure returns what a level measures, in the level's unit. Of a measure of sites
// without one, it is that of the branch that is worst.
func (j judged) figure(l Level) (float64, error) {
	if !measure(l.Measure).Where.worst() || l.Place != "" {
		return j.one(l)
	}
	worst, found, err := 0.0, false, error(nil)
	for _, site := range j.s.Plan(0).Sites()[1:] {
		l.Place = site
		f, ferr := j.one(l)
		switch {
		case errors.As(ferr, new(absence)):
			err = ferr
		case ferr != nil:
			return 0, fmt.Errorf("%s: %w", site, ferr)
		case !found, l.Op == ">=" && f < worst, l.Op != ">=" && f > worst:
			worst, found = f, true
		}
	}
	if !found {
		return 0, err
	}
	return worst, nil
}

func (j judged) one(l Level) (float64, error) {
	switch l.Measure {
	case "done", "first":
		return j.time(l)
	case "copies", "payload", "uplink":
		return j.copies(l)
	case "overhead":
		return j.overhead(l)
	case "wasted", "correct", "wrong":
		return j.quality(l)
	case "stall":
		return j.stall(l)
	case "resume":
		return j.resume(l)
	case "use":
		return j.use(l)
	case "kept", "page", "delay", "mos":
		return j.foreground(l)
	case "rss":
		return j.rss(l)
	}
	return 0, fmt.Errorf("%s is not measured", l.Measure)
}

// gets returns those of a level's content and place.
func (j judged) gets(l Level) ([]Got, error) {
	var out []Got
	members := j.s.members(l.Place)
	for _, g := range j.r.Gets {
		if (l.Content == "" || g.Content == l.Content) && (l.Place == "" || slices.Contains(members, g.Node)) {
			out = append(out, g)
		}
	}
	if len(out) == 0 {
		return nil, absence("nobody asked")
	}
	return out, nil
}

// span returns when the first of the gets began and the last ended. ok is false if
// one didn't.
func (j judged) span(gets []Got) (from, to time.Duration, ok bool) {
	from, ok = gets[0].Asked, true
	for _, g := range gets {
		from, to = min(from, g.Asked), max(to, g.Ended)
		ok = ok && g.done()
	}
	if !ok {
		to = j.r.Length
	}
	return from, to, ok
}

func (j judged) time(l Level) (float64, error) {
	gets, err := j.gets(l)
	if err != nil {
		return 0, err
	}
	from, to, ok := j.span(gets)
	if l.Measure == "first" {
		ok = false
		for _, g := range gets {
			if g.done() && (!ok || g.Ended < to) {
				to, ok = g.Ended, true
			}
		}
	}
	if !ok {
		return 0, endless(fmt.Sprintf("not done after %v", (j.r.Length - from).Round(time.Second)))
	}
	took := (to - from).Seconds()
	if l.Figure.Unit == OfWire {
		best := j.best(gets)
		if best == 0 {
			return 0, fmt.Errorf("the links have no rate")
		}
		took /= best
	}
	return took, nil
}

// best returns how long the links take at the very least, in seconds: what was asked
// for at a site, once, at the rate of its link or that of headquarters', whichever is
// less. Of several sites, the slowest counts.
func (j judged) best(gets []Got) float64 {
	slowest := 0.0
	seen := map[string]map[string]bool{}
	for _, g := range gets {
		if seen[g.Site] == nil {
			seen[g.Site] = map[string]bool{}
		}
		seen[g.Site][g.Content] = true
	}
	rate := j.s.Down.Rate
	if up := j.s.HQUp.Rate; rate == 0 || up > 0 && up < rate {
		rate = up
	}
	for _, contents := range seen {
		var size int64
		for c := range contents {
			size += j.new(c)
		}
		if rate > 0 {
			slowest = max(slowest, float64(size)/rate.BytesPerSecond())
		}
	}
	return slowest
}

// new returns the bytes of a content.
func (j judged) new(content string) int64 { return j.s.content(content).Size }

// asked returns the bytes of all different contents among the gets.
func (j judged) asked(gets []Got) (sum int64) {
	seen := map[string]bool{}
	for _, g := range gets {
		if !seen[g.Content] {
			seen[g.Content] = true
			sum += j.s.content(g.Content).Size
		}
	}
	return sum
}

func (j judged) link(site string) (LinkSeries, error) {
	for _, l := range j.r.Links {
		if l.Site == site && len(l.Points) > 1 {
			return l, nil
		}
	}
	return LinkSeries{}, fmt.Errorf("the link of %s was not sampled", site)
}

// published returns when a content was, 0 for all of them.
func (j judged) published(content string) time.Duration {
	for _, e := range j.s.Events {
		if e.Do.Verb != "publish" || e.Do.Content != content {
			continue
		}
		for _, h := range j.r.Happened {
			if h.Line == e.Line {
				return h.At
			}
		}
	}
	return 0
}

func (j judged) copies(l Level) (float64, error) {
	gets, err := j.gets(l)
	if err != nil {
		return 0, err
	}
	size := j.asked(gets)
	if l.Measure == "payload" {
		var sum int64
		for _, g := range gets {
			sum += g.WAN
		}
		return float64(sum) / float64(size), nil
	}
	site := l.Place
	if l.Measure == "uplink" {
		site = headquarters
	}
	series, err := j.link(site)
	if err != nil {
		return 0, err
	}
	p := series.between(j.published(l.Content), j.r.Length)
	if l.Measure == "uplink" {
		return float64(p.Up) / float64(size), nil
	}
	return float64(p.Down) / float64(size), nil
}

func (j judged) overhead(l Level) (float64, error) {
	gets, err := j.gets(l)
	if err != nil {
		return 0, err
	}
	var payload int64
	for _, g := range gets {
		payload += g.WAN
	}
	series, err := j.link(l.Place)
	switch {
	case err != nil:
		return 0, err
	case payload == 0:
		return 0, absence("nothing came over the WAN")
	}
	p := series.between(0, j.r.Length)
	return 100 * float64(p.Down-payload) / float64(payload), nil
}

func (j judged) quality(l Level) (float64, error) {
	gets, err := j.gets(l)
	if err != nil {
		return 0, err
	}
	var fetched, wasted int64
	right, wrong := 0, 0
	for _, g := range gets {
		fetched += g.LAN + g.WAN
		wasted += g.Wasted
		switch {
		case g.done() && g.Right:
			right++
		case g.done():
			wrong++
		}
	}
	switch {
	case l.Measure == "wrong":
		return float64(wrong), nil
	case l.Measure == "correct" && right == len(gets):
		return 1, nil
	case l.Measure == "correct":
		return float64(right) / float64(len(gets)), nil
	case fetched == 0:
		return 0, fmt.Errorf("nothing was fetched")
	}
	return 100 * float64(wasted) / float64(fetched), nil
}

func (j judged) rss(l Level) (float64, error) {
	members := j.s.members(l.Place)
	var peak int64
	for _, n := range j.r.Nodes {
		if l.Place == "" || slices.Contains(members, n.Node) {
			peak = max(peak, n.PeakRSS)
		}
	}
	if peak == 0 {
		return 0, fmt.Errorf("no process was sampled")
	}
	return float64(peak), nil
}
