package site

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// A Report is what a member says of itself. What its delegates follow from stands
// in it as it is said, so that all who heard the same report agree, whatever their
// clocks show.
type Report struct {
	Name    string
	Started time.Time // to the second
	Uptime  Uptime    // as the member itself sees it
	Mains   bool      // it isn't on battery
	Wired   bool
	Willing bool
	Free    int64 // bytes that may still be stored
	// Sits is since when the member takes itself for a delegate, by its own clock
	// and to the second; zero if it doesn't.
	Sits time.Time
}

// Uptime is how long a node has run, as far as that matters: one that just started
// may be gone soon, one that ran over night is left on.
type Uptime uint8

const (
	Fresh   Uptime = iota // less than ten minutes
	Steady                // less than a day
	Settled               // more
)

func uptime(d time.Duration) Uptime {
	switch {
	case d < 10*time.Minute:
		return Fresh
	case d < 24*time.Hour:
		return Steady
	}
	return Settled
}

// room is how much of a disk is free, as far as that matters to a delegate.
func room(free int64) int {
	switch {
	case free < 1<<30:
		return 0
	case free < 16<<30:
		return 1
	}
	return 2
}

// A Member is a node of this site.
type Member struct {
	Peer  peer.ID
	Addrs []ma.Multiaddr // where it says it can be reached
	Report
	// Home is whether its credential is for this site: the issuer's word, not its own.
	Home bool
	// Silent is whether a sign of life is overdue: it is out of reach, though its
	// connection isn't closed yet.
	Silent bool
}

// same reports whether o says the same of the same node.
func (m Member) same(o Member) bool {
	if m.Peer != o.Peer || m.Silent != o.Silent || m.Home != o.Home || len(m.Addrs) != len(o.Addrs) ||
		!m.Started.Equal(o.Started) || !m.Sits.Equal(o.Sits) {
		return false
	}
	for i, a := range m.Addrs {
		if !a.Equal(o.Addrs[i]) {
			return false
		}
	}
	a, b := m.Report, o.Report
	a.Started, b.Started, a.Sits, b.Sits = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	return a == b
}
