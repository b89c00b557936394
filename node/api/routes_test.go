package api

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// A node with no methods: a call that reaches it panics.
type untouched struct{ Node }

// Whoever isn't the owner gets an answer from the open routes and from no other.
func TestStrangersReachOnlyOpenRoutes(t *testing.T) {
	open := map[string]bool{"GET /livez": true, "GET /readyz": true, "GET /metrics": true}
	dir, err := os.MkdirTemp("", "api")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	s, err := NewServer(dir, untouched{}, nil, prometheus.NewRegistry(), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	s.owner = func(net.Conn) bool { return false }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() { cancel(); <-done }()

	path, err := SocketPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	h := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dial(ctx, path)
	}}}
	seen := 0
	for _, r := range routes {
		if open[r.method+" "+r.path] != (r.access == anyone) {
			t.Errorf("%s %s: access %d", r.method, r.path, r.access)
		}
		if r.access == anyone {
			continue
		}
		seen++
		req, err := http.NewRequestWithContext(ctx, r.method, "http://p2pnode"+strings.NewReplacer("{ref}", "x", "{who}", "x", "{site}", "x").Replace(r.path), strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		res, err := h.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var p Problem
		err = json.NewDecoder(res.Body).Decode(&p)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusForbidden || p.Code != NotPermitted {
			t.Errorf("%s %s: %s %+v (%v)", r.method, r.path, res.Status, p, err)
		}
	}
	if seen != len(routes)-len(open) {
		t.Errorf("asked %d of %d routes", seen, len(routes))
	}
}

// The owner reaches contents themselves, as the gateway serves them.
func TestOwnerReachesContents(t *testing.T) {
	files := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { write(w, r.Method+" "+r.URL.Path) })
	for _, given := range []http.Handler{files, nil} {
		srv := httptest.NewUnstartedServer(newServer(untouched{}, given, nopListener{}, prometheus.NewRegistry(), zap.NewNop()).Handler())
		srv.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { return context.WithValue(ctx, ownerKey{}, true) }
		srv.Start()
		for path, want := range map[string]bool{"/content/id/ab": true, "/ipfs/id": true, "/ipns/id": false} {
			res, err := http.Get(srv.URL + path)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(res.Body)
			res.Body.Close()
			if served := string(text) == "GET "+path; err != nil || served != (want && given != nil) || !served && res.StatusCode != http.StatusNotFound {
				t.Errorf("%s: %s %s (%v)", path, res.Status, text, err)
			}
		}
		srv.Close()
	}
}

// A route that says nothing about its callers has none, not even the owner.
func TestRouteWithoutAccessIsClosed(t *testing.T) {
	s := newServer(untouched{}, nil, nopListener{}, prometheus.NewRegistry(), zap.NewNop())
	h := s.guard(route{serve: func(*Server, http.ResponseWriter, *http.Request) error {
		t.Error("served")
		return nil
	}})
	w := httptest.NewRecorder()
	req := httptest.NewRequest("GET", "/", nil)
	h.ServeHTTP(w, req.WithContext(context.WithValue(req.Context(), ownerKey{}, true)))
	if w.Code != http.StatusForbidden {
		t.Errorf("status %d", w.Code)
	}
}

type nopListener struct{ net.Listener }

func (nopListener) Close() error { return nil }

func TestRequestsUnderWayAreBounded(t *testing.T) {
	s := newServer(untouched{}, nil, nopListener{}, prometheus.NewRegistry(), zap.NewNop())
	for range maxRequests {
		s.busy <- struct{}{}
	}
	w := httptest.NewRecorder()
	req := httptest.NewRequest("GET", "/v1/status", nil)
	s.Handler().ServeHTTP(w, req.WithContext(context.WithValue(req.Context(), ownerKey{}, true)))
	if w.Code != http.StatusTooManyRequests {
		t.Errorf("status %d", w.Code)
	}
}

func TestEveryCodeHasAStatus(t *testing.T) {
	for _, c := range Codes() {
		if statuses[c] < 400 {
			t.Errorf("%s: %d", c, statuses[c])
		}
	}
}

// What Marshal puts before an answer's own fields must not stand among them.
func TestNoAnswerHidesItsTypeOrSchema(t *testing.T) {
	for _, v := range []any{Progress{}, FlowStatus{}, AddResult{}, GetResult{}, VerifyResult{}, Error{},
		Status{}, Readiness{}, ContentDetail{}, Removed{}, Pong{}, Invitation{}, Member{}, List[Peer]{}} {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name == "type" || name == "schema" {
				t.Errorf("%T has a field %s", v, name)
			}
		}
	}
}
