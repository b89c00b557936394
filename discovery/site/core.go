package site

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Times of the protocol.
const (
	// A member gives a sign of life every beat. One that gave none while three were due
	// is gone. That is slow, since nobody waits for it: whoever takes chunks from a member
	// sees that none come, and whoever sits in the plan of a delegate hears it twice a
	// second (node/carry) and says so here when it doesn't. At a site of 50 a delegate
	// sends 4 small packets a second for this, 1,000 times 20 nodes 1,600.
	beat   = 12 * time.Second
	silent = 37 * time.Second
	// missGap is the least time between two of which a member may be missed: one that
	// answers at once is there, whatever else it doesn't do.
	missGap = 5 * time.Second
	// answerIn is how long a delegate that another member lost may take to say that it is
	// there: with what it takes to hear of the loss, within two seconds nobody goes by it.
	answerIn = 1200 * time.Millisecond
	// acquaint is for how long a node that just came goes by no planner, unless it has
	// met three delegates that sit: it would plan for itself what the others have.
	acquaint = time.Second
	// settle is how long a member is among the fittest, or isn't, before it says so:
	// one that just started knows nobody yet.
	settle = 3 * time.Second
	// gather is how long changes are gathered before all is computed anew.
	gather = 20 * time.Millisecond
	// knownGap is the least time between two lists of candidates to one peer.
	knownGap = 250 * time.Millisecond
	// A stream is opened by the one of two peers with the lesser id, and by the other
	// if none came for so long.
	openLate = 5 * time.Second
	openMost = time.Minute // between attempts to open one, and between dials of a candidate
	// A delegate looks for one it lost every so often: a machine that is switched off
	// costs three ARP requests in this time.
	seekEvery = 5 * time.Second
	seekFor   = 8 * time.Hour
	// late is by how much a tick may be late before the process must have stood still:
	// then nobody else was silent.
	late = 500 * time.Millisecond
)

// Times and numbers of neighbours.
const (
	// A node that is in touch with fewer members than these asks a delegate for others:
	// what one has, the others take from it, and three delegates can't feed hundreds.
	neighbours = Seats + 8
	askFirst   = time.Second
	askLeast   = 2 * time.Second
	askMost    = 10 * time.Minute // where there are no more
	answerGap  = time.Second      // between two answers to one member
)

// Limits of what is kept, whatever others do.
const (
	maxLinks = 4096 // as many as there may be connections
	maxLost  = 64
	maxTries = 256

	banned = time.Minute // without a stream for who breaks the protocol
	// Dials of those that others name: whoever names a hundred has some tried.
	dialsPerSecond = 1
	dialsBurst     = 16
	// dialGap is the least time between two rounds of dials: at a site that starts all
	// at once every list names somebody better.
	dialGap = 400 * time.Millisecond
)

// A core decides what a service does: whom to tell what, whom to dial, who are
// members and delegates. It has no clock: times come from its caller, and only grow.
// Not safe for use by several goroutines.
type core struct {
	self Member
	site string
	// admitted returns the site in the credential of a connected peer.
	admitted  func(peer.ID) string
	links     map[peer.ID]*link
	lost      []lostMember         // of this site, the one to be dialled next first
	tries     map[peer.ID]*attempt // dials of candidates
	dials     float64              // that may be made now, as of dialsAt
	dialsAt   time.Time
	nextDials time.Time // when candidates are looked through again
	lastDials time.Time // when some were dialled

	best     []Member // of members, one more than are told
	members  []Member // of this site and heard, this node among them; computed
	chosen   []peer.ID
	came     time.Time // to this site
	settled  bool      // chosen may plan; computed
	known    []byte    // frame with the best candidates that this node is in touch with
	version  int       // counts what callers see: members, chosen, site, who is elsewhere
	dirty    time.Time // when all is computed anew; zero if nothing changed
	differs  time.Time // since when chosen says otherwise than self.Sits; zero if it doesn't
	asking   attempt   // of who else is here
	asked    int       // how often
	nextBeat time.Time
	nextSeek time.Time
	due      time.Time // when the next tick was due

	out []effect
}

