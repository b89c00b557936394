package api_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/p2pnode/p2pnode/node/api"
)

// A client reaches a node through whatever passes its API on, and is told in the
// same words that the node, or what passes it on, is not there.
func TestClientAt(t *testing.T) {
	dir := t.TempDir()
	stop := serve(t, dir, &fakeNode{})
	sock, err := api.SocketPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", sock)
	}}
	defer transport.CloseIdleConnections()
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "node"}) },
		Transport: transport,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			api.Refuse(w, api.Errorf(api.NotRunning, "Start it", "node not running: %w", err))
		},
	}
	window := httptest.NewServer(http.StripPrefix("/branch-a-1", proxy))
	defer window.Close()

	c, err := api.NewClientAt(window.URL + "/branch-a-1/")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Live(t.Context()); err != nil {
		t.Errorf("Live: %v", err)
	}
	if _, err := c.Status(t.Context()); err != nil {
		t.Errorf("Status: %v", err)
	}
	stop()
	if _, err := c.Status(t.Context()); !errors.Is(err, api.ErrNotRunning) {
		t.Errorf("Status of a node that stopped: %v, want %v", err, api.ErrNotRunning)
	}
	window.Close()
	if _, err := c.Status(t.Context()); !errors.Is(err, api.ErrNotRunning) {
		t.Errorf("Status with nobody listening: %v, want %v", err, api.ErrNotRunning)
	}
}

func TestClientAtStaysOnThisMachine(t *testing.T) {
	for _, base := range []string{"http://10.0.0.1:80/a", "http://example.org/a", "http://localhost/a", "https://127.0.0.1/a", "127.0.0.1:80", "http://127.0.0.1/a?b", "http://127.0.0.1/a#b", "http://me:secret@127.0.0.1/a", ""} {
		if _, err := api.NewClientAt(base); err == nil {
			t.Errorf("%q passes", base)
		}
	}
}

func TestClientIsSentNowhereElse(t *testing.T) {
	asked := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer other.Close()
	window := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer window.Close()
	c, err := api.NewClientAt(window.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Invite(t.Context(), api.InviteRequest{}); err == nil || asked {
		t.Errorf("invite: %v, asked elsewhere: %t", err, asked)
	}
}
