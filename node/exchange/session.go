package exchange

import (
	"encoding/binary"
	"fmt"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"go.uber.org/zap"
)

// A Session fetches from one peer. All that want something of the peer share it.
type Session struct {
	line
	log     *zap.Logger
	buffers *buffers
	held    chan struct{} // tokens: one is taken for each block that a sink has
	heldAll chan struct{} // the same, of all sessions
	calls   chan struct{} // tokens: one is taken for each call
	wake    chan struct{} // a signal to the writer that out has frames

	// Guarded by line.mu.
	pending  map[uint32]pending // what was asked and hasn't been answered to the end
	requests int                // of pending
	follows  int                // of pending
	lastID   uint32
	out      []byte // frames to be written; what pending is allowed bounds it
}

// A pending is something asked. It takes the frames that come for it, until one
// ends it. Only the session's reader calls its methods.
type pending interface {
	// expect returns an error if a frame with this header breaks the protocol. Its
	// payload has not been read.
	expect(h header) error
	// take takes the frame's payload: the first h.length bytes of b, which the
	// callee gives back. It reports whether this was the last frame. An error
	// breaks the protocol.
	take(h header, b *buffer) (last bool, err error)
	// end is the last call: nothing more comes. err is nil if all came.
	end(err error)
}

func newSession(x *Exchange, stream network.Stream) *Session {
	s := &Session{
		line:    newLine(stream, &x.group),
		log:     x.log,
		buffers: &x.buffers,
		held:    tokens(x.config.Held),
		heldAll: x.held,
		calls:   make(chan struct{}, maxCalls),
		wake:    make(chan struct{}, 1),
		pending: make(map[uint32]pending),
	}
	return s
}

func tokens(n int) chan struct{} {
	c := make(chan struct{}, n)
	for range n {
		c <- struct{}{}
	}
	return c
}

// Peer returns who is at the other end.
func (s *Session) Peer() peer.ID { return s.peer }

// Done returns a channel that is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err returns why the session ended, nil while it hasn't: ErrGone if one side
// left, ErrProtocol if the peer is to blame.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Close ends the session. What is pending ends with ErrGone.
func (s *Session) Close() error {
	s.fail(fmt.Errorf("%w: %w", ErrGone, errClosed))
	return nil
}

// Counters returns what this session fetched so far.
func (s *Session) Counters() Counters { return s.counters.read() }

// run reads and writes until the session ends, then ends what is pending.
func (s *Session) run() {
	written := make(chan struct{})
	go func() {
		defer close(written)
		s.writeAll()
	}()
	s.readAll()
	<-written

	s.mu.Lock()
	pending, err := s.pending, s.gone()
	s.pending = nil
	s.mu.Unlock()
	for _, p := range pending {
		p.end(err)
	}
	s.log.Debug("session ended", zap.Stringer("peer", s.peer), zap.Error(err))
}

// gone returns what pending asks end with once the session has ended. Callers
// hold mu.
func (s *Session) gone() error {
	return fmt.Errorf("%w: %w", ErrGone, s.err)
}

// readAll takes frames until the session ends.
func (s *Session) readAll() {
	for {
		h, ok := s.readHeader(true)
		if !ok {
			return
		}
		if err := s.readFrame(h); err != nil {
			s.breach(err)
			return
		}
	}
}

// readFrame reads the rest of a frame and hands it to whom it is for. An error
// breaks the protocol; other failures end the line and return nil.
func (s *Session) readFrame(h header) error {
	s.mu.Lock()
	p, ok := s.pending[h.id]
	s.mu.Unlock()
	if !ok {
		return fmt.Errorf("%s for %d, which was not asked", h.kind, h.id)
	}
	if err := p.expect(h); err != nil {
		return err
	}
	if h.kind == kindEnd {
		s.finish(h.id, p, endError(h.index))
		return nil
	}
	b, ok := s.readBuffer(h)
	if !ok {
		return nil
	}
	last, err := p.take(h, b)
	if err != nil {
		return err
	}
	if last {
		s.finish(h.id, p, nil)
	}
	return nil
}

// readBuffer reads a frame's payload. For a block it waits until the sinks hold
// fewer than they may.
func (s *Session) readBuffer(h header) (*buffer, bool) {
	block := h.kind == kindBlock
	if block && !(s.take(s.held) && s.take(s.heldAll)) {
		return nil, false
	}
	b := s.buffers.get(int(h.length))
	if block {
		b.tokens = [2]chan<- struct{}{s.held, s.heldAll}
	}
	if !s.readPayload(b.b[:h.length]) {
		b.free()
		return nil, false
	}
	if block {
		s.counters.block(int(h.length))
	}
	return b, true
}

// take takes a token, which may mean to wait for it. It reports false if the session has
// ended.
func (s *Session) take(tokens chan struct{}) bool {
	select {
	case <-tokens:
		return true
	default:
	}
	select {
	case <-tokens:
		return true
	case <-s.done:
		return false
	}
}

// finish forgets what is pending under id, and tells it.
func (s *Session) finish(id uint32, p pending, err error) {
	s.mu.Lock()
	delete(s.pending, id)
	switch p.(type) {
	case *request:
		s.requests--
	case *follow:
		s.follows--
	}
	s.mu.Unlock()
	p.end(err)
}

// send asks something: p gets the frames that come for the id that frame is given.
func (s *Session) send(p pending, frame func(b []byte, id uint32) []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.gone()
	}
	switch p.(type) {
	case *request:
		if s.requests == maxRequests {
			return fmt.Errorf("%w: %d requests to %s are unfinished", ErrBusy, s.requests, s.peer)
		}
		s.requests++
	case *follow:
		if s.follows == maxFollows {
			return fmt.Errorf("%w: %d contents are followed at %s", ErrBusy, s.follows, s.peer)
		}
		s.follows++
	}
	for s.lastID++; s.lastID == 0 || s.pending[s.lastID] != nil; s.lastID++ {
	}
	s.pending[s.lastID] = p
	s.out = frame(s.out, s.lastID)
	s.wakeWriter()
	return nil
}

// cancel asks the peer to end what is pending under id. Frames for it may still
// come, and its end will.
func (s *Session) cancel(id uint32, p pending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending[id] == p {
		s.sendCancel(id)
	}
}

// sendCancel does it. Callers hold mu.
func (s *Session) sendCancel(id uint32) {
	s.out = header{kind: kindCancel, id: id}.append(s.out)
	s.wakeWriter()
}

// sendNarrow tells the peer what it still is to send of what is pending under id.
// Callers hold mu.
func (s *Session) sendNarrow(id uint32, keep uint64) {
	s.out = header{length: narrowSize, kind: kindNarrow, id: id}.append(s.out)
	s.out = binary.BigEndian.AppendUint64(s.out, keep)
	s.wakeWriter()
}

func (s *Session) wakeWriter() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// writeAll writes what send and cancel left, all there is in one Write, until the
// session ends.
func (s *Session) writeAll() {
	var spare []byte
	for {
		select {
		case <-s.wake:
		case <-s.done:
			return
		}
		s.mu.Lock()
		b := s.out
		s.out = spare[:0]
		s.mu.Unlock()
		if len(b) > 0 && !s.write(b) {
			return
		}
		if spare = b; cap(spare) > readAhead {
			spare = nil // a burst; most of the time a session has a frame or none to write
		}
	}
}
