package carry

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"sync"
	"time"
)

// A wire is one end of a line between two people. What is written comes after the
// latency of the LAN, in order, and not while the two don't see each other.
type wire struct {
	own, other *person
	far        *wire
	lag        time.Duration

	mu     sync.Mutex
	came   []letter
	closed bool // by either; what wasn't read before never is
	here   bool // by this end
	until  time.Time
	news   chan struct{}
}

type letter struct {
	at   time.Time
	data []byte
}

func newWire(a, b *person) (here, there *wire) {
	lag := time.Duration(0)
	if a != b {
		h := fnv.New64a()
		fmt.Fprint(h, a.town.seed, a.id, b.id)
		lag = a.town.lans/4 + time.Duration(h.Sum64()%uint64(a.town.lans))
	}
	here = &wire{own: a, other: b, lag: lag, news: make(chan struct{})}
	there = &wire{own: b, other: a, lag: lag, far: here, news: make(chan struct{})}
	here.far = there
	for _, l := range []*wire{here, there} {
		l.own.mu.Lock()
		l.own.wires = append(l.own.wires, l)
		l.own.mu.Unlock()
	}
	return here, there
}

func (l *wire) stir() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.news)
	l.news = make(chan struct{})
}

func (l *wire) Write(b []byte) (int, error) {
	l.mu.Lock()
	closed := l.closed
	l.mu.Unlock()
	if closed {
		return 0, io.ErrClosedPipe
	}
	l.far.mu.Lock()
	l.far.came = append(l.far.came, letter{time.Now().Add(l.lag), bytes.Clone(b)})
	l.far.mu.Unlock()
	l.far.stir()
	return len(b), nil
}

func (l *wire) Read(b []byte) (int, error) {
	for {
		l.mu.Lock()
		sees := l.own.half.Load() == l.other.half.Load()
		wait := time.Until(l.until)
		switch {
		case l.here:
			l.mu.Unlock()
			return 0, io.ErrClosedPipe
		case wait <= 0:
			l.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case len(l.came) > 0 && sees:
			if lag := time.Until(l.came[0].at); lag > 0 {
				wait = min(wait, lag)
				break
			}
			n := copy(b, l.came[0].data)
			if l.came[0].data = l.came[0].data[n:]; len(l.came[0].data) == 0 {
				l.came = l.came[1:]
			}
			l.mu.Unlock()
			return n, nil
		case l.closed && sees:
			l.mu.Unlock()
			return 0, io.EOF
		}
		news := l.news
		l.mu.Unlock()
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-news:
		}
		timer.Stop()
	}
}

func (l *wire) Close() error {
	l.mu.Lock()
	l.here, l.closed = true, true
	l.mu.Unlock()
	l.stir()
	l.far.mu.Lock()
	l.far.closed, l.far.came = true, nil // as the reset of a stream does
	l.far.mu.Unlock()
	l.far.stir()
	return nil
}

func (l *wire) SetReadDeadline(t time.Time) error {
	l.mu.Lock()
	l.until = t
	l.mu.Unlock()
	l.stir()
	return nil
}

func (*wire) SetWriteDeadline(time.Time) error { return nil }
