// Package flow brings one content to this node: it decides what to ask whom for,
// and when to stop waiting for it.
//
// The deciding half is pure (core.go and what it calls). Events and the time go
// in: a source joined, left, told what it has; a block list or a block arrived;
// a block was judged; a request ended; time passed. Effects come out: ask this
// source for these blocks of this chunk, cancel that, ban this peer, more sources
// are wanted, done. It holds no goroutine, socket, disk or clock, so it replays
// from a text file (testdata) and runs against a swarm in virtual time.
//
// The doing half (run.go) is thin. Blocks come in on the readers of the sources,
// go through a bounded queue to a few workers that hash and write them, and what
// the workers found goes to the core with everything else, on one goroutine.
//
//	source ── Sink.Block ──> queue ──> worker: Target.WriteBlock
//	   ^          │ arrived               │ judged
//	   │          └────────┬──────────────┘
//	 source's           inbox ──> core ──> effects
//	 goroutine <────────────────────────────┘ ask, cancel
//
// # What is asked for, and of whom
//
// A request names one chunk and the blocks of it that are still missing. Chunks
// that were begun come first, then those that fewest sources have, then by a
// shuffle that every node makes with a seed of its own, so that nodes that start
// together fetch different chunks and have something to give each other, with small
// chunks behind the others, since the last ones are waited for (order.go). What readers
// wait for, who read the content while it comes, goes before all of these, each reader's
// in turn, and what was asked for and not begun makes way (prefer.go). A block is asked
// of one source at a time: a bad one has one culprit. The exception is a hedge.
//
// A source holds at most its window: twice what it delivers in its latency and
// 200 ms, 2 chunks at least and 32 MiB at most. One that was never tried gets 2
// chunks; one that failed, one at a time and only after a pause (source.go).
// A source that would be slower with a chunk than everybody else with all that
// is left isn't asked for it (ask.go). Of the last chunks that cross a WAN, sources
// that have nothing else to do send a part each (part.go). Of those that it knows at
// other sites a carrier asks a few (partner.go).
//
// # When waiting ends
//
// A source that owes something and sends nothing for max(1 s, 4 x its latency)
// has stalled; 3 s while nothing is known of it. What another source has of its
// chunks is asked there too: a hedge. The same goes for a request that takes four
// times as long as another source would need, once nothing else is left to do
// for that source, or if it takes four times as long as all the rest. The first block
// to arrive after a hedge settles who goes on, by what each is expected to need;
// the other is cancelled. So a hedge costs about a block (late.go).
//
// A block that doesn't match its hash costs its source the request; a second one
// bans the peer for Config.BanFor (blame.go).
//
// # What is left to others
//
// Verifying and keeping is the Target's (content/store), talking to a peer the
// Source's (node/exchange), which source comes first Config.Rank's
// (discovery/rank). Finding sources is the caller's: Flow.Need says when. The
// flow itself never gives up; the caller's context does.
package flow
