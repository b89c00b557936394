package node

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"go.uber.org/zap"
)

// What libp2p does by itself when the network changes (v0.51): its host looks
// at its addresses every five seconds and tells connected peers of new ones
// (ownAddrs makes it see them), and its listeners on 0.0.0.0 and :: serve new
// interfaces. What it doesn't: it goes on waiting to dial those it couldn't
// reach, for up to five minutes each, as if they had been at fault.

const (
	// watchEvery is how often the network is looked at. A look costs a fraction
	// of a millisecond; what it may notice late, a person waits for.
	watchEvery = 2 * time.Second
	// watchLate is how late a look may come before the process, or the machine,
	// must have stood still; and by how much the two clocks may drift apart
	// between two looks before one was set.
	watchLate = 10 * time.Second
)

// A netView is what the network and the clocks look like at a moment.
type netView struct {
	links []string  // usable interfaces with their addresses, sorted
	at    time.Time // both clocks: with its monotonic reading
	wall  time.Time // the wall clock alone
}

// A netChange says what happened between two views.
type netChange uint8

const (
	linksChanged netChange = 1 << iota // an address or interface came or went
	resumed                            // the machine slept, or the process stood still
	clockSet                           // the wall clock was set while we ran
)

func (c netChange) String() string {
	var s []string
	for i, name := range []string{"links changed", "resumed", "clock set"} {
		if c&(1<<i) != 0 {
			s = append(s, name)
		}
	}
	return strings.Join(s, ", ")
}

// since returns what happened from an earlier view to v. A machine that sleeps
// stops the monotonic clock on Linux and not elsewhere: a look that comes late
// by either clock tells of it, if the wall clock went forward.
func (v netView) since(before netView) netChange {
	var c netChange
	if !slices.Equal(v.links, before.links) {
		c |= linksChanged
	}
	ran, passed := v.at.Sub(before.at), v.wall.Sub(before.wall)
	switch {
	case ran > watchEvery+watchLate, passed-ran > watchLate:
		c |= resumed
	case ran-passed > watchLate:
		c |= clockSet
	}
	return c
}

// watchNetwork calls mend when the network changed or the machine slept, until
// ctx ends. Changes while mend works are one change afterwards.
func watchNetwork(ctx context.Context, on Network, log *zap.Logger, mend func()) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	before := lookAtNetwork(on)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := lookAtNetwork(on)
		change := now.since(before)
		before = now
		if change == 0 {
			continue
		}
		log.Info("the network changed", zap.Stringer("change", change), zap.Strings("links", now.links))
		mend()
		// The time that mend took is none in which we stood still.
		before.at = time.Now()
		before.wall = before.at.Round(0)
	}
}

func lookAtNetwork(on Network) netView {
	at := time.Now()
	v := netView{at: at, wall: at.Round(0)}
	if on != nil {
		addrs, _ := on.Addrs() // none is a change as well
		if l := describeLink("network", addrs); l != "" {
			v.links = []string{l}
		}
		return v
	}
	ifaces, err := net.Interfaces()
	if err != nil {
		return v
	}
	for _, i := range ifaces {
		if i.Flags&net.FlagLoopback != 0 || i.Flags&net.FlagUp == 0 || i.Flags&net.FlagRunning == 0 {
			continue // a cable that is pulled takes FlagRunning, not the address
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // gone meanwhile
		}
		if l := describeLink(i.Name, addrs); l != "" {
			v.links = append(v.links, l)
		}
	}
	slices.Sort(v.links)
	return v
}

// describeLink returns an interface as it is compared; empty if it leads
// nowhere. Containers come and go with interfaces that have link-local
// addresses only: they concern nobody.
func describeLink(name string, addrs []net.Addr) string {
	var s []string
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLinkLocalUnicast() {
			s = append(s, n.String())
		}
	}
	if len(s) == 0 {
		return ""
	}
	slices.Sort(s)
	return fmt.Sprintf("%s %s", name, strings.Join(s, " "))
}

// clearBackoffs lets every known peer be dialled at once.
func clearBackoffs(h host.Host) {
	for _, p := range h.Peerstore().PeersWithAddrs() {
		clearBackoff(h, p)
	}
}

// clearBackoff lets a peer be dialled at once.
func clearBackoff(h host.Host, p peer.ID) {
	if s, ok := h.Network().(*swarm.Swarm); ok {
		s.Backoff().Clear(p)
	}
}
