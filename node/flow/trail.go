package flow

import (
	"math"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/discovery"
)

const (
	// maxTrails bounds the contents whose chunks are remembered, maxTrailed the chunks
	// in all: 8 MiB at 8 bytes each. The content that nothing came of for longest is
	// forgotten first. A million chunks are a hundred images of 10 GB.
	maxTrails  = 256
	maxTrailed = 1 << 20
	// maxTrailers bounds the sources that one content's trail names; chunks of others
	// have none. maxTrailChunk is above what any manifest lists.
	maxTrailers   = 4096
	maxTrailChunk = content.MaxManifest / 36

	trailTick = 10 * time.Millisecond // 497 days of them fit
	trailStep = 1024                  // chunks that a trail grows by, at least
)

// An Arrival is where a chunk came from, and why from there.
type Arrival struct {
	Time time.Time // when its last block was verified; zero if it didn't arrive
	Peer peer.ID   // who gave that block; empty if that was forgotten
	Link bandwidth.Link
	// Why is why that peer was asked for it; Unknown if somebody else was asked after.
	Why discovery.Reason
	// Carried is whether this node was to bring it for its site, Alone whether nobody
	// shared the work out, TakenOver whether it was late with it and somebody else was
	// to bring it, Late whether a source was late with it.
	Carried, Alone, TakenOver, Late bool
}

// A footprint is an Arrival in 8 bytes.
type footprint struct {
	at     uint32 // ticks since trails began; of a chunk that arrived, at least 1
	source uint16 // one more than the index in trailers; 0: none
	why    discovery.Reason
	marks  uint8
}

const (
	markArrived = 1 << iota
	markCarried
	markAlone
	markTakenOver
	markLate
)

// A trail has the footprints of one content's chunks, by index.
type trail struct {
	chunks   []footprint
	trailers []trailer
	number   map[trailer]uint16
	alone    bool // nobody shares the work out now
	used     uint64
}

type trailer struct {
	peer peer.ID
	link bandwidth.Link
}

// trails remember where chunks came from, from what was decided.
type trails struct {
	began  time.Time
	byID   map[content.ID]*trail
	chunks int // in all
	clock  uint64
}

func newTrails(now time.Time) trails { return trails{began: now, byID: make(map[content.ID]*trail)} }

// add notes a decision, if it is about where a chunk comes from.
func (t *trails) add(d Decision) {
	switch d.Verb {
	case Ask, Got, Doubt, Carry, Yield:
		if d.Chunk < 0 || d.Chunk > maxTrailChunk {
			return
		}
	case Alone:
		t.of(d.Content).alone = true
		return
	case Finish:
		t.of(d.Content).alone = false // of this flow, not of the next
		return
	default:
		return
	}
	l := t.of(d.Content)
	if d.Chunk >= len(l.chunks) {
		grown := max((d.Chunk/trailStep+1)*trailStep, len(l.chunks)+len(l.chunks)/4)
		t.chunks += grown - len(l.chunks)
		l.chunks = append(make([]footprint, 0, grown), l.chunks...)[:grown]
		t.shrink(l)
	}
	f := &l.chunks[d.Chunk]
	if f.marks&markArrived != 0 && d.Verb != Got {
		*f = footprint{} // it went bad, or was removed, and comes again
	}
	switch d.Verb {
	case Ask:
		f.source, f.why = l.trailer(d.Peer, d.Link), d.Reason
		if l.alone {
			f.marks |= markAlone
		}
	case Got:
		if source := l.trailer(d.Peer, d.Link); f.source != source {
			f.source, f.why = source, discovery.Unknown
		}
		f.at = max(uint32(min(d.Time.Sub(t.began)/trailTick, math.MaxUint32)), 1)
		f.marks |= markArrived
	case Doubt:
		f.marks |= markLate
	case Carry:
		f.marks |= markCarried
		f.marks &^= markTakenOver
		l.alone = false
	case Yield:
		f.marks |= markTakenOver
	}
}

// of returns the trail of a content, which is begun if there is none.
func (t *trails) of(id content.ID) *trail {
	t.clock++
	l := t.byID[id]
	if l == nil {
		l = &trail{number: make(map[trailer]uint16)}
		t.byID[id] = l
	}
	l.used = t.clock
	t.shrink(l)
	return l
}

// shrink forgets contents, but not the one that is kept, until the bounds hold.
func (t *trails) shrink(kept *trail) {
	for len(t.byID) > 1 && (len(t.byID) > maxTrails || t.chunks > maxTrailed) {
		var oldest content.ID
		var l *trail
		for id, o := range t.byID {
			if o != kept && (l == nil || o.used < l.used) {
				oldest, l = id, o
			}
		}
		t.chunks -= len(l.chunks)
		delete(t.byID, oldest)
	}
}

// trailer returns the number of a source, 0 if there are too many.
func (l *trail) trailer(p peer.ID, link bandwidth.Link) uint16 {
	s := trailer{p, link}
	n, ok := l.number[s]
	if !ok && len(l.trailers) < maxTrailers {
		l.trailers = append(l.trailers, s)
		n = uint16(len(l.trailers))
		l.number[s] = n
	}
	return n
}

func (t *trails) arrivals(id content.ID) []Arrival {
	l := t.byID[id]
	if l == nil {
		return nil
	}
	out := make([]Arrival, len(l.chunks))
	for i, f := range l.chunks {
		a := Arrival{Why: f.why, Carried: f.marks&markCarried != 0, Alone: f.marks&markAlone != 0, TakenOver: f.marks&markTakenOver != 0, Late: f.marks&markLate != 0}
		if f.marks&markArrived == 0 {
			continue
		}
		a.Time = t.began.Add(time.Duration(f.at) * trailTick)
		if f.source > 0 {
			a.Peer, a.Link = l.trailers[f.source-1].peer, l.trailers[f.source-1].link
		}
		out[i] = a
	}
	return out
}
