//go:build unix

package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
)

const (
	socketName = "api.sock"
	// maxSocketPath is what fits the kernel's address of a unix socket: 108
	// bytes on Linux, 104 on macOS and BSD, with the ending zero, rounded down.
	maxSocketPath = 100
	// shortRoot holds the sockets of data folders with long names. It isn't
	// os.TempDir: a service and a user's shell differ in TMPDIR, and would
	// look for each other in two places.
	shortRoot = "/tmp"
)

// SocketPath returns where the node that runs on dataDir listens: api.sock in
// that folder, or, if that is longer than a socket's address may be, in a folder
// of the same user's in /tmp whose name is made of the path.
func SocketPath(dataDir string) (string, error) {
	dir, err := clean(dataDir)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, socketName)
	if len(path) <= maxSocketPath {
		return path, nil
	}
	uid := os.Getuid()
	if info, err := os.Stat(dir); err == nil { // root's shell, the node's folder
		uid = int(info.Sys().(*syscall.Stat_t).Uid)
	}
	return filepath.Join(shortRoot, "p2pnode-"+strconv.Itoa(uid)+"-"+shortHash(dir), socketName), nil
}

// URL returns how people are told of the socket at path.
func URL(path string) string { return "unix:" + path }

func listen(path string) (net.Listener, error) {
	dir := filepath.Dir(path)
	// In the data folder this changes nothing: it exists, 0700, before the node
	// listens. Below /tmp it makes the folder, or finds whose it is.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := private(path); err != nil {
		return nil, err
	}
	if err := clear(path); err != nil {
		return nil, err
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		ln.Close()
		return nil, err
	}
	return ln, nil
}

// clear removes the socket of a node that was killed. Two nodes that start at
// the same time are told apart by the lock on the data folder, not here.
func clear(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there and is no socket", path)
	}
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	c, err := dial(ctx, path)
	switch {
	case err == nil:
		c.Close()
		return Errorf(Failed, "See it: p2pnode status", "another node runs on this folder")
	case errors.Is(err, errNobody):
		return os.Remove(path)
	}
	return err
}

// shortFolder is the form of the names that SocketPath gives below shortRoot.
var shortFolder = regexp.MustCompile(`^p2pnode-([0-9]+)-[0-9a-f]{16}$`)

// private checks a socket's folder below /tmp, where every user may make one:
// it must be a real folder of the user in its name, and closed to all others.
func private(path string) error {
	dir := filepath.Dir(path)
	name := shortFolder.FindStringSubmatch(filepath.Base(dir))
	if filepath.Dir(dir) != shortRoot || name == nil {
		return nil
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	uid := info.Sys().(*syscall.Stat_t).Uid
	if !info.IsDir() || info.Mode().Perm() != 0o700 || strconv.FormatUint(uint64(uid), 10) != name[1] {
		return Errorf(NotPermitted, "", "%s belongs to somebody else or is open to others", dir)
	}
	return nil
}

func dial(ctx context.Context, path string) (net.Conn, error) {
	if err := private(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, errNobody
		}
		return nil, err
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, errNobody
	}
	return c, err
}
