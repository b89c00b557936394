package flow

import (
	"time"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/discovery"
)

// Events of a Decider, for whoever plays the world to it: a simulation.
type (
	SourceID  = sourceID
	RequestID = requestID
	Event     = event
	Joined    = joined
	Left      = left
	Have      = have
	Arrived   = arrived
	Judged    = judged
	Ended     = ended
	Tick      = tick

	// What a plan says: see Flow.
	Seated   = seated
	Unseated = unseated
	Crewed   = crewed
	Answered = answered
	Freed    = freed
	Revoked  = revoked
)

// Rules is what a Decider is told once. All fields are required but Readers and
// Shares, and none has a default: a simulation says what it simulates.
type Rules struct {
	Content content.ID
	Seed    uint64
	Flying  int64
	BanFor  time.Duration
	Readers bool
	Shares  bool // what comes from other sites is shared out, as with Config.Plan
	Rank    func([]discovery.Candidate, time.Time) []discovery.Choice
}

// A Decider is the deciding half of a Flow by itself: what happened goes in, what
// to do comes out. It is for simulations; nodes use a Flow.
type Decider struct{ core *core }

// Orders is what a Decider wants done: the cancels first.
type Orders struct {
	Cancels []cancel
	Asks    []ask
	Need    bool // more sources are wanted
	Done    bool // every block is verified

	// To be told to the plan, in this order: see Plan.
	Took, Released, Gained []int
	Proposal               *Proposal
}

// A Proposal is what a Decider could bring.
type Proposal struct {
	N      int
	Chunks []int
	Insist bool
}

// NewDecider returns a Decider for the chunks of a content, of which nothing is
// here.
func NewDecider(r Rules, chunks []content.Chunk) *Decider {
	return &Decider{newCore(rules{
		content: r.Content, seed: r.Seed, flying: r.Flying, banFor: r.BanFor, readers: r.Readers, rank: r.Rank, shares: r.Shares,
	}, chunks)}
}

// Resume tells, before anything happens, what is here of a chunk: its block list,
// of so many blocks, those verified, and how many bytes are missing.
func (d *Decider) Resume(chunk int, blocks uint8, verified uint64, missing uint32) {
	d.core.resume(chunk, blocks, verified, missing)
}

// Step tells what happened. Time never goes back from one call to the next.
func (d *Decider) Step(now time.Time, ev Event) { d.core.step(now, ev) }

// Ready returns what to do now. The slices are valid until the next call.
func (d *Decider) Ready(now time.Time) Orders {
	fx := d.core.ready(now)
	o := Orders{Cancels: fx.cancels, Asks: fx.asks, Need: fx.need, Done: fx.done, Took: fx.took, Released: fx.released, Gained: fx.gained}
	if p := fx.proposal; p != nil {
		o.Proposal = &Proposal{p.n, p.chunks, p.insist}
	}
	return o
}

// Progress returns the bytes that came from other sites, and those that are to come of
// what was granted.
func (d *Decider) Progress() (bytes, left int64) { return d.core.tally.far(), d.core.carrying() }
