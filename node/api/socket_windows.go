package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os/user"

	"github.com/Microsoft/go-winio"
)

// pipeBuffer is the memory for each direction of a connection, in bytes.
const pipeBuffer = 64 << 10

// SocketPath returns the name of the pipe on which the node that runs on dataDir
// listens; it is made of the folder's path.
func SocketPath(dataDir string) (string, error) {
	dir, err := clean(dataDir)
	if err != nil {
		return "", err
	}
	return `\\.\pipe\p2pnode-` + shortHash(dir), nil
}

// URL returns how people are told of the pipe at path.
func URL(path string) string { return path }

// listen makes the pipe; it fails if the name is taken, by another node or by
// somebody who waits for one. Allowed are the user that runs the node, the
// system, and administrators; the access list inherits nothing.
func listen(path string) (net.Listener, error) {
	u, err := user.Current()
	if err != nil {
		return nil, fmt.Errorf("find this user's SID: %w", err)
	}
	return winio.ListenPipe(path, &winio.PipeConfig{
		SecurityDescriptor: "D:P(A;;GA;;;" + u.Uid + ")(A;;GA;;;SY)(A;;GA;;;BA)",
		InputBufferSize:    pipeBuffer,
		OutputBufferSize:   pipeBuffer,
	})
}

// dial connects anonymously: whoever holds the other end can't act as us.
func dial(ctx context.Context, path string) (net.Conn, error) {
	c, err := winio.DialPipeContext(ctx, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNobody
	}
	return c, err
}
