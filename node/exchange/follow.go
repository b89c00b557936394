package exchange

import (
	"fmt"
	"sync/atomic"

	"github.com/RoaringBitmap/roaring/v2"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
)

// Follow has f called with the map of the chunks that the peer says it has of a
// content of the given number of chunks: soon, if only with an empty map, and then
// whenever it changes, which is at most every Spread. The map is the callee's; f is
// called by the session's reader and must not block. No call begins after stop. A
// session that ended calls f no more.
//
// ErrBusy says that too many contents are followed, ErrGone that the session has
// ended.
func (s *Session) Follow(id content.ID, chunks int, f func(have *roaring.Bitmap)) (stop func(), err error) {
	if chunks < 0 || chunks > MaxChunks {
		return nil, fmt.Errorf("follow %s: no content has %d chunks", id, chunks)
	}
	p := &follow{session: s, content: id, chunks: chunks, f: f}
	err = s.send(p, func(b []byte, id uint32) []byte {
		p.id = id
		b = header{length: content.HashSize, kind: kindFollow, id: id}.append(b)
		return append(b, p.content[:]...)
	})
	if err != nil {
		return nil, fmt.Errorf("follow %s at %s: %w", id, s.peer, err)
	}
	return p.stop, nil
}

// A follow is pending until it is stopped and the peer has said its end.
type follow struct {
	session *Session
	content content.ID
	id      uint32
	chunks  int
	f       func(*roaring.Bitmap)
	stopped atomic.Bool

	have *roaring.Bitmap // nil before the first map; the reader's
}

func (f *follow) stop() {
	if f.stopped.CompareAndSwap(false, true) {
		f.session.cancel(f.id, f)
	}
}

func (f *follow) expect(h header) error {
	switch {
	case h.kind == kindHave && (f.have != nil || h.flags&flagWhole != 0):
		return nil
	case h.kind == kindEnd && h.index != codeDone:
		return nil
	}
	return fmt.Errorf("%s for follow %d, which doesn't come there", h.kind, h.id)
}

func (f *follow) take(h header, b *buffer) (last bool, err error) {
	m, err := decodeHave(b.b[:h.length], f.chunks)
	b.free()
	if err != nil {
		return false, err
	}
	if h.flags&flagWhole != 0 {
		f.have = m
	} else {
		f.have.Or(m)
	}
	if !f.stopped.Load() {
		f.f(f.have.Clone())
	}
	return false, nil
}

func (f *follow) end(err error) {
	if !f.stopped.Load() {
		f.session.log.Debug("peer tells no more of what it has",
			zap.Stringer("peer", f.session.peer), zap.Stringer("content", f.content), zap.Error(err))
	}
}
