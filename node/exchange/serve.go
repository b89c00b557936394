package exchange

import (
	"errors"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
)

// sending answers a request: the list if it was asked for, then block by block.
type sending struct {
	id      uint32
	ask     ask
	list    bool
	library Library
	log     *zap.Logger

	holding Holding // nil before the first step
	blocks  []content.Block
	left    uint64        // blocks to be sent
	keep    atomic.Uint64 // of these, those that are still wanted: the asker may think better of it
	missing bool          // something that was asked isn't here
	told    bool          // the courtesy knows that some of it went
}

func (s *sending) step(o *outbox) (done bool, code uint8) {
	chunk := int(s.ask.chunk)
	if s.holding == nil && !s.begin(o, chunk) {
		return true, codeNotFound
	}
	for s.left &= s.keep.Load(); s.left != 0; {
		block := bits.TrailingZeros64(s.left)
		s.left &= s.left - 1
		data, err := s.holding.ReadBlock(chunk, block, o.room(int(s.blocks[block].Size)))
		if err != nil || len(data) != int(s.blocks[block].Size) {
			s.missing = true
			if !errors.Is(err, content.ErrNotFound) {
				s.log.Warn("block can't be read", zap.Stringer("content", s.ask.content), zap.Int("chunk", chunk), zap.Error(err))
			}
			continue
		}
		h := header{kind: kindBlock, index: uint8(block), id: s.id}
		if s.left != 0 || s.missing {
			o.addBlock(h, data)
			return false, 0
		}
		h.flags = flagLast
		o.addBlock(h, data)
		return true, codeTold
	}
	if s.missing {
		return true, codeNotFound
	}
	return true, codeDone
}

// begin finds out what of the request is here, and adds the list. It reports false
// if nothing is.
func (s *sending) begin(o *outbox, chunk int) bool {
	holding, ok := s.library.Holding(s.ask.content)
	if !ok {
		return false
	}
	blocks, ok := holding.Blocks(chunk)
	if !ok {
		return false
	}
	if s.list {
		node, ok := holding.Node(chunk)
		if !ok || len(node) == 0 || len(node) > maxList {
			return false
		}
		o.addPayload(header{kind: kindList, id: s.id}, node)
	}
	all := uint64(1)<<len(blocks) - 1
	want := s.ask.want
	if want == All {
		want = all
	}
	want &= s.keep.Load()
	s.holding, s.blocks = holding, blocks
	s.left = want & all & holding.Verified(chunk)
	s.missing = s.left != want
	return true
}

// An answer is what a call gets: pieces of any size, sent in parts that fit.
type answer struct {
	id     uint32
	load   func() []part // nil result: not found
	parts  []part
	loaded bool
}

type part struct {
	kind kind
	data []byte
}

func (a *answer) step(o *outbox) (done bool, code uint8) {
	if !a.loaded {
		a.parts, a.loaded = a.load(), true
		if len(a.parts) == 0 {
			return true, codeNotFound
		}
	}
	p := &a.parts[0]
	h := header{kind: p.kind, id: a.id}
	n := min(len(p.data), maxPayload)
	if n < len(p.data) {
		h.flags = flagMore
	}
	o.addPayload(h, p.data[:n])
	if p.data = p.data[n:]; len(p.data) == 0 {
		a.parts = a.parts[1:]
	}
	return len(a.parts) == 0, codeDone
}

// manifest returns the parts of a manifest's answer.
func manifest(library Library, id content.ID) []part {
	h, ok := library.Holding(id)
	if !ok {
		return nil
	}
	encoded := h.Encoded()
	parts := []part{{kindRoot, encoded.Root}}
	for _, segment := range encoded.Segments {
		parts = append(parts, part{kindSegment, segment})
	}
	return appendReleases(parts, h.Releases())
}

// named returns the parts of the answer to a name.
func named(library Library, name string) []part {
	return appendReleases(nil, library.Named(name))
}

func appendReleases(parts []part, envelopes [][]byte) []part {
	for _, e := range envelopes[:min(len(envelopes), maxEnvelopes)] {
		if len(e) > 0 && len(e) <= maxEnvelope {
			parts = append(parts, part{kindRelease, e})
		}
	}
	return parts
}

// telling answers a follow: the map as a whole, then what came to it.
type telling struct {
	id      uint32
	content content.ID
	library Library
	log     *zap.Logger
	told    *roaring.Bitmap // nil before the first map
}

func (t *telling) step(o *outbox) (done bool, code uint8) {
	have := roaring.New()
	if h, ok := t.library.Holding(t.content); ok {
		have = h.Have()
	}
	if t.told != nil && have.Equals(t.told) {
		return false, 0
	}
	h := header{kind: kindHave, id: t.id, flags: flagWhole}
	news := have
	if t.told != nil && t.told.AndCardinality(have) == t.told.GetCardinality() {
		h.flags = 0
		news = roaring.AndNot(have, t.told)
	}
	b, err := encodeHave(news)
	if err != nil {
		t.log.Warn("map can't be told", zap.Stringer("content", t.content), zap.Error(err))
		return true, codeNotFound
	}
	o.addPayload(h, b)
	t.told = have
	return false, 0
}

// watchChanges queues a follow whenever its map may have changed, at most every
// Spread.
func (s *server) watchChanges(j *job, id content.ID) {
	wait := func(c <-chan struct{}, t <-chan time.Time) bool {
		select {
		case <-c:
		case <-t:
		case <-j.forgotten:
			return false
		case <-s.done:
			return false
		}
		return true
	}
	for {
		// What to wait for is taken before the map is read, so that no change falls
		// between the two.
		changed := s.x.nextArrival()
		if h, ok := s.x.library.Holding(id); ok {
			changed = h.Changed()
		}
		queued := time.Now()
		s.mu.Lock()
		if s.jobs[j.id] == j {
			s.enqueue(j)
		}
		s.mu.Unlock()
		if !wait(changed, nil) {
			return
		}
		if early := Spread - time.Since(queued); early > 0 && !wait(nil, time.After(early)) {
			return
		}
	}
}