// A link is a connected peer that speaks the protocol.
type link struct {
	peer    peer.ID
	stream  bool
	greeted bool // the peer has said hello on it
	// said is what the peer says of itself, at which site first; empty: nothing yet.
	site  string
	said  Member
	heard time.Time
	// missed: somebody on this node waited for it in vain, and it wasn't heard since.
	missed   bool
	missNext time.Time // when it may be missed again, or asked for a sign of life
	asked    time.Time // since when it owes a sign of life; zero if it doesn't
	told     []Member  // candidates that it is in touch with

	toldSite string    // at which site the peer heard that we are
	knownOut []byte    // the list it has from us
	knownAt  time.Time // when it was sent
	answered time.Time // when it was told of some members
	open     attempt   // of a stream
	banned   time.Time // until when it gets no stream
}

// An attempt is when something may be tried again.
type attempt struct {
	next  time.Time
	pause time.Duration
}

func (a *attempt) again(now time.Time, least, most time.Duration) {
	a.pause = min(max(2*a.pause, least), most)
	a.next = now.Add(a.pause)
}

// An effect is something to do for a core.
type effect struct {
	do    deed
	to    peer.ID
	kind  kind
	frame []byte // send
	known Member // dial
}

type deed uint8

const (
	doSend  deed = iota // a frame, on the stream with a peer
	doOpen              // a stream
	doClose             // the stream, without a word
	doDial              // a candidate or somebody lost
)

func newCore(site string, self Member, admitted func(peer.ID) string, now time.Time) *core {
	c := &core{self: self, site: site, admitted: admitted, links: make(map[peer.ID]*link), tries: make(map[peer.ID]*attempt), dials: dialsBurst, dialsAt: now}
	c.nextBeat, c.nextSeek, c.due, c.came = now.Add(beat), now.Add(seekEvery), now, now
	c.asking.next = now.Add(askFirst)
	c.self.Home = admitted(self.Peer) == site
	c.compute(now)
	return c
}

// idle reports whether what a frame brought asks for no tick before the next is due.
func (c *core) idle() bool { return len(c.out) == 0 && (c.dirty.IsZero() || !c.dirty.Before(c.due)) }

// effects returns what is to be done since the last call.
func (c *core) effects() []effect {
	out := c.out
	c.out = nil
	return out
}

// connected notes a connected peer that speaks the protocol.
func (c *core) connected(p peer.ID, now time.Time) {
	if c.links[p] != nil || p == c.self.Peer || len(c.links) >= maxLinks {
		return
	}
	l := &link{peer: p}
	if c.self.Peer > p {
		l.open.next = now.Add(openLate)
	}
	c.links[p] = l
	delete(c.tries, p)
	c.reach(l, now)
}

// disconnected forgets a peer: all its connections are closed.
func (c *core) disconnected(p peer.ID, now time.Time) {
	l := c.links[p]
	if l == nil {
		return
	}
	delete(c.links, p)
	if l.site == c.site {
		c.lost = append(c.lost, lostMember{l.said, now})
		c.lost = c.lost[max(0, len(c.lost)-maxLost):]
	}
	c.wantDials(now)
	c.compute(now) // at once: it may have been a delegate
}

// opened notes that there is a stream with a peer, a new one perhaps.
func (c *core) opened(p peer.ID, now time.Time) {
	c.connected(p, now) // the stream may be known before the peer is identified
	l := c.links[p]
	if l == nil || now.Before(l.banned) {
		c.do(effect{do: doClose, to: p})
		return
	}
	l.stream, l.greeted, l.knownOut, l.knownAt = true, false, knowsNobody, time.Time{}
	l.heard, l.missed, l.asked = now, false, time.Time{}
	l.open = attempt{}
	c.greet(l)
	c.soon(now)
}

