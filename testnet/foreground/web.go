package foreground

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// A page is a document and the objects that it names.
type page struct {
	document int   // bytes
	objects  []int // bytes of each
	read     time.Duration
}

// Sizes of a page are lognormal, as those of the web are (P. Barford and M.
// Crovella, "Generating representative web workloads", SIGMETRICS 1998); the
// figures make a lean intranet page: some 300 kB.
const (
	documentMedian = 25e3
	objectMedian   = 12e3
	spread         = 1.0     // of the logarithm
	mostBytes      = 500_000 // of one document or object
	connections    = 4
	pageTimeout    = 30 * time.Second
)

// plan returns the next page.
func plan(rng *rand.Rand) page {
	size := func(median float64) int {
		return min(mostBytes, 500+int(median*math.Exp(spread*rng.NormFloat64())))
	}
	p := page{document: size(documentMedian)}
	for range 6 + rng.IntN(15) {
		p.objects = append(p.objects, size(objectMedian))
	}
	p.read = 300*time.Millisecond + time.Duration(rng.Int64N(int64(1200*time.Millisecond)))
	return p
}

// browse loads one page after the other until the time is over, and returns how
// long each took. One that isn't there after pageTimeout counts as that; one that
// was begun in time is waited for.
func (c *client) browse(ctx context.Context) ([]time.Duration, error) {
	rng := rand.New(rand.NewPCG(c.Seed, 2))
	end := time.Now().Add(c.For)
	var times []time.Duration
	for time.Now().Before(end) {
		p := plan(rng)
		start := time.Now()
		err := c.load(ctx, p)
		if ctx.Err() != nil {
			return times, ctx.Err()
		}
		// A page that fails is one that the user waits for in vain.
		took := time.Since(start)
		if err != nil {
			if len(times) == 0 && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, os.ErrDeadlineExceeded) {
				return nil, err // there is no server, say
			}
			took = pageTimeout
		}
		times = append(times, took)
		c.count(func(l *Line) { l.Pages++ })
		if err := pause(ctx, p.read); err != nil {
			return times, err
		}
	}
	return times, nil
}

// load fetches a page: its document, and then its objects over all connections.
func (c *client) load(ctx context.Context, p page) error {
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	first, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer first.Close()
	if err := first.fetch(p.document); err != nil {
		return err
	}
	var mu sync.Mutex
	left := p.objects
	next := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		if len(left) == 0 {
			return 0, false
		}
		n := left[0]
		left = left[1:]
		return n, true
	}
	g, ctx := errgroup.WithContext(ctx)
	for i := range connections {
		g.Go(func() error {
			s := first
			if i > 0 {
				var err error
				if s, err = c.open(ctx); err != nil {
					return err
				}
				defer s.Close()
			}
			for {
				n, ok := next()
				if !ok {
					return nil
				}
				if err := s.fetch(n); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

// A session is a TCP connection with the server.
type session struct {
	io.ReadWriteCloser
	in    *bufio.Reader
	count func(bytes int)
	stop  func() bool
}

// open connects. The connection ends with the context.
func (c *client) open(ctx context.Context) (*session, error) {
	conn, err := c.dial(ctx, "tcp")
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", c.Server, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return &session{conn, bufio.NewReader(conn), func(n int) { c.count(func(l *Line) { l.Bytes += int64(n) }) }, stop}, nil
}

func (s *session) Close() error {
	s.stop()
	return s.ReadWriteCloser.Close()
}

// fetch asks for so many bytes and reads them.
func (s *session) fetch(bytes int) error {
	if _, err := fmt.Fprintf(s, "%s %d\n", verbObject, bytes); err != nil {
		return fmt.Errorf("ask for %d bytes: %w", bytes, err)
	}
	n, err := io.CopyN(io.Discard, s.in, int64(bytes))
	s.count(int(n))
	if err != nil {
		return fmt.Errorf("read %d bytes: %w", bytes, err)
	}
	return nil
}

// pause waits, or returns why it didn't.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
