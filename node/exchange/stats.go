package exchange

import (
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Counters count what went over one stream or many. Blocks are counted when they
// came or went in full, with their payload only.
type Counters struct {
	Requests  uint64 // for blocks
	Cancelled uint64 // of these, ended by the one who asked
	Refused   uint64 // of these, ended busy or with something not found
	Blocks    uint64
	Bytes     uint64 // of blocks
}

func (c *Counters) add(o Counters) {
	c.Requests += o.Requests
	c.Cancelled += o.Cancelled
	c.Refused += o.Refused
	c.Blocks += o.Blocks
	c.Bytes += o.Bytes
}

type counters struct {
	requests, cancelled, refused, blocks, bytes atomic.Uint64
}

func (c *counters) read() Counters {
	return Counters{
		Requests:  c.requests.Load(),
		Cancelled: c.cancelled.Load(),
		Refused:   c.refused.Load(),
		Blocks:    c.blocks.Load(),
		Bytes:     c.bytes.Load(),
	}
}

// block counts one block.
func (c *counters) block(n int) {
	c.blocks.Add(1)
	c.bytes.Add(uint64(n))
}

// ended counts a request's end.
func (c *counters) ended(code uint8) {
	switch code {
	case codeCancelled:
		c.cancelled.Add(1)
	case codeNotFound, codeBusy:
		c.refused.Add(1)
	}
}

// Stats is what an Exchange did since New, and what it does now.
type Stats struct {
	Fetched, Served Counters // streams that ended included
	// What the streams that are open now did, by peer.
	Fetching, Serving map[peer.ID]Counters
}

// Stats returns the counts of this moment.
func (x *Exchange) Stats() Stats {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := Stats{
		Fetched: x.fetched, Served: x.served,
		Fetching: make(map[peer.ID]Counters, len(x.sessions)),
		Serving:  make(map[peer.ID]Counters, len(x.servers)),
	}
	for session := range x.sessions {
		c := session.counters.read()
		s.Fetched.add(c)
		s.Fetching[session.peer] = c
	}
	for server := range x.servers {
		c := server.counters.read()
		s.Served.add(c)
		s.Serving[server.peer] = c
	}
	return s
}
