package flow

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/discovery"
)

const (
	// tolerated bad blocks of a peer: the next one bans it (TRUST.md R11: one may
	// be bad memory, two are a habit).
	tolerated = 1

	// maxRecords bounds what is remembered of peers that left.
	maxRecords = 1024
)

// A record is what is remembered of a peer while it isn't a source.
type record struct {
	bad    int
	banned time.Time
}

// recall gives a source that comes back what it had earned, or a ban that
// somebody else knows of.
func (c *core) recall(s *source, banned time.Time) {
	r := c.records[s.peer]
	delete(c.records, s.peer)
	s.bad, s.banned = r.bad, r.banned
	if banned.After(s.banned) {
		s.banned = banned
	}
}

// remember keeps what would be forgotten with the source, for as many peers as
// there is room.
func (c *core) remember(s *source) {
	if s.bad > 0 && len(c.records) < maxRecords {
		c.records[s.peer] = record{s.bad, s.banned}
	}
}

// blame notes that a peer gave something bad of a chunk: it gives no more of
// that, and after a second time nothing at all.
func (c *core) blame(now time.Time, p peer.ID, chunk int) {
	c.decide(now, chunk, p, Blame, discovery.BadBytes)
	s := c.byPeer[p]
	if s == nil { // it left before its block was looked at
		r := c.records[p]
		r.bad++
		if r.bad > tolerated && r.banned.IsZero() {
			r.banned = now.Add(c.banFor)
			c.out.bans = append(c.out.bans, ban{p, r.banned})
			c.decide(now, NoChunk, p, Ban, discovery.BadBytes)
		}
		if _, known := c.records[p]; known || len(c.records) < maxRecords {
			c.records[p] = r
		}
		return
	}
	s.bad++
	if now.Before(s.banned) {
		return
	}
	if s.bad > tolerated {
		c.ban(now, s)
		return
	}
	for _, r := range s.open {
		if r.chunk == chunk {
			c.drop(now, r, discovery.BadBytes)
			c.settle(chunk)
			return
		}
	}
}

func (c *core) ban(now time.Time, s *source) {
	s.banned = now.Add(c.banFor)
	c.out.bans = append(c.out.bans, ban{s.peer, s.banned})
	c.decide(now, NoChunk, s.peer, Ban, discovery.BadBytes)
	c.dropAll(now, s, true)
	c.disown(s)
}

// fail notes that a source didn't give what was asked.
func (c *core) fail(now time.Time, s *source, chunk int, why discovery.Reason) {
	s.failures++
	c.pause(now, s, chunk, minRest<<min(s.failures-1, 10), why)
}

// pause lets a source rest.
func (c *core) pause(now time.Time, s *source, chunk int, d time.Duration, why discovery.Reason) {
	if until := now.Add(min(d, maxRest)); until.After(s.resting) {
		s.resting = until
	}
	c.decide(now, chunk, s.peer, Rest, why)
}
