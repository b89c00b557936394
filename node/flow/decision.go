package flow

import (
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/discovery"
)

// A Verb says what was decided.
type Verb uint8

const (
	Join   Verb = iota + 1 // a peer is a source now
	Leave                  // it isn't any more
	Ask                    // a chunk was asked of it
	Got                    // a chunk became whole with a block from it
	Doubt                  // it is late with a chunk: somebody else may be asked
	Cancel                 // it is told not to send a chunk
	Blame                  // it gave something bad
	Rest                   // it is asked nothing for a while
	Ban                    // it is asked nothing for long
	Wait                   // nothing can be done now
	Finish                 // the content is whole
	Carry                  // this node is to bring a chunk for its site
	Yield                  // it isn't any more
	Alone                  // it is on its own: nobody shares the work out
	verbCount
)

var verbText = [verbCount]string{"", "join", "leave", "ask", "got", "doubt", "cancel", "blame", "rest", "ban", "wait", "finish", "carry", "yield", "alone"}

// String returns the verb as it stands in the API.
func (v Verb) String() string {
	if v > 0 && v < verbCount {
		return verbText[v]
	}
	return fmt.Sprintf("verb(%d)", uint8(v))
}

// MarshalText implements encoding.TextMarshaler.
func (v Verb) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// NoChunk is the Chunk of a Decision that is about no chunk in particular.
const NoChunk = -1

// A Decision is a choice that a flow made, and why.
type Decision struct {
	Time    time.Time
	Content content.ID
	Chunk   int     // index in the manifest, or NoChunk
	Peer    peer.ID // empty if about no peer in particular
	Verb    Verb
	Reason  discovery.Reason
	Link    bandwidth.Link // to the peer; 0 if that isn't known
}
