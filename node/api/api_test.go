package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/node/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// folder returns a data folder whose path is short enough for a socket; names
// of t.TempDir grow with those of tests.
func folder(t *testing.T) string {
	dir, err := os.MkdirTemp("", "api")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// serve runs node on a socket of dir until stop, or the test, ends.
func serve(t *testing.T, dir string, node api.Node) (stop func()) {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "p2pnode_test_total"}))
	s, err := api.NewServer(dir, node, nil, reg, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close after Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func client(t *testing.T, dir string) *api.Client {
	t.Helper()
	c, err := api.NewClient(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// raw makes a request as curl --unix-socket would.
func raw(t *testing.T, dir, method, path, body string, header ...string) (status int, kind, text string) {
	t.Helper()
	sock, err := api.SocketPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	h := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", sock)
	}}}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://localhost"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := h.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header.Get("Content-Type"), string(b)
}

// Whatever the node answers, a client gets the same.
func TestClientIsTheNodeAtTheOtherEnd(t *testing.T) {
	dir, node := folder(t), &fakeNode{}
	node.ready.Store(true)
	serve(t, dir, node)
	c := client(t, dir)
	ctx := t.Context()
	report := func(api.Progress) {}

	calls := map[string]func(api.Node) (any, error){
		"Status":       func(n api.Node) (any, error) { return n.Status(ctx) },
		"Ready":        func(n api.Node) (any, error) { return n.Ready(ctx) },
		"Doctor":       func(n api.Node) (any, error) { return n.Doctor(ctx) },
		"Contents":     func(n api.Node) (any, error) { l, err := n.Contents(ctx); return len(l), err },
		"Content":      func(n api.Node) (any, error) { d, err := n.Content(ctx, "pos@7.2+a"); return d.Content, err },
		"Remove":       func(n api.Node) (any, error) { return n.Remove(ctx, "pos@7.2") },
		"Verify":       func(n api.Node) (any, error) { return n.Verify(ctx, "pos", report) },
		"Peers":        func(n api.Node) (any, error) { return n.Peers(ctx) },
		"Refusals":     func(n api.Node) (any, error) { return n.Refusals(ctx) },
		"Ping":         func(n api.Node) (any, error) { return n.Ping(ctx, "hq") },
		"Decisions":    func(n api.Node) (any, error) { return n.Decisions(ctx, 17) },
		"Why":          func(n api.Node) (any, error) { return n.Why(ctx, "pos@7.2+a", 17) },
		"Why of all":   func(n api.Node) (any, error) { return n.Why(ctx, "pos", api.AllChunks) },
		"Sites":        func(n api.Node) (any, error) { return n.Sites(ctx) },
		"Site":         func(n api.Node) (any, error) { return n.Site(ctx, "hq/2 b") },
		"own Site":     func(n api.Node) (any, error) { return n.Site(ctx, "") },
		"missing Site": func(n api.Node) (any, error) { return n.Site(ctx, "missing") },
		"SignSites":    func(n api.Node) (any, error) { return n.SignSites(ctx, api.SignSitesRequest{Text: "10.0.0.0/8 a"}) },
		"CheckSites": func(n api.Node) (any, error) {
			return n.CheckSites(ctx, api.CheckSitesRequest{Envelope: []byte("signed x")})
		},
		"Members": func(n api.Node) (any, error) { l, err := n.Members(ctx); return l[0].Peer, err },
		"Revoke": func(n api.Node) (any, error) {
			m, err := n.Revoke(ctx, "b1", api.RevokeRequest{Reason: "lost"})
			return m.Reason, err
		},
		"Invite": func(n api.Node) (any, error) {
			i, err := n.Invite(ctx, api.InviteRequest{Site: "b", Uses: 3, Expires: api.Seconds(time.Hour)})
			i.Bootstrap = nil
			return i, err
		},
		"Add": func(n api.Node) (any, error) {
			return n.Add(ctx, api.AddRequest{Paths: []string{"/a"}, Name: "pos", Labels: map[string]string{"k": "v"}}, report)
		},
		"Get": func(n api.Node) (any, error) {
			return n.Get(ctx, api.GetRequest{Ref: "pos", Output: "/tmp/x", Timeout: api.Seconds(time.Second)}, func(api.FlowStatus) {})
		},
		"missing Get": func(n api.Node) (any, error) {
			return n.Get(ctx, api.GetRequest{Ref: "missing", Output: "/tmp/x"}, func(api.FlowStatus) {})
		},
		"missing Content": func(n api.Node) (any, error) { _, err := n.Content(ctx, "missing"); return nil, err },
		"missing Ping":    func(n api.Node) (any, error) { _, err := n.Ping(ctx, "missing"); return nil, err },
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			want, wantErr := call(node)
			got, gotErr := call(c)
			if name == "Status" {
				want, got = want.(api.Status).Peer, got.(api.Status).Peer
			}
			if wantErr == nil {
				if gotErr != nil {
					t.Fatal(gotErr)
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Error(d)
				}
				return
			}
			w, g := api.From(wantErr), api.From(gotErr)
			if w.Code != g.Code || w.Message != g.Message || w.Next != g.Next || !cmp.Equal(w.Tried, g.Tried) {
				t.Errorf("error %#v, want %#v", g, w)
			}
		})
	}
	if got := node.added.Load(); got.Labels["k"] != "v" || got.Paths[0] != "/a" {
		t.Errorf("the node was asked to add %+v", got)
	}
}

