package spaces

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"golang.org/x/sys/unix"

	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/scenario"
)

// Usage implements box.Node.
func (n *node) Usage(ctx context.Context) (box.Usage, error) {
	pid, running := n.process()
	if !running {
		return box.Usage{}, fmt.Errorf("usage of %s: it doesn't run", n.Name())
	}
	u, err := scenario.UsageOf(pid)
	if err != nil {
		return box.Usage{}, fmt.Errorf("usage of %s: %w", n.Name(), err)
	}
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return box.Usage{}, fmt.Errorf("usage of %s: %w", n.Name(), err)
	}
	taken := box.Usage{CPU: u.CPU, RSS: u.RSS, PeakRSS: u.PeakRSS, Descriptors: len(open)}
	if err := metrics(ctx, n.proc.Data, taken.Tell); err != nil {
		return box.Usage{}, fmt.Errorf("usage of %s: %w", n.Name(), err)
	}
	return taken, nil
}

// metrics hands on what the node of a data folder serves.
func metrics(ctx context.Context, data string, read func(io.Reader) error) error {
	socket, err := api.SocketPath(data)
	if err != nil {
		return err
	}
	t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	defer t.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://node/metrics", nil)
	if err != nil {
		return err
	}
	res, err := t.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("read metrics: %w", err)
	}
	defer res.Body.Close()
	return read(res.Body)
}

// stateOf returns the state of a process, a letter of proc(5): T is stopped.
func stateOf(pid int) (byte, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// It stands behind the name in parentheses, which may hold anything.
	at := bytes.LastIndexByte(text, ')') + 2
	if at >= len(text) {
		return 0, fmt.Errorf("short /proc/%d/stat", pid)
	}
	return text[at], nil
}

// fill makes or remakes a file in a file system so that so many bytes stay free.
// Others may take some of them meanwhile: then it leaves less.
func fill(dir, file string, free int64) error {
	for {
		if err := os.RemoveAll(file); err != nil {
			return err
		}
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			return fmt.Errorf("ask for the space in %s: %w", dir, err)
		}
		size := int64(st.Bavail)*int64(st.Bsize) - free
		if size <= 0 {
			return nil // there is less already
		}
		f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		err = errors.Join(unix.Fallocate(int(f.Fd()), 0, 0, size), f.Close())
		if !errors.Is(err, unix.ENOSPC) {
			return err
		}
	}
}
