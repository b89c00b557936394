package inside

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// answering serves a handler on a unix socket until the test ends.
func answering(t *testing.T, socket string, h http.HandlerFunc) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
}

// look makes a request of the window as a browser or a script would.
func look(t *testing.T, w *Window, method, host, path string, header ...string) (int, string) {
	t.Helper()
	r := httptest.NewRequestWithContext(context.Background(), method, path, nil)
	r.Host = host
	if len(header) > 0 {
		r.Header.Set(header[0], header[1])
	}
	rec := httptest.NewRecorder()
	w.Handler().ServeHTTP(rec, r)
	return rec.Code, rec.Body.String()
}

func TestWindow(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("not on windows")
	}
	dir, err := os.MkdirTemp("", "w") // short, for the sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	nodes, routers := filepath.Join(dir, "n"), filepath.Join(dir, "r")
	echo := func(name string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s %s %s", name, r.Method, r.URL) }
	}
	for _, n := range []string{"publisher", "branch-a-10", "branch-a-2"} {
		answering(t, filepath.Join(nodes, n, "node", "api.sock"), echo(n))
	}
	if err := os.MkdirAll(filepath.Join(nodes, "operator"), 0o755); err != nil {
		t.Fatal(err)
	}
	answering(t, filepath.Join(routers, "hq"), echo("router"))
	w, err := NewWindow(nodes, routers, []string{"hq"})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"publisher", "operator", "branch-a-2", "branch-a-10"}; !slices.Equal(w.nodes, want) {
		t.Errorf("nodes %v, want %v", w.nodes, want)
	}
	const here = "127.0.0.1:4790"
	for _, c := range []struct {
		method, host, path string
		header             []string
		code               int
		text               string
	}{
		{"GET", here, "/publisher/v1/status", nil, 200, "publisher GET /v1/status"},
		{"POST", "localhost:1", "/branch-a-2/v1/flows?x=1", nil, 200, "branch-a-2 POST /v1/flows?x=1"},
		{"GET", "127.0.0.1", "/publisher/v1/status", nil, 200, "publisher GET /v1/status"},
		{"PUT", here, "/links/hq/v1/link/up", nil, 200, "router PUT /v1/link/up"},
		{"GET", here, "/operator/v1/status", nil, 503, `"code":"not-running"`},
		{"GET", here, "/links/nowhere/v1/link/up", nil, 404, "no node or link"},
		{"GET", here, "/publisher", nil, 404, "no node or link"},
		{"GET", here, "/", nil, 200, "<th scope=\"row\">branch-a-10"},
		// A page of elsewhere in a browser of this machine.
		{"POST", here, "/publisher/v1/contents", []string{"Sec-Fetch-Site", "cross-site"}, 403, ""},
		{"GET", "evil.example:4790", "/publisher/v1/status", nil, 421, ""},
		{"GET", "127.0.0.1.evil.example", "/publisher/v1/status", nil, 421, ""},
		{"POST", here, "/publisher/v1/contents", []string{"Origin", "http://evil.example"}, 403, ""},
	} {
		code, text := look(t, w, c.method, c.host, c.path, c.header...)
		if code != c.code || !strings.Contains(text, c.text) {
			t.Errorf("%s %s%s: %d %q, want %d and %q", c.method, c.host, c.path, code, text, c.code, c.text)
		}
	}
}

func TestNodesAreKnownByTheirCommand(t *testing.T) {
	for line, want := range map[string]bool{
		"/p2pnode\x00run\x00--site\x00hq\x00": true,
		"/p2pnode\x00get\x00run\x00":          false,
		"/p2pnode\x00":                        false,
		"":                                    false,
	} {
		if got := runs([]byte(line)); got != want {
			t.Errorf("%q: %v, want %v", line, got, want)
		}
	}
}