func TestAnswersHaveASchemaAndNoNull(t *testing.T) {
	dir := folder(t)
	serve(t, dir, &fakeNode{})
	for _, path := range []string{"/v1/status", "/v1/contents", "/v1/contents/x", "/v1/peers", "/v1/members", "/v1/checks"} {
		status, kind, text := raw(t, dir, "GET", path, "")
		if status != 200 || kind != "application/json" || !strings.HasPrefix(text, `{"schema":1,`) {
			t.Errorf("%s: %d %s %s", path, status, kind, text)
		}
		if strings.Contains(text, "null") {
			t.Errorf("%s has a null: %s", path, text)
		}
	}
	_, kind, text := raw(t, dir, "POST", "/v1/contents", `{"paths":["/a"]}`)
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if kind != "application/x-ndjson" || !strings.HasPrefix(lines[len(lines)-1], `{"type":"summary","schema":1,"content":"bafyadd"`) {
		t.Errorf("%s: %s", kind, text)
	}
	if !strings.Contains(lines[len(lines)-1], `"rate_bits_per_second":8000000,"seconds":1.5}`) {
		t.Errorf("units: %s", text)
	}
}

func TestProblemsSayWhatToDo(t *testing.T) {
	dir := folder(t)
	serve(t, dir, &fakeNode{})
	tests := map[string]struct {
		method, path, body string
		header             []string
		status             int
		code               api.Code
	}{
		"not found":        {"GET", "/v1/contents/missing", "", nil, 404, api.NotFound},
		"no such call":     {"GET", "/v1/nothing", "", nil, 404, api.NotFound},
		"other method":     {"PUT", "/v1/contents", `{}`, nil, 404, api.NotFound},
		"unknown field":    {"POST", "/v1/flows", `{"ref":"x","output":"/x","ouput":1}`, nil, 400, api.Usage},
		"two objects":      {"POST", "/v1/invites", `{"site":"x"}{}`, nil, 400, api.Usage},
		"no content type":  {"POST", "/v1/flows", "", nil, 400, api.Usage},
		"relative path":    {"POST", "/v1/contents", `{"paths":["a"]}`, nil, 400, api.Usage},
		"relative output":  {"POST", "/v1/flows", `{"ref":"x","output":"a"}`, nil, 400, api.Usage},
		"no path":          {"POST", "/v1/contents", `{}`, nil, 400, api.Usage},
		"endless time":     {"POST", "/v1/flows", `{"ref":"x","output":"/a","timeout_seconds":1e300}`, nil, 400, api.Usage},
		"negative uses":    {"POST", "/v1/invites", `{"site":"x","uses":-1}`, nil, 400, api.Usage},
		"too many choices": {"GET", "/v1/decisions?limit=1000000000", "", nil, 400, api.Usage},
		"large body":       {"POST", "/v1/invites", `{"site":"` + strings.Repeat("x", 1<<20) + `"}`, nil, 400, api.Usage},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			status, kind, text := raw(t, dir, tt.method, tt.path, tt.body, tt.header...)
			var p api.Problem
			if err := json.Unmarshal([]byte(text), &p); err != nil {
				t.Fatalf("%v in %q", err, text)
			}
			if status != tt.status || kind != "application/problem+json" || p.Code != tt.code || p.Status != status || p.Detail == "" || p.Type != "urn:p2pnode:problem:"+string(tt.code) {
				t.Errorf("%d %s %+v", status, kind, p)
			}
		})
	}
}