// closed notes that the stream with a peer ended, or couldn't be opened.
func (c *core) closed(p peer.ID, now time.Time) {
	l := c.links[p]
	if l == nil {
		return
	}
	had := l.stream
	l.stream, l.told = false, nil
	least := time.Second
	if c.self.Peer > p {
		least = openLate
	}
	l.open.again(now, least, openMost)
	if l.banned.After(l.open.next) {
		l.open.next = l.banned
	}
	if had && l.site == c.site {
		c.compute(now)
	}
}

// be changes what this node is. Only what concerns others is told.
func (c *core) be(site string, self Member, now time.Time) {
	if room(self.Free) == room(c.self.Free) {
		self.Free = c.self.Free
	}
	self.Sits, self.Home = c.self.Sits, c.admitted(self.Peer) == site
	moved := site != c.site
	if !moved && self.same(c.self) {
		return
	}
	c.site, c.self = site, self
	if moved {
		c.version++
		c.self.Sits, c.differs = time.Time{}, time.Time{} // nobody's delegate there yet
		c.came, c.settled = now, false
		c.lost = nil
		c.asking = attempt{next: now.Add(askFirst)}
		clear(c.tries)
		for _, l := range c.links {
			l.told, l.open = nil, attempt{}
		}
	}
	c.greetAll()
	for _, l := range c.links {
		c.reach(l, now)
	}
	c.compute(now)
}

// seek looks for who was lost now: the network changed.
func (c *core) seek(now time.Time) {
	c.nextSeek = now
	for _, l := range c.links {
		l.open.next = l.banned
	}
	clear(c.tries)
	c.wantDials(now)
}

// frame takes a frame from the stream with a peer. An error is a breach of the
// protocol: the stream ends.
func (c *core) frame(p peer.ID, b []byte, now time.Time) error {
	l := c.links[p]
	if l == nil || !l.stream {
		return nil // it was on its way when the connection closed
	}
	s, err := decodeFrame(p, b)
	if err == nil && !l.greeted && s.kind != kindHello {
		err = fmt.Errorf("%w: its first word isn't a hello", ErrProtocol)
	}
	if err != nil {
		l.banned = now.Add(banned)
		return err
	}
	missed := l.missed
	l.heard, l.missed, l.asked = now, false, time.Time{}
	switch s.kind {
	case kindHello:
		l.greeted = true
		if l.site != s.site {
			l.site = s.site
			c.version++
		}
		l.said = s.about
		c.lost = slices.DeleteFunc(c.lost, func(m lostMember) bool { return m.Peer == p })
		c.soon(now)
		c.part(l)
	case kindAsk:
		c.answer(l, now)
	case kindSome:
		c.meetSome(s.known, now)
	case kindKnown:
		before := l.told
		l.told = slices.DeleteFunc(s.known, func(m Member) bool {
			return m.Peer == c.self.Peer || len(m.Addrs) == 0
		})
		c.doubt(before, l.told, now)
		c.wantDials(now)
		c.soon(now)
	}
	if missed {
		c.compute(now)
	}
	return nil
}

// part ends a stream between sites once each has told the other: a node that is
// connected to many sites has nothing more to say to them, until one moves.
func (c *core) part(l *link) {
	if l.greeted && l.site != c.site && l.toldSite == c.site && c.self.Peer < l.peer {
		l.stream = false
		c.do(effect{do: doClose, to: l.peer})
	}
}

// reach opens a stream with a peer if there is something to say to it.
func (c *core) reach(l *link, now time.Time) {
	if l.stream || now.Before(l.open.next) || l.site != "" && l.site != c.site && l.toldSite == c.site {
		return
	}
	l.open.next = now.Add(openMost) // unless it fails before
	c.do(effect{do: doOpen, to: l.peer})
}

func (c *core) greet(l *link) {
	l.toldSite = c.site
	c.do(effect{do: doSend, to: l.peer, kind: kindHello, frame: encodeFrame(kindHello, sayHello(c.site, c.self))})
	c.part(l)
}

