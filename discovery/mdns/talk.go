package mdns

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Times of a talk. Where RFC 6762 gives one it is that one.
const (
	askAfter     = 20 * time.Millisecond  // of the start, and
	askWithin    = 300 * time.Millisecond // more (section 5.2 has 100 ms: too short to have heard whether many start)
	askAgain     = time.Second            // then ever more rarely,
	askEvery     = time.Minute            // up to this
	askedJustNow = 500 * time.Millisecond // a question so lately asked serves us too
	answerAfter  = 20 * time.Millisecond
	answerWithin = 300 * time.Millisecond
	answerFirst  = 60 * time.Millisecond // of those who speak for a crowd
	saidApart    = time.Second           // section 6
	announceIn   = 2 * time.Second       // if we had no occasion to say where we are
	tellApart    = 20 * time.Second
	// remindAfter, and up to as much again, is how long a node is silent that isn't
	// asked: its record is renewed twice in its life, even if one packet is lost.
	remindAfter = 2 * time.Minute
	remindFirst = 5 * time.Second // the least, for who kept silent at the start
)

// Numbers of a talk.
const (
	maxNeighbours   = 256
	enough          = 32 // who knows so many doesn't announce itself: it dials them
	enoughToAsk     = 16 // who knows so many doesn't ask
	enoughAnswers   = 8  // who heard so many answers to a question doesn't give one
	enoughLeft      = 8  // who knows more leaves without farewell: their connections tell
	crowd           = 48 // beyond, those who speak for the others answer first
	maxKnown        = enoughToAsk
	slowerEachTime  = 3 // by which the time between two questions grows
	freshWhileAbove = 2 // what has more than 1/2 of its life left counts as known (section 7.1)
)

// What a subnet has for all nodes together, in packets of both IP versions. Who
// hears as much keeps silent. Between finding that there is room and being heard
// lies a delay, in which others may find the same room; and a packet may be lost to
// some: so the limit of 20 is kept by stopping at 10.
const (
	budget       = 10 // a second
	remindBudget = 10 // in remindWindow: reminding has time
	remindWindow = 10 * time.Second
	maxHeard     = 32 // packets whose times are remembered
)

// A talk decides what one node says on one link, and remembers whom it heard.
// It is pure: time comes in, and what is to be said goes out.
//
// However many nodes share the link, few of them may speak at once, and nobody
// knows how many there are. So a node that is to say something waits for a random
// time whose density grows exponentially (rarely), and asks itself then whether it
// is still wanted and whether there is room: of two nodes each speaks soon, and of
// thousands the first few do and the others hear them.
type talk struct {
	instance   string // our own
	only6      bool   // we have no IPv4
	speaks     func() bool
	random     *rand.Rand
	began      time.Time
	neighbours map[string]*neighbour // by instance
	names      map[peer.ID]string    // their instances
	heard      []time.Time           // of the last packets, ours among them

	sayAt    time.Time // unasked: to announce ourselves, later to remind others
	sayPause time.Duration
	said     bool // ever
	saidAt   time.Time
	askAt    time.Time
	askPause time.Duration
	asked    bool // ever
	// servedAt is when another asked what we would: we hear the answers too.
	servedAt time.Time
	reply    reply
}

// A reply is what a talk knows of the last question of another.
type reply struct {
	due     time.Time // zero if nobody waits for ours
	asker   string
	at      time.Time // when it was heard
	answers int       // of others, since
	wide    bool      // it came by the other IP version only
}

// A neighbour is a node that was heard.
type neighbour struct {
	instance string
	info     peer.AddrInfo
	at       time.Time // when it was heard
	until    time.Time
	life     time.Duration
	toldAt   time.Time // when the callback was last given it
	aside    bool      // it was only ever heard by the other IP version
}

// newTalk begins a talk of a node that may have no IPv4. speaks tells whether it
// speaks for others.
func newTalk(now time.Time, instance string, only6 bool, speaks func() bool, random *rand.Rand) *talk {
	t := &talk{
		instance: instance, only6: only6, speaks: speaks, random: random, began: now,
		neighbours: make(map[string]*neighbour), names: make(map[peer.ID]string),
		askPause: askAgain, sayPause: announceIn,
	}
	t.askAt = now.Add(askAfter + t.rarely(askWithin))
	t.sayAt = now.Add(saidApart + t.rarely(announceIn))
	return t
}

// upTo returns a random time below d.
func (t *talk) upTo(d time.Duration) time.Duration { return time.Duration(t.random.Int64N(int64(d))) }

