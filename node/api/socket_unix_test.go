//go:build unix

package api

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// open listens as a node on dir does.
func open(dir string) (*Server, error) {
	return NewServer(dir, untouched{}, nil, prometheus.NewRegistry(), zap.NewNop())
}

func short(t *testing.T) string {
	dir, err := os.MkdirTemp("", "api")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestSocketIsPrivate(t *testing.T) {
	dir := short(t)
	ln, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	info, err := os.Lstat(filepath.Join(dir, socketName))
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}

func TestSecondNodeOnAFolderIsRefused(t *testing.T) {
	dir := short(t)
	ln, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if _, err := open(dir); err == nil || !strings.Contains(err.Error(), "another node runs") {
		t.Errorf("second: %v", err)
	}
}

func TestSocketOfAKilledNodeIsCleared(t *testing.T) {
	dir := short(t)
	path := filepath.Join(dir, socketName)
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	ln, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()

	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(dir); err == nil {
		t.Error("a file of another kind was taken for a socket")
	}
	if b, _ := os.ReadFile(path); string(b) != "mine" {
		t.Error("a file of another kind was removed")
	}
}

func TestLongFolderHasAShortPrivateSocket(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path, err := SocketPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(path) > maxSocketPath {
		t.Fatalf("%s has %d bytes", path, len(path))
	}
	t.Cleanup(func() { os.RemoveAll(filepath.Dir(path)) })

	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if got, err := SocketPath(filepath.Join(link, ".")); err != nil || len(got) > maxSocketPath {
		t.Errorf("over a link: %s %v", got, err)
	} else if got != path {
		t.Errorf("over a link: %s, want %s", got, path)
	}

	if _, err := dial(t.Context(), path); !errors.Is(err, errNobody) {
		t.Errorf("before anybody listens: %v", err)
	}
	ln, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	c, err := dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	ln.Close()

	// Somebody made the folder first, and left it open.
	if err := os.Chmod(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := open(dir); !errors.Is(err, &Error{Code: NotPermitted}) {
		t.Errorf("listen in an open folder: %v", err)
	}
	if _, err := dial(t.Context(), path); !errors.Is(err, &Error{Code: NotPermitted}) {
		t.Errorf("dial in an open folder: %v", err)
	}
}
