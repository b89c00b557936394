package flow

import (
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/bandwidth"
)

// A sourceID names a source from joined to left; a peer that comes back gets
// another one.
type sourceID uint32

// A requestID is never used twice in a flow.
type requestID uint64

// An Outcome says how a request ended.
type Outcome uint8

const (
	Sent      Outcome = iota // all that was asked was sent
	Refused                  // the source lacks what was asked, whatever it claimed
	Busy                     // the source has too much to do; not its fault
	Gone                     // the connection ended
	Cancelled                // by us, or the request failed in another way
)

// A Verdict says what became of a block that arrived.
type Verdict uint8

const (
	Verified  Verdict = iota // right and stored
	Duplicate                // stored already
	Corrupt                  // not what its hash says, or not what was asked
)

// An event is something that the core is told of.
type event interface{ event() }

type (
	// joined: a source can be asked from now on.
	joined struct {
		Source sourceID
		Peer   peer.ID
		Link   bandwidth.Link
		Banned time.Time // until then; zero if it isn't
		Last   bool      // it publishes for all: others at other sites are asked before it
		Site   string    // where it is; empty if that isn't known
	}
	// left: the source can't be asked any more, all its requests are over.
	left struct{ Source sourceID }
	// have: the source has these chunks and no others. The core keeps the map.
	have struct {
		Source sourceID
		Chunks *roaring.Bitmap
	}
	// list: a source sent the chunk's block list, which has so many blocks; or
	// something that isn't it.
	list struct {
		Source  sourceID
		Request requestID
		Chunk   int
		Blocks  uint8
		Bad     bool
	}
	// arrived: a block came from the source, and will be judged.
	arrived struct {
		Source  sourceID
		Request requestID
		Chunk   int
		Block   uint8
		Bytes   uint32
	}
	// judged: a block that had arrived was looked at.
	judged struct {
		Source  sourceID
		Peer    peer.ID
		Link    bandwidth.Link
		Chunk   int
		Block   uint8
		Bytes   uint32
		Verdict Verdict
	}
	// ended: nothing more comes for the request.
	ended struct {
		Source  sourceID
		Request requestID
		Outcome Outcome
	}
	// prefer: a reader waits for the first of these chunks, and then for the next.
	// What it waited for before it doesn't any more.
	prefer struct {
		Reader uint64
		Chunks []int
	}
	// seated: what is asked of other sites is shared out among the members of this
	// one from now on. What was proposed and not answered never will be.
	seated struct{}
	// unseated: nobody shares it out, so this node brings what it lacks itself.
	unseated struct{}
	// crewed: this node is one of those who bring it, or isn't; and whether anybody has
	// found somebody who has it.
	crewed struct{ Carrier, Found bool }
	// answered: of what was proposed, this node brings some; others have or bring
	// what is taken.
	answered struct{ Granted, Taken []int }
	// freed: chunks that were taken may be proposed again.
	freed struct{ Chunks []int }
	// revoked: somebody else brings these, whatever was granted.
	revoked struct{ Chunks []int }
	// tick: time passed. Every 100 ms while something is asked.
	tick struct{}
)

func (joined) event()   {}
func (left) event()     {}
func (have) event()     {}
func (list) event()     {}
func (arrived) event()  {}
func (judged) event()   {}
func (ended) event()    {}
func (prefer) event()   {}
func (seated) event()   {}
func (unseated) event() {}
func (crewed) event()   {}
func (answered) event() {}
func (freed) event()    {}
func (revoked) event()  {}
func (tick) event()     {}

// An ask is a request to be sent.
type ask struct {
	Source  sourceID
	Request requestID
	Chunk   int
	Want    uint64 // bit per block; all ones: all that the list has
	List    bool   // the block list is wanted before the blocks
}

// A cancel ends a request early, and no ended has to follow; or it takes all blocks off
// it but those to keep.
type cancel struct {
	Source  sourceID
	Request requestID
	Keep    uint64
}

// A ban tells that a peer gave bad bytes and is asked nothing until then.
type ban struct {
	Peer  peer.ID
	Until time.Time
}

// effects is what to do, in the order of the fields. The slices are valid until
// the core is asked again.
type effects struct {
	cancels   []cancel
	asks      []ask
	bans      []ban
	need      bool // more sources are wanted
	done      bool // every block is verified
	decisions []Decision

	// Of what is shared out among the members of the site.
	took     []int     // chunks that this node brings though nobody granted them
	gained   []int     // chunks that are whole now
	released []int     // chunks that it can't bring
	proposal *proposal // what it could bring
}

// A proposal is what this node would ask other sites for: so many of these chunks,
// in this order. It insists on those that others are said to have, and that don't
// come from them.
type proposal struct {
	n      int
	chunks []int
	insist bool
}

func (e *effects) reset() {
	*e = effects{
		cancels: e.cancels[:0], asks: e.asks[:0], bans: e.bans[:0], decisions: e.decisions[:0],
		took: e.took[:0], gained: e.gained[:0], released: e.released[:0],
	}
}
