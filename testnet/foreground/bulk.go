package foreground

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// download takes all that one connection brings until the time is over. A
// connection that breaks is opened again: a user would.
func (c *client) download(ctx context.Context) (bytes int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.For)
	defer cancel()
	for {
		n, err := c.drink(ctx)
		bytes += n
		switch {
		case errors.Is(ctx.Err(), context.DeadlineExceeded):
			return bytes, nil
		case ctx.Err() != nil:
			return bytes, ctx.Err()
		case bytes == 0:
			return 0, err // there is no server, say
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			continue // which of the two it was stands above
		}
	}
}

func (c *client) drink(ctx context.Context) (bytes int64, err error) {
	s, err := c.open(ctx)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	if _, err := fmt.Fprintf(s, "%s\n", verbBulk); err != nil {
		return 0, fmt.Errorf("ask for all there is: %w", err)
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := s.in.Read(buf)
		bytes += int64(n)
		s.count(n)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the server closed the connection")
			}
			return bytes, fmt.Errorf("read: %w", err)
		}
	}
}
