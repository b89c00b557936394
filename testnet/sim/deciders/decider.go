package deciders

import (
	"time"

	"github.com/RoaringBitmap/roaring/v2"
)

// Neighbours is the source that stands for all nodes of one's own site, where
// they aren't known one by one.
const Neighbours int32 = -1

// A Decider decides for all nodes of a run. To simulate what a product's decider
// does, keep one of its kind for each node and tell it only what that node is
// told; an ideal may use all.
//
// To change one decision and keep the rest, stand in front of another Decider:
// hide from it what it shall not ask for (see Split).
type Decider interface {
	// Told says that something happened at a node, and takes what is to be done.
	// It returns the same for the same calls.
	Told(now time.Duration, node int32, ev Event, do *Orders)
}

// A Kind says what an Event is.
type Kind uint8

const (
	Start  Kind = iota + 1 // the node is on and wants the content; Chunks is what it has
	Stop                   // it goes off: all it asked for is over
	Join                   // Source can be asked from now on; Chunks is what it has
	Leave                  // it can't any more, all that it was asked for is over
	Have                   // Source has Chunks now
	Block                  // block Block of Chunk came, the answer to Request; it is right
	Refuse                 // Source lacks what Request is about
	Tick                   // time passed
)

// An Event is what a node is told.
type Event struct {
	Kind   Kind
	Far    bool  // Source is in another site
	Source int32 // a node, or Neighbours
	// Chunks is shared: it is only read.
	Chunks  *roaring.Bitmap
	Chunk   int32
	Block   uint8
	Fresh   bool // the block wasn't here before
	Request uint64
}

// An Ask is a request to be sent.
type Ask struct {
	Node    int32 // who asks
	Source  int32 // whom: a node, or Neighbours
	Chunk   int32
	Want    uint64 // a bit per block
	Request uint64 // not used before by this node
}

// A Cancel ends a request early, or takes all blocks off it but those to keep.
type Cancel struct {
	Node    int32
	Request uint64
	Keep    uint64
}

// Orders is what is to be done, the cancels first.
type Orders struct {
	Cancels []Cancel
	Asks    []Ask
	// Need says that the node wants more sources: a lookup may find one.
	Need bool
}

func (o *Orders) reset() { *o = Orders{Cancels: o.Cancels[:0], Asks: o.Asks[:0]} }

// A World is what a Decider may know of the run without being told.
type World interface {
	Plan() *Plan
	// SiteOf returns the site of a node.
	SiteOf(node int32) int32
	// Has returns a bit per block of the chunk that the node has.
	Has(node int32, chunk int) uint64
}

// A Policy makes the Decider of a run.
type Policy struct {
	Name, What string
	New        func(World) (Decider, error)
}

// Policies lists those that can be compared.
var Policies = []Policy{
	{"today", "each node for itself: node/flow and discovery/rank, without a plan", newToday},
	{"carry", "what nodes do: each site's plan says who brings what (node/carry)", newCarriers},
	{"split", "the same, but one node of a site is chosen by hash to bring a chunk", newSplit},
	{"hub", "ideal: each chunk once to each site, from the publisher", newHub},
	{"mesh", "ideal: each chunk once to each site, once from the publisher", newMesh},
	{"swarm", "ideal: each chunk once to each site, from whoever has room", newSwarm},
}
