// Package probe sends bytes from one endpoint of the box to another, and tells
// what arrived: how many, how fast, and from whom.
//
// It is a tool of the testnet program (`testnet probe`), which a suite runs on
// endpoints to see whether the network is what the plan says. What users of a
// network do to it is left to testnet/foreground.
package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// Name is the tool's, behind `testnet`.
const Name = "probe"

// ErrUsage says that Main was called in a wrong way.
var ErrUsage = errors.New("want: probe serve ADDR:PORT, or probe send ADDR:PORT BYTES")

// Arrived is what a server tells of the one connection that it takes.
type Arrived struct {
	From    string        `json:"from"` // the address of the sender, as seen here
	Bytes   int64         `json:"bytes"`
	Elapsed time.Duration `json:"elapsed_ns"` // from the first byte to the last
}

// Listening is the line that a server writes first.
const Listening = "listening"

// Main runs the tool: `serve` writes Listening, takes one connection, and writes
// what Arrived; `send` connects and returns once all has been taken.
func Main(ctx context.Context, args []string, out io.Writer) error {
	switch {
	case len(args) == 2 && args[0] == "serve":
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", args[1])
		if err != nil {
			return err
		}
		return serve(ctx, l, out)
	case len(args) == 3 && args[0] == "send":
		n, err := strconv.ParseInt(args[2], 10, 64)
		if err != nil || n < 0 {
			return ErrUsage
		}
		return send(ctx, args[1], n)
	}
	return ErrUsage
}

func serve(ctx context.Context, l net.Listener, out io.Writer) error {
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	if _, err := fmt.Fprintln(out, Listening); err != nil {
		return err
	}
	c, err := l.Accept()
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	a, err := receive(c)
	if err != nil {
		return err
	}
	a.From, _, err = net.SplitHostPort(c.RemoteAddr().String())
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(a)
}

func receive(r io.Reader) (a Arrived, err error) {
	buf := make([]byte, 256<<10)
	var first time.Time
	for {
		n, err := r.Read(buf)
		if n > 0 && first.IsZero() {
			first = time.Now()
		}
		a.Bytes += int64(n)
		if errors.Is(err, io.EOF) {
			if a.Bytes > 0 {
				a.Elapsed = time.Since(first)
			}
			return a, nil
		}
		if err != nil {
			return a, fmt.Errorf("after %d bytes: %w", a.Bytes, err)
		}
	}
}

func send(ctx context.Context, addr string, n int64) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp4", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	buf := make([]byte, 256<<10)
	for left := n; left > 0; {
		wrote, err := conn.Write(buf[:min(left, int64(len(buf)))])
		left -= int64(wrote)
		if err != nil {
			return fmt.Errorf("after %d bytes: %w", n-left, err)
		}
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	// The other end closes when it has read all.
	if _, err := conn.Read(buf[:1]); !errors.Is(err, io.EOF) {
		return fmt.Errorf("wait for the other end: %w", err)
	}
	return nil
}
