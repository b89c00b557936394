package discovery

import (
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"
)

// originPrefix begins the ids of HTTP servers. A peer's is a multihash, and
// begins with a byte below 0x20.
const originPrefix = "origin:"

// OriginPeer returns the id by which an HTTP server, given as host:port, stands
// among the sources. It can't be dialled, and is nobody's key.
func OriginPeer(host string) peer.ID { return peer.ID(originPrefix + host) }

// PeerName writes the id of a source for people and logs: a peer's in base58, an
// HTTP server's as origin:host:port.
func PeerName(p peer.ID) string {
	if strings.HasPrefix(string(p), originPrefix) {
		return string(p)
	}
	return p.String()
}