func (c *core) greetAll() {
	for _, l := range c.links {
		if l.stream {
			c.greet(l)
		}
	}
}

// byName orders members as people want to see them.
func byName(a, b Member) int {
	return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.Peer, b.Peer))
}

func (c *core) do(e effect) { c.out = append(c.out, e) }

// here reports whether a peer speaks with this node and is of its site.
func (c *core) here(l *link) bool { return l.stream && l.greeted && l.site == c.site }

// siteOf returns at which site a peer says it is; empty while it hasn't.
func (c *core) siteOf(p peer.ID) string {
	if l := c.links[p]; l != nil {
		return l.site
	}
	return ""
}

// missed notes that a peer didn't answer somebody on this node in time. It is no
// delegate until it is heard again, and is asked for something to say at once.
func (c *core) missed(p peer.ID, now time.Time) {
	l := c.links[p]
	if l == nil || !c.here(l) || l.missed || now.Before(l.missNext) && l.asked.IsZero() {
		return
	}
	l.missed, l.asked, l.missNext = true, time.Time{}, now.Add(missGap)
	c.do(effect{do: doSend, to: p, kind: kindAsk, frame: askFrame})
	c.compute(now)
}

// doubt asks the delegates that another member named before and doesn't now for a sign
// of life. A node that dies closes no connection of QUIC: those who had one of TCP to
// it know at once, and the others go by it, and by another planner, until this tells.
func (c *core) doubt(before, after []Member, now time.Time) {
	for _, m := range before {
		l := c.links[m.Peer]
		if l == nil || !c.here(l) || l.missed || now.Before(l.missNext) || !slices.Contains(c.chosen, m.Peer) {
			continue
		}
		if slices.ContainsFunc(after, func(o Member) bool { return o.Peer == m.Peer }) {
			continue
		}
		l.asked, l.missNext = now, now.Add(missGap)
		c.do(effect{do: doSend, to: m.Peer, kind: kindAsk, frame: askFrame})
	}
}

// soon has all computed anew in a moment.
func (c *core) soon(now time.Time) {
	if c.dirty.IsZero() {
		c.dirty = now.Add(gather)
	}
}

// compute brings members, delegates and candidates up to date.
func (c *core) compute(now time.Time) {
	c.dirty = time.Time{}
	members := make([]Member, 0, len(c.members)+1)
	members = append(members, c.self)
	for _, l := range c.links {
		if c.here(l) {
			m := l.said
			m.Home, m.Silent = c.admitted(l.peer) == c.site, l.missed
			members = append(members, m)
		}
	}
	slices.SortFunc(members, byName)
	if !slices.EqualFunc(members, c.members, Member.same) {
		c.members = members
		c.version++
	}
	best := fittest(members, maxKnown+1)
	c.best = best
	chosen := make([]peer.ID, 0, Seats)
	for _, m := range best[:min(len(best), Seats)] {
		chosen = append(chosen, m.Peer)
	}
	if !slices.Equal(chosen, c.chosen) {
		c.chosen = chosen
		c.version++
	}
	if !c.settled && (!now.Before(c.came.Add(acquaint)) || sitting(best) == Seats) {
		c.settled = true
		c.version++
	}
	if sits := !c.self.Sits.IsZero(); sits == slices.Contains(chosen, c.self.Peer) {
		c.differs = time.Time{}
	} else if c.differs.IsZero() {
		c.differs = now
	}
	all := make([]candidate, 0, maxKnown)
	for _, m := range best {
		if m.Peer != c.self.Peer && len(all) < maxKnown {
			all = append(all, candidate{Peer: []byte(m.Peer), Hello: sayHello(c.site, m)})
		}
	}
	if known := encodeFrame(kindKnown, all); !bytes.Equal(known, c.known) {
		c.known = known
	}
}

