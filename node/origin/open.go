package origin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// maxTries is how often a stream is taken up again that brings nothing more:
// over about a minute.
const maxTries = 6

// Open returns the bytes of r from that offset on, to its end. Where versions can
// be told apart, a connection that breaks off is taken up again, after 1 s and
// more, until that fails several times without a byte. Reading ends with ctx.
// The caller closes it.
func (c *Client) Open(ctx context.Context, r Resource, from int64) (io.ReadCloser, error) {
	if from < 0 || from > r.Size || from > 0 && !r.Ranges {
		return nil, fmt.Errorf("get %s from byte %d on: %w", shorten(r.URL), from, ErrNoRange)
	}
	s := &stream{client: c, ctx: ctx, resource: r, at: from}
	s.pauses = &backoff.ExponentialBackOff{InitialInterval: time.Second, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: 30 * time.Second}
	return s, nil
}

// A stream is a resource that is read to its end.
type stream struct {
	client   *Client
	ctx      context.Context // of Open: it lives as long as the stream
	resource Resource
	at       int64 // of the next byte
	part     *Part // nil if there is to be another
	tries    int   // without a byte
	pauses   *backoff.ExponentialBackOff
	err      error // what reading ended with
}

// Read implements io.Reader.
func (s *stream) Read(b []byte) (int, error) {
	for s.err == nil && len(b) > 0 {
		if s.at == s.resource.Size {
			s.err = io.EOF
			break
		}
		n, err := s.read(b)
		s.at += int64(n)
		if n > 0 {
			s.tries = 0
			s.pauses.Reset()
		}
		if err != nil {
			s.drop()
			s.err = s.again(err)
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, s.err
}

func (s *stream) read(b []byte) (int, error) {
	if s.part == nil {
		var err error
		if s.resource.Ranges {
			s.part, err = s.client.part(s.ctx, s.resource, s.at, s.resource.Size-s.at)
		} else {
			s.part, err = s.client.whole(s.ctx, s.resource)
		}
		if err != nil {
			return 0, err
		}
	}
	n, err := s.part.Read(b)
	if n > 0 && s.part.left == 0 { // its end is known, and may be bad
		if err = s.part.err; err == io.EOF {
			err = nil
		}
	}
	return n, err
}

// again waits until it is time to take the stream up again; it returns err if
// that is of no use.
func (s *stream) again(err error) error {
	if !s.resource.Ranges || s.resource.Validator == "" || !transient(err) || s.ctx.Err() != nil {
		return err
	}
	if s.tries++; s.tries > maxTries {
		return fmt.Errorf("gave up after %d tries: %w", maxTries, err)
	}
	pause := s.pauses.NextBackOff()
	if asked, ok := errors.AsType[*StatusError](err); ok {
		if asked.Retry > maxRest {
			return err
		}
		pause = max(pause, asked.Retry)
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}

func (s *stream) drop() {
	if s.part != nil {
		s.part.Close()
		s.part = nil
	}
}

// Close implements io.Closer.
func (s *stream) Close() error {
	s.drop()
	if s.err == nil {
		s.err = errClosed
	}
	return nil
}
