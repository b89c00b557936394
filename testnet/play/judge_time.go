package play

import (
	"fmt"
	"slices"
	"time"

	"github.com/p2pnode/p2pnode/testnet/box"
)

const headquarters = box.HQ

// rises returns when something new arrived at a level's place: a member had more of
// a content than at any sample before, and it is known when it came: a node that was
// frozen has what it fetched just before, which isn't new.
func (j judged) rises(l Level) []time.Duration {
	var out []time.Duration
	members := j.s.members(l.Place)
	for _, n := range j.r.Nodes {
		if l.Place != "" && !slices.Contains(members, n.Node) {
			continue
		}
		most := map[string]int64{}
		for _, h := range n.Have {
			if h.Bytes > most[h.Content] && (l.Content == "" || h.Content == l.Content) {
				most[h.Content] = h.Bytes
				if !h.Anew {
					out = append(out, h.At)
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

func (j judged) stall(l Level) (float64, error) {
	gets, err := j.gets(l)
	if err != nil {
		return 0, err
	}
	from, to, _ := j.span(gets)
	longest, last := time.Duration(0), from
	for _, at := range j.rises(l) {
		if at > from && at < to {
			longest, last = max(longest, at-last), at
		}
	}
	return max(longest, to-last).Seconds(), nil
}

// restoring are the verbs after which something should arrive again.
var restoring = []string{"start", "restart", "thaw", "plug", "move", "heal"}

func (j judged) resume(l Level) (float64, error) {
	// From when it was begun something may arrive; how long it takes counts from when it
	// was done.
	begun, restored := never, never
	for _, e := range j.s.Events {
		if !slices.Contains(restoring, e.Do.Verb) || !j.touches(e.Do, l.Place) {
			continue
		}
		for _, h := range j.r.Happened {
			if h.Line == e.Line && h.At+h.Took > restored {
				begun, restored = h.At, h.At+h.Took
			}
		}
	}
	if restored == never {
		return 0, fmt.Errorf("nothing was restored there")
	}
	gets, err := j.gets(l)
	if err != nil {
		return 0, err
	}
	if _, to, ok := j.span(gets); ok && to <= begun {
		return 0, fmt.Errorf("all was done before")
	}
	for _, at := range j.rises(l) {
		if at > begun {
			return max(0, at-restored).Seconds(), nil
		}
	}
	// Between two samples all of the rest may have come.
	for _, g := range gets {
		if g.done() && g.Ended > begun {
			return max(0, g.Ended-restored).Seconds(), nil
		}
	}
	return 0, endless("nothing arrived after it")
}

// touches reports whether an action is about a place, or its site's link.
func (j judged) touches(a Action, place string) bool {
	if place == "" {
		return true
	}
	for _, p := range append(slices.Clone(a.Places), a.To) {
		if p == "" {
			continue
		}
		if p == j.s.site(place) || slices.ContainsFunc(j.s.members(p), func(n string) bool { return slices.Contains(j.s.members(place), n) }) {
			return true
		}
	}
	return false
}

// use is over the time in which a site has gets that aren't done. What others leave is
// the link's rate less what they carried then.
func (j judged) use(l Level) (float64, error) {
	gets, err := j.gets(l)
	if err != nil {
		return 0, err
	}
	series, err := j.link(l.Place)
	if err != nil {
		return 0, err
	}
	from, to, _ := j.span(gets)
	p := series.between(from, to)
	room := j.s.Down.Rate.BytesPerSecond()*p.At.Seconds() - float64(p.ForegroundDown+p.OtherDown)
	if room <= 0 {
		return 0, fmt.Errorf("the link has no rate, or no room")
	}
	return 100 * float64(p.Down) / room, nil
}

// foreground compares what users felt with us and alone. Of several of a kind at a
// site the worst counts. Each must have had us beside it from begin to end, or what
// they felt says nothing of us.
func (j judged) foreground(l Level) (float64, error) {
	kind := map[string]string{"kept": "bulk", "page": "web", "delay": "voip", "mos": "voip"}[l.Measure]
	worst, found := 0.0, false
	for _, p := range j.r.Loads {
		if p.Kind != kind || p.Site != l.Place {
			continue
		}
		f, err := felt(l.Measure, p)
		if err == nil {
			err = j.beside(p)
		}
		if err != nil {
			return 0, err
		}
		switch {
		case !found:
			worst, found = f, true
		case l.Op == ">=":
			worst = min(worst, f)
		default:
			worst = max(worst, f)
		}
	}
	if !found {
		return 0, absence(fmt.Sprintf("no %s was played at %s", kind, l.Place))
	}
	return worst, nil
}

// beside returns an error unless something was being fetched at a load's site for as
// long as it was played.
func (j judged) beside(p Played) error {
	gets, err := j.gets(Level{Place: p.Site})
	if err != nil {
		return err
	}
	if from, to, _ := j.span(gets); from > p.At || to < p.At+p.For {
		return fmt.Errorf("%s was played from %v to %v, and something fetched from %v to %v only",
			p.Kind, p.At.Round(time.Second), (p.At + p.For).Round(time.Second), from.Round(time.Second), to.Round(time.Second))
	}
	return nil
}

// felt returns what a load says of a measure. Users who got nothing through alone were
// not there to be disturbed; those who got nothing only beside us were.
func felt(measure string, p Played) (float64, error) {
	with, alone := p.With, p.Alone
	switch {
	case measure == "kept" && alone.Rate > 0:
		return 100 * with.Rate / alone.Rate, nil
	case measure == "page" && alone.Pages > 0 && with.Pages > 0:
		return with.Page.Seconds() / alone.Page.Seconds(), nil
	case measure == "page" && alone.Pages > 0:
		return 0, endless("no page came")
	case measure == "delay" && alone.Delay > 0 && with.Delay > 0:
		return (with.Delay - alone.Delay).Seconds(), nil
	case measure == "mos" && alone.MOS > 0 && with.MOS > 0:
		return with.MOS, nil
	}
	return 0, fmt.Errorf("%s at %s: nothing was measured", p.Kind, p.Site)
}