// sitting returns how many of the fittest sit.
func sitting(best []Member) (n int) {
	for _, m := range best[:min(len(best), Seats)] {
		if !m.Sits.IsZero() {
			n++
		}
	}
	return n
}

// tell sends the list of candidates to the members that have an older one, and
// returns when the next is due.
func (c *core) tell(now time.Time) (next time.Time) {
	for _, l := range c.links {
		if !c.here(l) || bytes.Equal(l.knownOut, c.known) {
			continue
		}
		if at := l.knownAt.Add(knownGap); now.Before(at) {
			next = earlier(next, at)
			continue
		}
		l.knownOut, l.knownAt = c.known, now
		c.do(effect{do: doSend, to: l.peer, kind: kindKnown, frame: c.known})
	}
	return next
}

// tick does what is due, and returns when it is to be called next, unless something
// happens before.
func (c *core) tick(now time.Time) (next time.Time) {
	if stood := now.Sub(c.due); stood > late {
		for _, l := range c.links {
			if l.heard = l.heard.Add(stood); l.heard.After(now) {
				l.heard = now
			}
			if !l.asked.IsZero() {
				l.asked = now // the answer may wait to be read
			}
		}
	}
	c.claim(now)
	if !now.Before(c.nextBeat) {
		c.beat(now)
	}
	if !now.Before(c.nextSeek) {
		c.nextSeek = now.Add(seekEvery)
		if slices.Contains(c.chosen, c.self.Peer) {
			c.seekLost(now)
		}
	}
	next = earlier(c.nextBeat, c.nextSeek)
	for _, l := range c.links {
		switch {
		case !l.stream:
			c.reach(l, now)
			if l.site == "" || l.site == c.site || l.toldSite != c.site {
				next = earlier(next, l.open.next)
			}
		case !c.here(l):
		case !now.Before(l.heard.Add(silent)):
			c.do(effect{do: doClose, to: l.peer})
			c.closed(l.peer, now)
		default:
			if due := l.asked.Add(answerIn); !l.asked.IsZero() && !now.Before(due) {
				l.missed, l.asked = true, time.Time{}
				c.soon(now)
			} else if !l.asked.IsZero() {
				next = earlier(next, due)
			}
			next = earlier(next, l.heard.Add(silent))
		}
	}
	if met := c.came.Add(acquaint); !c.settled && !now.Before(met) {
		c.dirty = now
	} else if !c.settled {
		next = earlier(next, met)
	}
	if !c.dirty.IsZero() && !now.Before(c.dirty) {
		c.compute(now)
	}
	c.dialFittest(now)
	next = earlier(next, c.dirty)
	next = earlier(next, c.tell(now))
	next = earlier(next, c.nextDials)
	if !c.differs.IsZero() {
		next = earlier(next, c.differs.Add(settle))
	}
	if c.few() {
		c.ask(now)
		next = earlier(next, c.asking.next)
	}
	c.due = next
	return next
}

// claim has this node say that it is a delegate, or no longer, once that is settled.
func (c *core) claim(now time.Time) {
	if c.differs.IsZero() || now.Before(c.differs.Add(settle)) {
		return
	}
	c.differs = time.Time{}
	if c.self.Sits.IsZero() {
		c.self.Sits = moment(seconds(now))
	} else {
		c.self.Sits = time.Time{}
	}
	c.greetAll()
	c.compute(now)
}

func (c *core) beat(now time.Time) {
	if c.nextBeat = c.nextBeat.Add(beat); !now.Before(c.nextBeat) {
		c.nextBeat = now.Add(beat)
	}
	for _, l := range c.links {
		if c.here(l) {
			c.do(effect{do: doSend, to: l.peer, kind: kindBeat, frame: beatFrame})
		}
	}
}

var (
	beatFrame   = encodeFrame(kindBeat, nil)
	knowsNobody = encodeFrame(kindKnown, []candidate{})
)

// earlier returns the earlier of two times; zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
