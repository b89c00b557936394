package exchange

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// readAhead is enough for a batch of frames without payload. A payload bypasses
// it, apart from what was read along with its header.
const readAhead = 4 << 10

// headway is how much of a payload has to arrive within Config.Stall.
const headway = 16 << 10

// Codes that tell a peer why its stream was reset.
const (
	resetGone   network.StreamErrorCode = 0x7001
	resetBreach network.StreamErrorCode = 0x7002
	resetStall  network.StreamErrorCode = 0x7003
	resetLimit  network.StreamErrorCode = 0x7004
)

// A line is one end of a stream, whichever: it reads and writes frames, and ends
// once, with a reason.
type line struct {
	peer     peer.ID
	stream   network.Stream
	in       *bufio.Reader
	head     [headerSize]byte // being read
	reads    pulse
	writes   pulse
	counters counters
	group    *sync.WaitGroup // of the Exchange; what runs for this line counts there

	// mu guards err, and what the embedding struct declares below it.
	mu   sync.Mutex
	err  error
	done chan struct{} // closed when err is set
}

func newLine(stream network.Stream, group *sync.WaitGroup) line {
	return line{
		peer:   stream.Conn().RemotePeer(),
		stream: stream,
		in:     bufio.NewReaderSize(stream, readAhead),
		group:  group,
		done:   make(chan struct{}),
	}
}

// fail ends the line for the given reason, unless it has ended. It doesn't block.
func (l *line) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	l.err = err
	close(l.done)
	code := resetGone
	switch {
	case errors.Is(err, ErrProtocol):
		code = resetBreach
	case errors.Is(err, errStalled):
		code = resetStall
	}
	// A reset waits for its place in the connection's queue, behind data that may
	// be stuck. The reader is counted in the group as long as err isn't set, so the
	// group can't have been waited for yet.
	l.group.Go(func() { _ = l.stream.ResetWithError(code) })
}

// breach ends the line because the peer broke the protocol.
func (l *line) breach(err error) {
	l.fail(fmt.Errorf("%w: %s: %w", ErrProtocol, l.peer, err))
}

// lost ends the line because reading or writing failed.
func (l *line) lost(doing string, err error) {
	if errors.Is(err, io.EOF) {
		err = errors.New("closed by the peer")
	}
	l.fail(fmt.Errorf("%w: %s %s: %w", ErrGone, doing, l.peer, err))
}

// readHeader waits for a frame and reads its header. It ends the line if that
// fails.
func (l *line) readHeader(down bool) (h header, ok bool) {
	// Waiting for the first byte may take forever, the others may not.
	if _, err := l.in.Peek(1); err != nil {
		l.lost("read from", err)
		return header{}, false
	}
	if !l.readPayload(l.head[:]) {
		return header{}, false
	}
	h, err := parseHeader(&l.head, down)
	if err != nil {
		l.breach(err)
		return header{}, false
	}
	return h, true
}

// readPayload fills b, or ends the line.
func (l *line) readPayload(b []byte) bool {
	l.reads.start()
	defer l.reads.stop()
	for since := 0; len(b) > 0; {
		n, err := l.in.Read(b)
		b = b[n:]
		if err != nil {
			l.lost("read from", err)
			return false
		}
		if since += n; since >= headway {
			l.reads.headway()
			since = 0
		}
	}
	return true
}

// write writes b, or ends the line.
func (l *line) write(b []byte) bool {
	l.writes.start()
	_, err := l.stream.Write(b)
	l.writes.stop()
	if err != nil {
		l.lost("write to", err)
		return false
	}
	return true
}

// stuck reports whether a read inside of a frame or a write has made no headway
// for limit.
func (l *line) stuck(now time.Time, limit time.Duration) bool {
	read, write := l.reads.stuck(now, limit), l.writes.stuck(now, limit)
	return read || write
}
