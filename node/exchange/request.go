package exchange

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"github.com/p2pnode/p2pnode/content"
)

// All is the wanted mask that stands for every block that the list has.
const All = math.MaxUint64

// A Request asks for blocks of a chunk.
type Request struct {
	Content content.ID
	Chunk   int
	Want    uint64 // a bit per block; All; or 0 for the list alone
	List    bool   // send the chunk's block list first
	Sink    Sink
}

// A Sink takes what a Request brings. Its methods are called one at a time, and
// must not block for long: everything else on the session waits. It may call
// methods of the session and cancel functions.
type Sink interface {
	// List takes the encoded block list, which is the callee's. It comes before
	// the blocks. An error ends the request with it.
	List(node []byte) error
	// Block takes a block, unchecked, of 1 to content.MaxBlock bytes. The index is
	// one that was wanted, each comes at most once. The callee calls release
	// exactly once, when it no longer reads data. A session that waits for the
	// release of Config.Held blocks reads nothing.
	Block(index int, data []byte, release func())
	// Unwanted is called with the size of a block that was under way when the
	// request was cancelled: it crossed the network for nothing. It is all that may
	// come after End, until the peer has said its own.
	Unwanted(bytes int)
	// End is called exactly once. err is nil if everything came, else
	// it wraps content.ErrNotFound if the peer lacks some of it (what it has came
	// before), ErrBusy, ErrCancelled, ErrGone (and ErrProtocol with it if the peer
	// is to blame), or it is what List returned.
	End(err error)
}

// Request asks for blocks. It doesn't wait; ErrBusy says that as much is asked
// already as the peer allows, ErrGone that the session has ended; the sink isn't
// called then.
//
// narrow tells the peer to send none of the wanted blocks but those in keep any more.
// What is on its way comes nevertheless, and the request ends when all of keep has come,
// or all that was wanted. narrow(0) cancels: after it no new call of List or Block begins,
// and End(ErrCancelled) comes soon if End hasn't come yet, from another goroutine. narrow
// may be called at any time and again.
func (s *Session) Request(r Request) (narrow func(keep uint64), err error) {
	if r.Chunk < 0 || r.Chunk >= MaxChunks || r.Want == 0 && !r.List {
		return nil, fmt.Errorf("request blocks %#x of chunk %d: asks for nothing that can be", r.Want, r.Chunk)
	}
	p := &request{session: s, sink: r.Sink, want: r.Want, all: r.Want == All, list: r.List}
	p.keep.Store(All)
	err = s.send(p, func(b []byte, id uint32) []byte {
		p.id = id
		h := header{length: requestSize, kind: kindRequest, id: id}
		if r.List {
			h.flags = flagList
		}
		return ask{content: r.Content, chunk: uint32(r.Chunk), want: r.Want}.append(h.append(b))
	})
	if err != nil {
		return nil, fmt.Errorf("request chunk %d of %s from %s: %w", r.Chunk, r.Content, s.peer, err)
	}
	s.counters.requests.Add(1)
	return p.narrow, nil
}

// A request is a Request under way. Once it was cancelled it stays pending until
// the peer has said its end, so that the frames under way find it.
type request struct {
	session   *Session
	sink      Sink
	id        uint32
	cancelled bool // guarded by the session's mu
	// keep has what is wanted in spite of all calls of narrow. It only shrinks.
	keep atomic.Uint64

	// Only the reader uses these.
	want    uint64 // blocks that may still come
	all     bool
	list    bool // the list has to come first
	skipped bool // a block that was wanted didn't come before a later one

	mu    sync.Mutex // held while the sink is called: one call at a time
	ended bool       // the sink has been told the end
}

func (r *request) expect(h header) error {
	switch h.kind {
	case kindList:
		if r.list {
			return nil
		}
	case kindBlock:
		if r.list || r.want>>h.index&1 == 0 {
			break
		}
		if h.flags&flagLast == 0 || r.complete(r.after(h.index)) {
			return nil
		}
	case kindEnd:
		if h.index != codeDone || !r.list && r.complete(r.want, r.skipped) {
			return nil
		}
	}
	return fmt.Errorf("%s %d for request %d with list %t and blocks %#x to come", h.kind, h.index, h.id, r.list, r.want)
}

// after returns what want and skipped are once a block has come: blocks ascend, so
// those below will not come any more, and may not.
func (r *request) after(index uint8) (want uint64, skipped bool) {
	below := uint64(1)<<index - 1
	return r.want &^ (below | 1<<index), r.skipped || r.want&r.keep.Load()&below != 0
}

// complete reports whether nothing is missing when the answer ends. How many blocks
// all are is in the list, which the session doesn't read.
func (r *request) complete(want uint64, skipped bool) bool {
	keep := r.keep.Load()
	if r.all && keep == All {
		return !skipped && want != All
	}
	return !skipped && want&keep == 0
}

func (r *request) take(h header, b *buffer) (last bool, err error) {
	data := b.b[:h.length]
	if h.kind == kindList {
		r.list = false
		node := bytes.Clone(data)
		b.free()
		r.deliverList(node)
		return false, nil
	}
	r.want, r.skipped = r.after(h.index)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		b.free()
		r.sink.Unwanted(len(data))
	} else {
		r.sink.Block(int(h.index), data, b.free)
	}
	return h.flags&flagLast != 0, nil
}

func (r *request) deliverList(node []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return
	}
	if err := r.sink.List(node); err != nil {
		r.ended = true
		r.session.cancel(r.id, r)
		r.sink.End(err)
	}
}

func (r *request) narrow(keep uint64) {
	s := r.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.cancelled || s.pending[r.id] != r {
		return
	}
	before := r.keep.Load()
	if keep &= before; keep != 0 {
		if keep != before { // at most 64 times: that bounds what waits to be written
			r.keep.Store(keep)
			s.sendNarrow(r.id, keep)
		}
		return
	}
	r.cancelled = true
	s.sendCancel(r.id)
	// Not from here: the sink may wait for a lock that our caller has.
	s.group.Go(func() { r.end(ErrCancelled) })
}

func (r *request) end(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return
	}
	r.ended = true
	switch {
	case errors.Is(err, ErrCancelled):
		r.session.counters.ended(codeCancelled)
	case errors.Is(err, content.ErrNotFound):
		r.session.counters.ended(codeNotFound)
	case errors.Is(err, ErrBusy):
		r.session.counters.ended(codeBusy)
	}
	r.sink.End(err)
}

// endError returns what a pending ask ends with for the code of an end.
func endError(code uint8) error {
	switch code {
	case codeDone:
		return nil
	case codeNotFound:
		return content.ErrNotFound
	case codeBusy:
		return ErrBusy
	default:
		return ErrCancelled
	}
}
