package flow

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/libp2p/go-libp2p/core/peer"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/discovery"
)

// A Target is where the content goes (a content of content/store). Its methods
// may be called from several goroutines, and are called by nobody once Run has
// returned.
type Target interface {
	ID() content.ID
	Manifest() *content.Manifest
	// Have returns the chunks that are whole; the map is the caller's.
	Have() *roaring.Bitmap
	// Verified returns a bit per block of a chunk.
	Verified(chunk int) uint64
	// Blocks returns the block list of a chunk, if it is known.
	Blocks(chunk int) ([]content.Block, bool)
	// SetBlocks takes a block list. The error wraps content.ErrCorrupt or
	// content.ErrFormat if it isn't the list of this chunk; any other is ours.
	SetBlocks(chunk int, node []byte) error
	// WriteBlock takes a block of a known list; fresh is false if it was there.
	// The error wraps content.ErrCorrupt if these are other bytes; any other is
	// ours.
	WriteBlock(chunk, block int, data []byte) (fresh bool, err error)
}

// A Source is a peer to ask (a session of node/exchange). Request and Follow
// don't wait for the peer.
type Source interface {
	Peer() peer.ID
	Link() bandwidth.Link
	// Done is closed when nothing more can be asked.
	Done() <-chan struct{}
	// Follow calls f with the map of the chunks that the peer has of the content,
	// which has so many, and again whenever it changes. The map is the callee's;
	// f doesn't block.
	Follow(id content.ID, chunks int, f func(have *roaring.Bitmap)) (stop func(), err error)
	// Request asks for blocks of a chunk (all ones: for all that it has), and for
	// its block list before them. If there is no error, sink is told the end.
	// narrow says that no blocks are wanted any more but those in keep, which the source
	// may disregard; with 0 it cancels. It may be called after the end and again.
	Request(id content.ID, chunk int, want uint64, list bool, sink Sink) (narrow func(keep uint64), err error)
}

// A Publisher is a Source that says whether it publishes the content for all sites:
// then others at other sites are asked before it, for what they have. Sources that
// aren't Publishers don't.
type Publisher interface{ Publishes() bool }

// A Sited is a Source that says at which site it is, "" if that isn't known: sources at
// one site are reached over one link, and when one of them falls silent the others may
// be out of reach too.
type Sited interface{ Site() string }

// A Sink takes what a request brings; it has the method set of exchange.Sink. Its
// methods are called one at a time, and don't block for long.
type Sink interface {
	List(node []byte) error
	// Block takes a block. The callee calls release exactly once, when it no
	// longer reads data.
	Block(index int, data []byte, release func())
	// Unwanted takes the size of a block that came after cancel; it may come after
	// End.
	Unwanted(bytes int)
	// End comes once, and but for Unwanted last: nil if all was sent.
	End(err error)
}

// Bans is what a node knows of peers that gave bad bytes, in all its flows. Its
// methods don't block.
type Bans interface {
	Ban(p peer.ID, until time.Time)
	// Banned returns until when; the zero time if it isn't.
	Banned(p peer.ID) time.Time
}

// A Plan shares out what is asked of other sites among the members of this one (a
// seat of node/carry). Its methods don't block; the answers come as calls of Flow's.
type Plan interface {
	// Propose says that this node could ask for n chunks, of these the first that it
	// gets; with none of them, that it could take over what another is late with. It
	// insists on those that others have or bring, and that don't come from them.
	// Flow.Answered or Flow.Seated follows.
	Propose(n int, chunks []int, insist bool)
	// Has says that chunks are here, whoever brought them.
	Has(chunks []int)
	// Release gives back chunks that were granted: no source has them any more.
	Release(chunks []int)
	// Took says that this node, on its own, brings chunks that nobody granted.
	Took(chunks []int)
	// Progress says how many bytes came from other sites, and how many are to come of
	// what was granted. It is called about every 250 ms.
	Progress(bytes, left int64)
}

// Defaults of a Config.
const (
	DefaultFlying = 32 << 20
	DefaultBanFor = time.Hour
)

// A Config says what a Flow works with. Zero means the default.
type Config struct {
	Target Target // required
	// Rank orders the sources that could be asked now; who is left out isn't
	// asked. Required. It is called for every request.
	Rank func([]discovery.Candidate, time.Time) []discovery.Choice
	// Log is required; zap.NewNop() is one.
	Log *zap.Logger
	// Ring keeps the decisions. Default: one of the flow's own.
	Ring *Ring
	// Bans outlive the flow. Default: they don't.
	Bans Bans
	// BanFor is how long a peer is banned that gave two bad blocks. Default 1 h.
	BanFor time.Duration
	// Outcome reads the error that a request ended with; it isn't asked about nil.
	// Default: content.ErrNotFound is Refused, all others are Cancelled.
	Outcome func(error) Outcome
	// Workers is how many blocks are hashed and written at once. Default: half
	// the cores, 2 at least. SHA-256 alone does 1 to 2 GB/s per core.
	Workers int
	// Flying bounds the bytes that are asked for or wait for a worker: the memory
	// that blocks may take. Default 32 MiB, what a gigabit brings in 250 ms. One chunk
	// is always asked for.
	Flying int64
	// Readers says that nothing is fetched but what readers prefer (Flow.Prefer):
	// the rest may still be found elsewhere.
	Readers bool
	// Plan shares out what sources at other sites are asked for. Until it says that this
	// node is a carrier (Flow.Crewed), they are asked for nothing. Default: this node
	// asks for all that it lacks.
	Plan Plan
	// Seed makes this node's order of chunks differ from others'. Default: random.
	Seed uint64
}

func (c Config) withDefaults() Config {
	if c.Target == nil || c.Rank == nil || c.Log == nil {
		panic("flow: Target, Rank and Log are required")
	}
	if c.Ring == nil {
		c.Ring = NewRing(0)
	}
	if c.Bans == nil {
		c.Bans = noBans{}
	}
	if c.BanFor == 0 {
		c.BanFor = DefaultBanFor
	}
	if c.Outcome == nil {
		c.Outcome = outcome
	}
	if c.Workers == 0 {
		c.Workers = max(2, runtime.NumCPU()/2)
	}
	if c.Flying == 0 {
		c.Flying = DefaultFlying
	}
	if c.Seed == 0 {
		c.Seed = rand.Uint64()
	}
	return c
}

func outcome(err error) Outcome {
	if errors.Is(err, content.ErrNotFound) {
		return Refused
	}
	return Cancelled
}

type noBans struct{}

func (noBans) Ban(peer.ID, time.Time)   {}
func (noBans) Banned(peer.ID) time.Time { return time.Time{} }
