package dht

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// Times of a record. A record outlives the round that renews it by half a round
// and the delay a round may have, so that a server never forgets a key between
// two rounds of a node that runs: 2 h 06 + 15 min < 3 h 30.
const (
	announceEvery = 2 * time.Hour
	announceDelay = 15 * time.Minute // by which a region may be late
	recordLife    = announceEvery + announceEvery/2 + 2*announceDelay
)

const (
	// replication is the number of servers that store a record. Eight, not
	// kad-dht's twenty: what is announced is held by several nodes at once, and
	// each copy costs about 93 bytes per key and round.
	replication = 8

	// maxFound bounds what one Find takes from servers that may name anyone.
	maxFound = 128

	// cachedKeys is how many keys a server keeps ready with their holders, about
	// 400 bytes each; of the others it reads from disk when asked (0.06 ms).
	cachedKeys = 16 << 10

	// batchKeys is how many keys are taken from Announce or the keystore at a
	// time: what a batch costs in memory, about 100 bytes a key.
	batchKeys = 4096

	// cleanEvery is how often a server drops the records that ran out.
	cleanEvery = 30 * time.Minute
)

// Config says which DHT to join, and as what.
type Config struct {
	// Enterprise is the short hash of the trust root. It stands in the protocol's
	// name, so DHTs of two enterprises can't run into each other.
	Enterprise string
	// Server makes the node answer queries and store records. Delegates of a
	// site are servers, other endpoints are not: their coming and going would
	// cost everyone's lookups more than they carry.
	Server bool
	// Dir is the folder for announced keys and, on a server, for records of
	// others. What is in it can be rebuilt and is dropped if it can't be read.
	Dir string
	// Bootstrap returns the peers to turn to when no other server is known.
	// Nil if there are none: then connections that others make have to do.
	Bootstrap func() []peer.AddrInfo
}

var enterpriseForm = regexp.MustCompile(`^[a-z0-9]{4,64}$`)

func (c *Config) check() error {
	if !enterpriseForm.MatchString(c.Enterprise) {
		return fmt.Errorf("enterprise %q is not 4 to 64 of a-z 0-9", c.Enterprise)
	}
	if c.Dir == "" {
		return errors.New("no folder given")
	}
	if c.Bootstrap == nil {
		c.Bootstrap = func() []peer.AddrInfo { return nil }
	}
	return nil
}

// jittered returns d changed by up to a twentieth either way. A site that was
// switched on at eight would otherwise announce at ten, twelve and two.
func jittered(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()-0.5)*float64(d)/10)
}

// dialable drops loopback and link-local addresses unless there are no others.
// They lead nowhere from another machine; but without any address a record is
// never sent, and refused where it arrives, without a word.
func dialable(addrs []ma.Multiaddr) []ma.Multiaddr {
	far := ma.FilterAddrs(addrs, func(a ma.Multiaddr) bool {
		return !manet.IsIPLoopback(a) && !manet.IsIP6LinkLocal(a)
	})
	if len(far) == 0 {
		return addrs
	}
	return far
}
