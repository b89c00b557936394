package deciders

import "time"

// A node sends to a few others at a time, and to each a chunk before the next (the turns
// of node/exchange): what it has to give is soon somewhere, to be passed on. The model
// gives turns in the order in which they are asked for, which comes to as many bytes for
// each as long as all chunks have one size.

const (
	slots = 16                     // exchange.Config.Slots, the default
	round = 800 * time.Millisecond // how long one waits at most until something comes, see exchange
)

// A phase is what a connection is for the node that sends on it.
type phase uint8

const (
	resting phase = iota // has nothing to send, or is about to ask for a turn
	waiting
	serving
	beside // serving, and its peer can't take more at the moment: it takes no slot
)

// An upload is whom a node sends to.
type upload struct {
	serving int
	waiting ring // connections
}

// turn reports whether a connection that has something to send has its turn. If not, it
// waits for it.
func (s *sim) turn(c int32) bool {
	x := &s.conns.all[c]
	u := &s.uploads[x.from]
	switch {
	case x.phase == serving || x.phase == beside:
		return true
	case x.phase == waiting:
		return false
	case u.serving == slots:
		x.phase = waiting
		u.waiting.push(c)
		return false
	}
	u.serving++
	x.phase, x.since = serving, s.now
	return true
}

// ends reports whether the turn of a connection is over now that it has sent a block.
func (s *sim) ends(x *conn, whole bool) bool {
	u := &s.uploads[x.from]
	switch {
	case x.asked.len() == 0:
		return true
	case u.waiting.len() == 0:
		return false
	}
	return whole || s.now-x.since >= round*slots/time.Duration(u.waiting.len()+u.serving)
}

// endTurn takes the turn away from a connection, for the next one.
func (s *sim) endTurn(x *conn) {
	if x.phase == serving {
		s.uploads[x.from].serving--
	}
	x.phase = resting
	s.giveTurns(x.from)
}

// setAside lets a connection go on beside the others, if others wait and all that it may
// have on its way is stuck before the link of its peer.
func (s *sim) setAside(x *conn) {
	u := &s.uploads[x.from]
	if int(x.waiting) == s.window && x.phase == serving && u.waiting.len() > 0 {
		x.phase = beside
		u.serving--
		s.giveTurns(x.from)
	}
}

// giveTurns lets others have what slots of a node are free.
func (s *sim) giveTurns(n int32) {
	u := &s.uploads[n]
	for u.serving < slots && u.waiting.len() > 0 {
		c := u.waiting.pop()
		x := &s.conns.all[c]
		x.phase = resting
		if x.broken || x.asked.len() == 0 {
			s.disconnect(c)
			continue
		}
		s.line(c)
		s.kick(x.links[0])
	}
}
