package gateway_test

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"
)

// A client speaks with a handler over pipes in memory, so that a test in a bubble
// of synctest can do it.
type client struct {
	t      *testing.T
	http   *http.Client
	server *http.Server
	conns  chan net.Conn
	done   chan struct{}
	ended  sync.WaitGroup
}

func newClient(t *testing.T, h http.Handler) *client {
	c := &client{t: t, conns: make(chan net.Conn), done: make(chan struct{})}
	c.server = &http.Server{Handler: h}
	c.ended.Go(func() { _ = c.server.Serve(pipes{c}) })
	c.http = &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			here, there := net.Pipe()
			c.conns <- there
			return here, nil
		},
	}}
	return c
}

// get asks for a path, in the background; the answer is there once it begins.
func (c *client) get(path, span string) chan *http.Response {
	out := make(chan *http.Response, 1)
	c.ended.Go(func() {
		req, err := http.NewRequest("GET", "http://localhost"+path, nil)
		if err != nil {
			c.t.Error(err)
			return
		}
		if span != "" {
			req.Header.Set("Range", span)
		}
		res, err := c.http.Do(req)
		if err != nil {
			c.t.Error(err)
			res = &http.Response{Body: http.NoBody}
		}
		out <- res
	})
	return out
}

func (c *client) close() {
	close(c.done)
	_ = c.server.Close()
	c.ended.Wait()
}

// pipes is a listener to what a client dials.
type pipes struct{ c *client }

func (p pipes) Accept() (net.Conn, error) {
	select {
	case <-p.c.done:
		return nil, net.ErrClosed
	case conn := <-p.c.conns:
		return conn, nil
	}
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }
