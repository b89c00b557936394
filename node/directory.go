package node

import (
	"context"
	"iter"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/discovery"
	"github.com/p2pnode/p2pnode/discovery/dht"
)

// A directory is what a node has of the DHT.
type directory interface {
	discovery.Finder
	discovery.Announcer
	Run(ctx context.Context) error
	Refresh(ctx context.Context) error
	Retain(ctx context.Context, keep func(content.Hash) bool) error
	Size() (servers int, ok bool)
	Stats(ctx context.Context) (dht.Stats, error)
	Close() error
}

// openDirectory joins the DHT as the configuration says.
func openDirectory(n *Node, told []peer.AddrInfo) (directory, error) {
	if n.cfg.DHT == DHTOff {
		return noDHT{}, nil
	}
	d, err := dht.New(n.host, dht.Config{
		Enterprise: n.identity.Enterprise(), Server: n.cfg.DHT == DHTServer, Dir: n.cfg.dhtDir(),
		Bootstrap: func() []peer.AddrInfo { return slices.Concat(told, n.keeper.book.peers()) },
	}, n.log.Named("dht"))
	if err != nil {
		return nil, err // not d: a nil in the interface is not a nil interface
	}
	return d, nil
}

// noDHT is the part of a node that has none: it finds nobody and tells nobody.
type noDHT struct{}

func (noDHT) Find(context.Context, content.Hash) iter.Seq[peer.AddrInfo] {
	return func(func(peer.AddrInfo) bool) {}
}
func (noDHT) Announce(...content.Hash) error { return nil }
func (noDHT) Withdraw(...content.Hash) error { return nil }
func (noDHT) Run(context.Context) error      { return nil }
func (noDHT) Refresh(context.Context) error  { return nil }
func (noDHT) Retain(context.Context, func(content.Hash) bool) error {
	return nil
}
func (noDHT) Size() (int, bool)                            { return 0, false }
func (noDHT) Stats(context.Context) (s dht.Stats, _ error) { return s, nil }
func (noDHT) Close() error                                 { return nil }
