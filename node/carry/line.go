package carry

import (
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// beat is how often each end says something, if only that it is alive.
	beat = 500 * time.Millisecond
	// silence is how long the other end may say nothing before it is taken for dead.
	silence = 2 * time.Second
	// maxQueue bounds what waits to be written to an end that doesn't read: a map and
	// some seconds of a busy plan.
	maxQueue = 4 * maxFrame
)

// A Line is a connection between a member and a planner: a stream, or a pipe if
// both are one node. Close ends it at once, for both: what is on its way is lost.
type Line interface {
	io.ReadWriteCloser
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// A talk is one end of a line.
type talk struct {
	line Line
	peer peer.ID // at the other end
	wake chan struct{}
	done chan struct{}

	mu     sync.Mutex
	queue  [][]byte
	queued int
	closed bool
}

func newTalk(l Line, p peer.ID) *talk {
	return &talk{line: l, peer: p, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// say queues a message. Who doesn't read what it is told is cut off.
func (t *talk) say(m *message) {
	b := m.encode()
	t.mu.Lock()
	full := t.queued+len(b) > maxQueue
	if !t.closed && !full {
		t.queue = append(t.queue, b)
		t.queued += len(b)
	}
	t.mu.Unlock()
	if full {
		t.close()
		return
	}
	t.ring()
}

func (t *talk) ring() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func (t *talk) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.closed = true
		close(t.done)
		t.line.Close()
	}
}

// write writes what is queued, and that we are alive, until the line ends.
func (t *talk) write() {
	defer t.close()
	alive := time.NewTicker(beat)
	defer alive.Stop()
	for {
		idle := false
		select {
		case <-t.done:
			return
		case <-t.wake:
		case <-alive.C:
			idle = true
		}
		t.mu.Lock()
		frames := t.queue
		t.queue, t.queued = nil, 0
		t.mu.Unlock()
		if len(frames) == 0 && idle {
			frames = [][]byte{(&message{kind: kindAlive}).encode()}
		}
		for _, b := range frames {
			_ = t.line.SetWriteDeadline(time.Now().Add(silence))
			if _, err := t.line.Write(b); err != nil {
				return
			}
		}
	}
}

// read returns the next message.
func (t *talk) read() (*message, error) {
	if err := t.line.SetReadDeadline(time.Now().Add(silence)); err != nil {
		return nil, err
	}
	return readMessage(t.line)
}