func TestPagesOfOtherSitesCannotAct(t *testing.T) {
	dir := folder(t)
	serve(t, dir, &fakeNode{})
	for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Origin", "https://example.com"}} {
		status, _, text := raw(t, dir, "POST", "/v1/peers/hq/ping", "", header...)
		if status != http.StatusForbidden {
			t.Errorf("%v: %d %s", header, status, text)
		}
	}
}

func TestHealth(t *testing.T) {
	dir, node := folder(t), &fakeNode{}
	serve(t, dir, node)
	if status, _, text := raw(t, dir, "GET", "/livez", ""); status != 200 || text != "ok\n" {
		t.Errorf("livez: %d %q", status, text)
	}
	if status, _, text := raw(t, dir, "GET", "/readyz?verbose", ""); status != 503 || text != "[+]store ok\n[-]dht 2 peers\nnot ready\n" {
		t.Errorf("readyz before: %d %q", status, text)
	}
	node.ready.Store(true)
	if status, _, text := raw(t, dir, "GET", "/readyz", ""); status != 200 || text != "ready\n" {
		t.Errorf("readyz after: %d %q", status, text)
	}
	if status, _, text := raw(t, dir, "GET", "/metrics", ""); status != 200 || !strings.Contains(text, "p2pnode_test_total 0") {
		t.Errorf("metrics: %d %q", status, text)
	}
}

// A reader gets the newest status, not every one, and the summary behind them.
func TestStatusLinesAreBoundedInRate(t *testing.T) {
	dir, node := folder(t), &fakeNode{}
	const reports = 10_000
	node.get = func(_ context.Context, _ api.GetRequest, report func(api.FlowStatus)) (api.GetResult, error) {
		for i := range reports {
			report(api.FlowStatus{Done: int64(i)})
		}
		return api.GetResult{Size: reports}, nil
	}
	serve(t, dir, node)
	var got []int64
	began := time.Now()
	res, err := client(t, dir).Get(t.Context(), api.GetRequest{Ref: "x", Output: "/x"}, func(s api.FlowStatus) { got = append(got, s.Done) })
	if err != nil || res.Size != reports {
		t.Fatal(res, err)
	}
	if took := time.Since(began); len(got) > 3+int(took/(200*time.Millisecond)) {
		t.Errorf("%d lines for %d reports in %v", len(got), reports, took)
	}
}

func TestErrorAfterTheFirstLineIsALine(t *testing.T) {
	dir, node := folder(t), &fakeNode{}
	seen := make(chan struct{})
	node.get = func(ctx context.Context, _ api.GetRequest, report func(api.FlowStatus)) (api.GetResult, error) {
		report(api.FlowStatus{Phase: api.Fetching})
		<-seen
		return api.GetResult{}, fmt.Errorf("write /x: %w", content.ErrNoSpace)
	}
	serve(t, dir, node)
	_, err := client(t, dir).Get(t.Context(), api.GetRequest{Ref: "x", Output: "/x"}, func(api.FlowStatus) { close(seen) })
	if e := api.From(err); e.Code != api.NoSpace || e.Message != "write /x: no space" {
		t.Errorf("%#v", e)
	}
}

func TestLeavingCallerCancelsTheWork(t *testing.T) {
	dir, node := folder(t), &fakeNode{}
	ended := make(chan error, 1)
	node.get = func(ctx context.Context, _ api.GetRequest, report func(api.FlowStatus)) (api.GetResult, error) {
		report(api.FlowStatus{Phase: api.Finding})
		<-ctx.Done()
		ended <- ctx.Err()
		return api.GetResult{}, ctx.Err()
	}
	serve(t, dir, node)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := client(t, dir).Get(ctx, api.GetRequest{Ref: "x", Output: "/x"}, func(api.FlowStatus) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("client: %v", err)
	}
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("the work goes on without its caller")
	}
}

