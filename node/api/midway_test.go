package api_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/p2pnode/p2pnode/node/api"
)

// A node that is killed while it is asked, before or in its answer, wasn't there:
// callers start it and ask again.
func TestNodeThatEndsMidwayIsNotRunning(t *testing.T) {
	for _, answer := range []string{"", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"items\":["} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					_, _ = io.Copy(io.Discard, r.Body)
				}
				_, _ = io.WriteString(conn, answer)
				_ = conn.Close()
			}
		}()
		c, err := api.NewClientAt("http://" + l.Addr().String() + "/node")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Contents(t.Context()); !errors.Is(err, api.ErrNotRunning) {
			t.Errorf("after %q: %v, want %v", answer, err, api.ErrNotRunning)
		}
		if _, err := c.Get(t.Context(), api.GetRequest{}, nil); !errors.Is(err, api.ErrNotRunning) {
			t.Errorf("get, after %q: %v, want %v", answer, err, api.ErrNotRunning)
		}
		c.Close()
		_ = l.Close()
		<-ended
	}
}
