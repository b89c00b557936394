package origin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/p2pnode/p2pnode/content"
)

// A Part is bytes of a resource on their way. It is read by one goroutine.
type Part struct {
	client *Client
	caller context.Context // of Range
	url    string
	begun  time.Time // when it was asked for
	free   func()    // gives the server's slot back
	answer *answer
	left   int64     // bytes not read
	since  time.Time // when the wait began that is under way, or was last
	err    error     // what reading ended with

	watchdog *time.Timer
	// Since the rate was looked at last: bytes, and the time waited for them.
	came   int64
	waited time.Duration
}

// Range asks for size bytes of r, from that offset on, and returns them as they
// come. While the server or the address rests, the error wraps ErrResting. The
// caller closes the part.
func (c *Client) Range(ctx context.Context, r Resource, from, size int64) (*Part, error) {
	if until := c.Resting(r.URL); !until.IsZero() {
		return nil, fmt.Errorf("get %s: %w, until %s", shorten(r.URL), ErrResting, until.Format(time.TimeOnly))
	}
	return c.part(ctx, r, from, size)
}

// part is Range, whether the server rests or not.
func (c *Client) part(ctx context.Context, r Resource, from, size int64) (*Part, error) {
	if from < 0 || size <= 0 || size > r.Size-from {
		return nil, fmt.Errorf("get %s: %d bytes from %d on can't be asked for, as it has %d", shorten(r.URL), size, from, r.Size)
	}
	h := http.Header{"Range": {"bytes=" + strconv.FormatInt(from, 10) + "-" + strconv.FormatInt(from+size-1, 10)}}
	if r.Validator != "" {
		h.Set("If-Range", r.Validator)
	}
	return c.open(ctx, r.URL, h, size, func(resp *http.Response) error { return checkPart(resp, r, from, size) })
}

// whole asks for all of a resource whose server gives no parts.
func (c *Client) whole(ctx context.Context, r Resource) (*Part, error) {
	return c.open(ctx, r.URL, http.Header{}, r.Size, func(resp *http.Response) error { return checkWhole(resp, r) })
}

func (c *Client) open(ctx context.Context, address string, h http.Header, size int64, check func(*http.Response) error) (*Part, error) {
	if err := content.CheckURL(address); err != nil {
		return nil, err
	}
	free, err := c.slot(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", shorten(address), err)
	}
	p := &Part{client: c, caller: ctx, url: address, left: size, begun: time.Now(), free: free}
	p.since = p.begun
	p.answer, err = c.ask(ctx, address, h)
	if err == nil {
		if err = check(p.answer.Response); err != nil {
			p.answer.close()
		}
	}
	if err != nil {
		free()
		return nil, p.failed(err)
	}
	p.watchdog = time.AfterFunc(c.cfg.Window, func() {
		p.answer.cancel(fmt.Errorf("%w: nothing came for %v", ErrSlow, c.cfg.Window))
	})
	p.watchdog.Stop()
	return p, nil
}

// failed notes a failure, and returns the error as the caller is told it. That
// the caller called it off is none, unless it had waited long.
func (p *Part) failed(err error) error {
	now := time.Now()
	if p.caller.Err() == nil || now.Sub(p.since) >= impatience {
		p.client.failed(now, p.url, p.begun, err)
	}
	return fmt.Errorf("get %s: %w", shorten(p.url), err)
}

// Read implements io.Reader. It gives exactly the bytes that were asked for, then
// io.EOF.
func (p *Part) Read(b []byte) (int, error) {
	if p.err != nil || len(b) == 0 {
		return 0, p.err
	}
	n, err := p.read(b[:min(int64(len(b)), p.left)])
	p.left -= int64(n)
	switch {
	case p.left == 0:
		// Looked at with the last byte, as a caller who counts won't come again.
		p.finish(err)
		return n, nil
	case err == nil:
		return n, nil
	case err == io.EOF:
		err = fmt.Errorf("%w: it ends %d bytes early", ErrLength, p.left)
	}
	p.err = p.failed(err)
	return n, p.err
}

// finish makes sure that nothing follows the last byte: one that does is the one
// byte too many that is ever read. err is what came with the last byte.
func (p *Part) finish(err error) {
	if err == nil {
		var one [1]byte
		var n int
		if n, err = p.read(one[:]); n > 0 {
			err = fmt.Errorf("%w: it goes on after its end", ErrLength)
		}
	}
	if err == io.EOF {
		p.err = io.EOF
		p.client.rests.end(p.url, p.begun)
		return
	}
	p.err = p.failed(err)
}

// read reads from the body, but not for ever.
func (p *Part) read(b []byte) (int, error) {
	p.since = time.Now()
	p.watchdog.Reset(p.client.cfg.Window)
	n, err := p.answer.Body.Read(b)
	p.watchdog.Stop()
	p.came += int64(n)
	p.waited += time.Since(p.since)
	if err != nil && err != io.EOF {
		return n, explain(p.answer.ctx, brokenOff(err))
	}
	if p.waited < p.client.cfg.Window {
		return n, err
	}
	if rate := float64(p.came) / p.waited.Seconds(); err == nil && rate < p.client.cfg.MinRate.BytesPerSecond() {
		err = fmt.Errorf("%w: %.0f bytes a second", ErrSlow, rate)
	}
	p.came, p.waited = 0, 0
	return n, err
}

// brokenOff makes an error of reading a body one that explain takes for that.
func brokenOff(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, err)
}

// Close ends the part, whether it came whole or not.
func (p *Part) Close() error {
	p.watchdog.Stop()
	p.answer.close()
	p.free()
	if p.err == nil {
		p.err = fmt.Errorf("get %s: %w", shorten(p.url), errClosed)
	}
	return nil
}

var errClosed = errors.New("closed")