// rarely returns a random time up to d, the more likely the longer: of n who draw
// one, the first comes at about d*(1-ln(n)/steep), and the number of those whose
// time has come grows e-fold every d/steep, so that few speak before the first are
// heard. For up to e^steep, 22,000 of them. (Nonnenmacher and Biersack, "Scalable
// feedback for large groups", IEEE/ACM Transactions on Networking 7(3), 1999.)
func (t *talk) rarely(d time.Duration) time.Duration {
	const steep = 10
	return time.Duration(float64(d) * math.Log1p(t.random.Float64()*math.Expm1(steep)) / steep)
}

// An act is something to be said.
type act struct {
	what what
	// wide: by both IP versions. Where all have IPv4, saying it once is enough.
	wide bool
}

type what uint8

const (
	ask what = iota + 1 // who is there, and where we are
	say                 // where we are
)

// next returns when due has something to do.
func (t *talk) next() time.Time {
	at := t.askAt
	if t.sayAt.Before(at) {
		at = t.sayAt
	}
	if !t.reply.due.IsZero() && t.reply.due.Before(at) {
		at = t.reply.due
	}
	return at
}

// due returns what is to be said now.
func (t *talk) due(now time.Time) []act {
	t.forget(now)
	var acts []act
	if !t.reply.due.IsZero() && !now.Before(t.reply.due) {
		t.reply.due = time.Time{}
		if wide := t.reply.wide || t.anyAside(); t.reply.answers < enoughAnswers && t.room(now, wide) {
			acts = append(acts, t.act(now, say, wide))
		}
	}
	if !now.Before(t.sayAt) && t.announces(now) {
		acts = append(acts, t.act(now, say, t.anyAside()))
	}
	if !now.Before(t.askAt) {
		if len(t.neighbours) < enoughToAsk && now.Sub(t.servedAt) >= askedJustNow && t.calm(now) && t.room(now, t.asked) {
			// The first time by IPv4 alone. Who has no IPv4 asks by IPv6 itself, and is
			// asked a second later if few others were found.
			acts = append(acts, t.act(now, ask, t.asked))
			t.asked = true
		}
		t.askAt = now.Add(t.askPause/2 + t.rarely(t.askPause/2))
		t.askPause = min(slowerEachTime*t.askPause, askEvery)
	}
	return acts
}

// announces reports whether to say unasked where we are, and sets the next time.
func (t *talk) announces(now time.Time) bool {
	switch {
	case t.said: // to remind
		t.sayAt = now.Add(remindAfter + t.upTo(remindAfter))
		return t.within(now, remindWindow) < remindBudget
	case len(t.neighbours) >= enough:
		t.said = true
		t.sayAt = now.Add(remindFirst + t.upTo(2*remindAfter))
		return false
	case !t.room(now, t.anyAside()):
		t.sayAt = now.Add(t.rarely(t.sayPause))
		t.sayPause = min(2*t.sayPause, askEvery)
		return false
	}
	return true
}

// act notes that something is now said: any of it tells where we are.
func (t *talk) act(now time.Time, w what, wide bool) act {
	t.said, t.saidAt, t.reply.due = true, now, time.Time{}
	t.sayAt = now.Add(remindAfter + t.upTo(remindAfter))
	t.count(now)
	if wide {
		t.count(now)
	}
	return act{w, wide}
}

// anyAside reports whether somebody has no IPv4.
func (t *talk) anyAside() bool {
	for _, n := range t.neighbours {
		if n.aside {
			return true
		}
	}
	return false
}

// parts reports whether to say farewell. Of many who leave at once, for an update's
// sake, nobody hears the others first.
func (t *talk) parts() bool { return len(t.neighbours) <= enoughLeft }

// room reports whether the subnet bears one more saying. Who hasn't listened for a
// second takes what it heard for a part of one, of a random size: or all who came
// together would find room at once.
func (t *talk) room(now time.Time, wide bool) bool {
	packets := 1
	if wide {
		packets = 4 // two, and two for those without IPv4, who hear half
	}
	heard := t.within(now, time.Second)
	if listened := now.Sub(t.began).Seconds(); listened < 1 && heard > 1 && float64(heard) > budget*listened*t.random.Float64() {
		return false
	}
	return heard+packets <= budget
}

// calm reports whether somebody who came just now may ask already. Of many who come
// one after the other each has heard a part of a second only, and all would find
// room: so whoever heard anything waits for a whole one.
func (t *talk) calm(now time.Time) bool {
	return now.Sub(t.began) >= time.Second || t.within(now, time.Second) == 0
}

// within returns how many packets there were lately.
func (t *talk) within(now time.Time, lately time.Duration) int {
	n := 0
	for _, at := range t.heard {
		if now.Sub(at) < lately {
			n++
		}
	}
	return n
}

