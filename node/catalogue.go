package node

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/node/trust"
)

const (
	releaseType = "application/vnd.p2pnode.release.v1+cbor" // DSSE payload type

	maxAnswered = 32 // releases of one name told to a peer that asks
)

// A signedRelease is a release whose signature was verified, with its envelope.
type signedRelease struct {
	content.Release
	signer   trust.Credential
	envelope []byte
}

// same reports whether o says the same and was signed by the same publisher.
func (r signedRelease) same(o signedRelease) bool {
	return r.Release == o.Release && r.signer.Peer == o.signer.Peer
}

// A catalogue has the releases of what the store holds, by name. It is rebuilt
// from the store at start.
type catalogue struct {
	mu     sync.Mutex
	byName map[string][]signedRelease // newest first
}

func newCatalogue() *catalogue { return &catalogue{byName: make(map[string][]signedRelease)} }

// add notes a release; one known already is dropped.
func (c *catalogue) add(r signedRelease) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.byName[r.Name]
	if slices.ContainsFunc(known, r.same) {
		return
	}
	known = append(slices.Clone(known), r)
	slices.SortStableFunc(known, func(a, b signedRelease) int { return cmp.Compare(b.Sequence, a.Sequence) })
	c.byName[r.Name] = known
}

// has reports whether a release is known.
func (c *catalogue) has(r signedRelease) bool {
	return slices.ContainsFunc(c.named(r.Name), r.same)
}

// remove forgets the releases of a content; it returns the names that have none
// left.
func (c *catalogue) remove(id content.ID) (gone []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, known := range c.byName {
		left := slices.DeleteFunc(slices.Clone(known), func(r signedRelease) bool { return r.Content == id })
		switch {
		case len(left) == 0:
			delete(c.byName, name)
			gone = append(gone, name)
		case len(left) < len(known):
			c.byName[name] = left
		}
	}
	return gone
}

// named returns the releases of a name, newest first.
func (c *catalogue) named(name string) []signedRelease {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byName[name]
}

// of returns the releases of a content, newest first.
func (c *catalogue) of(id content.ID) []signedRelease {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []signedRelease
	for _, known := range c.byName {
		for _, r := range known {
			if r.Content == id {
				out = append(out, r)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b signedRelease) int {
		return cmp.Or(cmp.Compare(b.Sequence, a.Sequence), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// pick chooses from the releases of a name: the newest, or that of a version.
// Two contents with the same newest sequence are a publisher's mistake or a
// theft of its key, and neither is taken.
func pick(all []signedRelease, version string) (signedRelease, error) {
	var best signedRelease
	var rival *signedRelease
	for _, r := range all {
		if version != "" && r.Version != version {
			continue
		}
		switch {
		case best.Name == "" || r.Sequence > best.Sequence:
			best, rival = r, nil
		case r.Sequence == best.Sequence && r.Content != best.Content:
			rival = &r
		}
	}
	switch {
	case best.Name == "":
		return best, content.ErrNotFound
	case rival != nil:
		return best, fmt.Errorf("%w: number %d of %s is %s and %s", trust.ErrEquivocation, best.Sequence, best.Name, best.Content, rival.Content)
	}
	return best, nil
}
