package node

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/discovery"
	"github.com/p2pnode/p2pnode/node/flow"
)

// When the file at an address isn't what was published
//
// A server says so by another size, a refused range or a 404, or it gives other
// bytes, and the flow bans it. Neither mends itself as what a peer lacks does, so a
// fetch that has nobody else to ask ends rather than wait. The ban holds for that
// fetch alone: other contents of the server are other files, and the next get looks
// again.

// spoilt knows which addresses don't have what was published.
type spoilt struct {
	mu    sync.Mutex
	why   map[string]error                // by address
	given map[peer.ID]map[string]struct{} // addresses that gave bytes, by server
	until map[peer.ID]time.Time           // servers that are banned
}

func newSpoilt() *spoilt {
	return &spoilt{why: make(map[string]error), given: make(map[peer.ID]map[string]struct{}), until: make(map[peer.ID]time.Time)}
}

// note notes that an address doesn't have what was published.
func (s *spoilt) note(address string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.why[address] = err
}

// gave notes that an address gave bytes.
func (s *spoilt) gave(server peer.ID, address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.given[server] == nil {
		s.given[server] = make(map[string]struct{})
	}
	s.given[server][address] = struct{}{}
}

// Bans returns bans under which a flow asks these servers and peers: what concerns
// servers is kept here.
func (o *origins) Bans(peers flow.Bans) flow.Bans { return originBans{peers, o} }

type originBans struct {
	flow.Bans
	origins *origins
}

func (b originBans) isServer(p peer.ID) bool {
	return slices.ContainsFunc(b.origins.sources, func(s *originSource) bool { return s.peer == p })
}

// Ban implements flow.Bans.
func (b originBans) Ban(p peer.ID, until time.Time) {
	if !b.isServer(p) {
		b.Bans.Ban(p, until)
		return
	}
	s := b.origins.spoilt
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until[p] = until
	for address := range s.given[p] {
		s.why[address] = content.ErrChanged
	}
}

// Banned implements flow.Bans.
func (b originBans) Banned(p peer.ID) time.Time {
	if !b.isServer(p) {
		return b.Bans.Banned(p)
	}
	s := b.origins.spoilt
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.until[p]
}

// Spoilt returns an error if none of the addresses of some file has what was
// published.
func (o *origins) Spoilt(id content.ID) error {
	o.spoilt.mu.Lock()
	defer o.spoilt.mu.Unlock()
	for _, addresses := range o.files {
		var err error
		for _, a := range addresses {
			if err = o.spoilt.why[a]; err == nil {
				break
			}
		}
		if err != nil {
			return &spoiltError{id, addresses[0], err}
		}
	}
	return nil
}

// A spoiltError says that nobody has a content any more, as the file at an address
// isn't what was published.
type spoiltError struct {
	id      content.ID
	address string
	err     error
}

func (e *spoiltError) Error() string {
	how := "changed since it was published"
	if errors.Is(e.err, content.ErrNotFound) {
		how = "is not there any more"
	}
	return fmt.Sprintf("%s %s, and nobody was found who has the rest of %s", e.address, how, e.id.Short())
}

func (e *spoiltError) Unwrap() error { return content.ErrNotFound }

// isIdle reports whether a flow has nobody to ask.
func isIdle(st flow.Status) bool {
	switch st.Waiting {
	case discovery.NoSource, discovery.IsBanned, discovery.Refused:
		return !st.Complete
	}
	return false
}

// alone is since when a fetch has nobody left to ask but addresses that are spoilt.
type alone struct{ since time.Time }

// judge returns why a fetch is to end, if that lasts, and others were looked for.
func (a *alone) judge(now time.Time, f *fetch, web *origins) error {
	err := web.Spoilt(f.id)
	if err == nil || !isIdle(f.flow.Status()) {
		a.since = time.Time{}
		return nil
	}
	if a.since.IsZero() {
		a.since = now
	}
	if now.Sub(a.since) < hearOut || !f.scout.looked() {
		return nil
	}
	return err
}
