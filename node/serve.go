package node

import (
	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/node/exchange"
)

// A library is what this node shows to peers: the contents of its store, whole
// or under way, and the releases that its catalogue verified.
type library struct {
	store     *store.Store
	catalogue *catalogue
}

// Holding implements exchange.Library.
func (l library) Holding(id content.ID) (exchange.Holding, bool) {
	c, ok := l.store.Get(id)
	if !ok {
		return nil, false
	}
	return c, true
}

// Named implements exchange.Library.
func (l library) Named(name string) [][]byte {
	known := l.catalogue.named(name)
	envelopes := make([][]byte, 0, min(len(known), maxAnswered))
	for _, r := range known[:min(len(known), maxAnswered)] {
		envelopes = append(envelopes, r.envelope)
	}
	return envelopes
}
