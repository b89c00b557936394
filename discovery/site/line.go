package site

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"
)

const (
	writeTimeout = 5 * time.Second
	openTimeout  = 10 * time.Second
	// A peer that says more than it may is read more slowly. Honest ones say three
	// things a second, and what waited while this process stood still at once.
	framesPerSecond = 20
	framesBurst     = 100
)

// A line is a stream with a peer. What is to be written waits in it, of each kind
// the newest only: a peer that reads slowly holds up nobody and costs no memory.
type line struct {
	peer   peer.ID
	stream network.Stream
	mine   bool // this node opened it
	wake   chan struct{}
	over   chan struct{} // closed by end
	ending sync.Once

	mu       sync.Mutex
	waiting  [kinds][]byte
	finished bool // nothing is written after what waits
}

func newLine(s network.Stream, mine bool) *line {
	return &line{peer: s.Conn().RemotePeer(), stream: s, mine: mine, wake: make(chan struct{}, 1), over: make(chan struct{})}
}

// send has a frame written. It doesn't block.
func (l *line) send(k kind, frame []byte) {
	l.mu.Lock()
	l.waiting[k] = frame
	l.mu.Unlock()
	l.stir()
}

// finish ends the line once what waits is written. It doesn't block.
func (l *line) finish() {
	l.mu.Lock()
	l.finished = true
	l.mu.Unlock()
	l.stir()
}

func (l *line) stir() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// end ends the line at once. It doesn't block.
func (l *line) end() { l.ending.Do(func() { close(l.over) }) }

// run writes and reads until the line has ended; heard is called with each frame and
// ends it with an error.
func (l *line) run(heard func(*line, []byte) error) error {
	var read error
	done := make(chan struct{})
	go func() {
		defer close(done)
		read = l.read(heard)
		l.end()
	}()
	wrote := l.write()
	_ = l.stream.Reset() // which ends reading
	<-done
	if errors.Is(read, ErrProtocol) {
		return read
	}
	return errors.Join(wrote, read)
}

// write writes what waits until the line is over. A line that is finished is over
// when the peer has seen the end of it, or soon.
func (l *line) write() error {
	for {
		l.mu.Lock()
		waiting, finished := l.waiting, l.finished
		l.waiting = [kinds][]byte{}
		l.mu.Unlock()
		var out []byte
		for _, frame := range waiting { // a hello before all that only a member may say
			out = append(out, frame...)
		}
		if len(out) > 0 {
			_ = l.stream.SetWriteDeadline(time.Now().Add(writeTimeout))
			if _, err := l.stream.Write(out); err != nil {
				return err
			}
		}
		if finished {
			_ = l.stream.SetReadDeadline(time.Now().Add(writeTimeout))
			err := l.stream.CloseWrite()
			<-l.over
			return err
		}
		select {
		case <-l.over:
			return nil
		case <-l.wake:
		}
	}
}

// read reads until the peer ends the line, or this node does.
func (l *line) read(heard func(*line, []byte) error) error {
	limit := rate.NewLimiter(framesPerSecond, framesBurst)
	for {
		b, err := readFrame(l.stream)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = heard(l, b)
		}
		if err != nil {
			return err
		}
		if wait := limit.Reserve().Delay(); wait > 0 {
			select {
			case <-l.over:
				return nil
			case <-time.After(wait):
			}
		}
	}
}
