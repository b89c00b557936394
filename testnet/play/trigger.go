package play

import "time"

// A timetable knows which events have happened, and says which are next.
type timetable struct {
	events []Event
	fired  []time.Duration // when; not yet: never
}

const never = time.Duration(-1)

// A progress says how far a content has come at a place: the percent that the member
// with the most of it has, and whether all that asked for it have their copies.
type progress func(content, place string) (share float64, done bool)

func newTimetable(events []Event) *timetable {
	t := &timetable{events: events, fired: make([]time.Duration, len(events))}
	for i := range t.fired {
		t.fired[i] = never
	}
	return t
}

// due returns the events whose time has come and notes that they happen now. Of
// several, those further up come first; an event behind another comes behind it.
func (t *timetable) due(now time.Duration, come progress) []Event {
	var out []Event
	for i, e := range t.events {
		if t.fired[i] != never || !t.isDue(i, now, come) {
			continue
		}
		t.fired[i] = now
		out = append(out, e)
	}
	return out
}

func (t *timetable) isDue(i int, now time.Duration, come progress) bool {
	switch w := t.events[i].When; w.Kind {
	case At:
		return now >= w.Time
	case After:
		return i > 0 && t.fired[i-1] != never && now >= t.fired[i-1]+w.Time
	default:
		share, done := come(w.Content, w.Place)
		return w.Share == Done && done || w.Share != Done && share >= w.Share
	}
}

// next returns when the next event is due that only waits for the clock. false:
// there is none.
func (t *timetable) next() (time.Duration, bool) {
	soonest, ok := time.Duration(0), false
	for i, e := range t.events {
		at := e.When.Time
		switch {
		case t.fired[i] != never || e.When.Kind == When:
			continue
		case e.When.Kind == After && t.fired[i-1] == never:
			continue
		case e.When.Kind == After:
			at += t.fired[i-1]
		}
		if !ok || at < soonest {
			soonest, ok = at, true
		}
	}
	return soonest, ok
}

// waiting returns the events that haven't happened.
func (t *timetable) waiting() []Event {
	var out []Event
	for i, e := range t.events {
		if t.fired[i] == never {
			out = append(out, e)
		}
	}
	return out
}