// count notes a packet.
func (t *talk) count(now time.Time) {
	t.heard = append(t.heard, now)
	if over := len(t.heard) - maxHeard; over > 0 {
		t.heard = slices.Delete(t.heard, 0, over)
	}
	if t.within(now, time.Second) >= budget {
		t.hold(t.heard[len(t.heard)-budget].Add(time.Second))
	}
}

// hold puts off what would be said to after free, when there is room again.
// It draws new times: after a full second those that were drawn before would come
// all together.
func (t *talk) hold(free time.Time) {
	if !t.reply.due.IsZero() {
		t.reply.due = free.Add(t.rarely(answerWithin))
	}
	if t.askAt.Before(free.Add(t.askPause)) {
		t.askAt = free.Add(t.rarely(t.askPause))
	}
	if t.sayAt.Before(free.Add(t.sayPause)) {
		t.sayAt = free.Add(t.rarely(t.sayPause))
	}
}

// hear takes what was heard, aside of where it is said first if that is so, and
// returns those who may be dialled.
func (t *talk) hear(now time.Time, m message, aside bool) []peer.AddrInfo {
	if t.isOwn(m) {
		return nil // was counted when it was said
	}
	t.count(now)
	if t.only6 {
		t.count(now) // which was also said by IPv4
	}
	var found []peer.AddrInfo
	for _, s := range m.says {
		switch {
		case s.instance == t.instance:
			continue // someone who would be us
		case s.life == 0:
			t.drop(s.instance)
			continue
		}
		n := t.neighbours[s.instance]
		if n == nil {
			t.makeRoom(s.info.ID)
			n = &neighbour{instance: s.instance, aside: aside}
			t.neighbours[s.instance] = n
		}
		t.names[s.info.ID] = s.instance
		if !n.at.After(t.reply.at) {
			t.reply.answers++ // and not again when it comes by the other IP version
		}
		n.info, n.at, n.until, n.life, n.aside = s.info, now, now.Add(s.life), s.life, n.aside && aside
		if n.toldAt.IsZero() || now.Sub(n.toldAt) >= tellApart {
			n.toldAt = now
			found = append(found, n.info)
		}
	}
	if m.asks {
		t.question(now, m.known, aside)
	}
	return found
}

// isOwn reports whether a packet is one of ours that came back.
func (t *talk) isOwn(m message) bool {
	if m.asks {
		return len(m.known) > 0 && m.known[0] == t.instance
	}
	return len(m.says) == 1 && m.says[0].instance == t.instance
}

// question takes the question of another, who knows some and itself.
func (t *talk) question(now time.Time, known []string, aside bool) {
	asker := ""
	if len(known) > 0 {
		asker = known[0]
	}
	if asker == t.reply.asker && now.Sub(t.reply.at) < askedJustNow { // by the other IP version
		t.reply.wide = t.reply.wide && aside
		return
	}
	t.reply.at = now
	if !slices.ContainsFunc(known, func(k string) bool { return k != t.instance && t.neighbours[k] == nil }) {
		t.servedAt = now // nobody keeps silent whom we don't know
	}
	if slices.Contains(known, t.instance) || !t.reply.due.IsZero() {
		return
	}
	wait := t.rarely(answerWithin)
	if len(t.neighbours) >= crowd && t.speaks() {
		wait = t.upTo(answerFirst)
	}
	due := later(now.Add(answerAfter+wait), t.saidAt.Add(saidApart))
	t.reply = reply{due: due, asker: asker, at: now, wide: aside}
}

// drop forgets a neighbour.
func (t *talk) drop(instance string) {
	if n := t.neighbours[instance]; n != nil {
		delete(t.neighbours, instance)
		if t.names[n.info.ID] == instance {
			delete(t.names, n.info.ID)
		}
	}
}

// makeRoom drops what is known of a node under an older name, and a neighbour if
// there are too many. Any one: a flood of forgeries would find its way around every
// preference.
func (t *talk) makeRoom(of peer.ID) {
	t.drop(t.names[of])
	if len(t.neighbours) < maxNeighbours {
		return
	}
	for instance := range t.neighbours {
		t.drop(instance)
		return
	}
}

// forget drops those whose life is over.
func (t *talk) forget(now time.Time) {
	for instance, n := range t.neighbours {
		if !n.until.After(now) {
			t.drop(instance)
		}
	}
}

// known returns the neighbours that needn't answer a question now: those heard
// lately. The others get the chance to be heard again.
func (t *talk) known(now time.Time) []neighbour {
	var fresh []neighbour
	for _, n := range t.neighbours {
		if n.until.Sub(now) > n.life/freshWhileAbove {
			fresh = append(fresh, *n)
		}
	}
	slices.SortFunc(fresh, func(a, b neighbour) int { return cmp.Or(b.until.Compare(a.until), cmp.Compare(a.instance, b.instance)) })
	return fresh[:min(len(fresh), maxKnown)]
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