func TestStoppingNodeEndsRequests(t *testing.T) {
	dir, node := folder(t), &fakeNode{}
	cause := make(chan error, 1)
	node.get = func(ctx context.Context, _ api.GetRequest, report func(api.FlowStatus)) (api.GetResult, error) {
		report(api.FlowStatus{Phase: api.Finding})
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return api.GetResult{}, fmt.Errorf("get: %w", ctx.Err())
	}
	stop := serve(t, dir, node)
	_, err := client(t, dir).Get(t.Context(), api.GetRequest{Ref: "x", Output: "/x"}, func(api.FlowStatus) { go stop() })
	stop()
	if e := api.From(err); !errors.Is(err, api.ErrNotRunning) || !strings.Contains(e.Next, "p2pnode run") {
		t.Errorf("%#v", e)
	}
	if err := <-cause; errors.Is(err, context.Canceled) {
		t.Errorf("the work ended with its connection: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "api.sock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// An answer without its last line was cut off, and must not pass for success.
func TestCutOffAnswerIsAnError(t *testing.T) {
	dir := folder(t)
	path, err := api.SocketPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, `{"type":"status","schema":1,"done_bytes":1}`)
	})}
	go srv.Serve(ln)
	defer srv.Close()
	_, err = client(t, dir).Get(t.Context(), api.GetRequest{Ref: "x", Output: "/x"}, nil)
	if !errors.Is(err, api.ErrNotRunning) {
		t.Errorf("error %v", err)
	}
}

func TestMarshalRefusesWhatIsNoObject(t *testing.T) {
	if b, err := api.Marshal([]int{1}); err == nil {
		t.Errorf("made %s", b)
	}
	b, err := api.Marshal(struct{}{})
	if err != nil || !bytes.Equal(b, []byte(`{"schema":1}`)) {
		t.Errorf("%s %v", b, err)
	}
}

func TestSecondsRoundTrip(t *testing.T) {
	for _, d := range []time.Duration{0, time.Microsecond, 1500 * time.Millisecond, 36 * time.Hour, -time.Second} {
		b, err := json.Marshal(api.Seconds(d))
		if err != nil {
			t.Fatal(err)
		}
		var got api.Seconds
		if err := json.Unmarshal(b, &got); err != nil || time.Duration(got) != d {
			t.Errorf("%v became %s became %v (%v)", d, b, time.Duration(got), err)
		}
	}
}

func TestFromFindsTheCode(t *testing.T) {
	inner := api.Errorf(api.TimedOut, "Wait", "ping: %w", context.DeadlineExceeded)
	tests := map[string]struct {
		err  error
		code api.Code
	}{
		"not found":  {fmt.Errorf("get: %w", content.ErrNotFound), api.NotFound},
		"bad id":     {fmt.Errorf("get: %w", content.ErrID), api.Usage},
		"corrupt":    {fmt.Errorf("get: %w", content.ErrCorrupt), api.Corrupt},
		"deadline":   {fmt.Errorf("get: %w", context.DeadlineExceeded), api.TimedOut},
		"permission": {&os.PathError{Op: "open", Path: "/x", Err: os.ErrPermission}, api.NotPermitted},
		"other":      {errors.New("broken"), api.Failed},
		"wrapped":    {fmt.Errorf("wait: %w", inner), api.TimedOut},
	}
	for name, tt := range tests {
		e := api.From(tt.err)
		if e.Code != tt.code || e.Message != tt.err.Error() || !errors.Is(e, tt.err) {
			t.Errorf("%s: %#v", name, e)
		}
	}
	if e := api.From(fmt.Errorf("wait: %w", inner)); e.Next != "Wait" {
		t.Errorf("the next step is lost: %#v", e)
	}
	full := &os.PathError{Op: "write", Path: "/data/trust/state.a.tmp", Err: syscall.ENOSPC}
	if e := api.From(full); e.Code != api.NoSpace || !strings.Contains(e.Next, "p2pnode content rm") {
		t.Errorf("what to do about a full disk: %#v", e)
	}
}
