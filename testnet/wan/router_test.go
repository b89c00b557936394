package wan

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/p2pnode/p2pnode/bandwidth"
)

// fakeLink does what it is set to and has carried what it is told.
type fakeLink struct {
	mu       sync.Mutex
	settings [2]Settings
	counts   [2]Counts
}

func (l *fakeLink) Set(d Direction, s Settings) error {
	if s.Rate == 13*bandwidth.BitPerSecond {
		return errors.New("no such luck")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settings[d] = s
	return nil
}

func (l *fakeLink) Settings(d Direction) Settings {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.settings[d]
}

func (l *fakeLink) Counts(d Direction) Counts { return l.counts[d] }

// controlled serves control of a link on a unix socket.
func controlled(t *testing.T, l link) *Control {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: control(l), ReadTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		<-ended
	})
	return NewControl(socket)
}

func TestControlSetsAndReadsEachDirection(t *testing.T) {
	l := &fakeLink{}
	l.counts[Back] = Counts{Missed: 7, Latest: time.Second, Classes: []ClassCount{{"voice", Count{Delivered: Tally{3, 4500}, Queueing: time.Minute}}}}
	c := controlled(t, l)
	ctx := t.Context()
	want := parsed(t, "rate=20mbit delay=20ms jitter=5ms loss=1% burst=8 outage=10s+2s/1m")
	if err := c.Set(ctx, Forth, want); err != nil {
		t.Fatal(err)
	}
	up, err := c.State(ctx, Forth)
	if err != nil {
		t.Fatal(err)
	}
	if up.Settings != want.String() {
		t.Errorf("up is %q, want %q", up.Settings, want)
	}
	down, err := c.State(ctx, Back)
	if err != nil {
		t.Fatal(err)
	}
	if down.Settings != "rate=unlimited" {
		t.Errorf("down is %q and was never set", down.Settings)
	}
	if got := down.Counts; got.Missed != 7 || got.Latest != time.Second || len(got.Classes) != 1 || got.Classes[0] != l.counts[Back].Classes[0] {
		t.Errorf("down has counted %+v, want %+v", got, l.counts[Back])
	}
}

func TestControlSaysWhatIsWrong(t *testing.T) {
	c := controlled(t, &fakeLink{})
	if err := c.Set(t.Context(), Forth, Settings{Rate: 13 * bandwidth.BitPerSecond}); err == nil || !strings.Contains(err.Error(), "no such luck") {
		t.Errorf("%v: want what the router says", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.State(ctx, Forth); !errors.Is(err, context.Canceled) {
		t.Errorf("%v: want %v", err, context.Canceled)
	}
	gone := NewControl(filepath.Join(t.TempDir(), "none"))
	if _, err := gone.State(t.Context(), Forth); err == nil {
		t.Error("a router that isn't there answers")
	}
}

// Whoever speaks to the socket with something else than Control gets an answer
// that is an error, and the link stays as it is.
func TestControlRefusesWhatItDoesNotKnow(t *testing.T) {
	l := &fakeLink{}
	answers := control(l)
	for _, r := range []struct {
		method, path, body string
		want               int
	}{
		{"PUT", "/v1/link/up", "rate=20furlongs", http.StatusBadRequest},
		{"PUT", "/v1/link/up", strings.Repeat(" ", maxRequest+1), http.StatusBadRequest},
		{"PUT", "/v1/link/sideways", "rate=1mbit", http.StatusNotFound},
		{"POST", "/v1/link/up", "rate=1mbit", http.StatusMethodNotAllowed},
		{"GET", "/", "", http.StatusNotFound},
	} {
		w := httptest.NewRecorder()
		answers.ServeHTTP(w, httptest.NewRequest(r.method, r.path, strings.NewReader(r.body)))
		if w.Code != r.want {
			t.Errorf("%s %s %.20q: %d, want %d", r.method, r.path, r.body, w.Code, r.want)
		}
	}
	if got := l.Settings(Forth).String(); got != "rate=unlimited" {
		t.Errorf("the link is %q now", got)
	}
}

func TestParseRoute(t *testing.T) {
	r, err := ParseRoute("10.77.2.9/24=10.77.0.12")
	if err != nil || r.To.String() != "10.77.2.0/24" || r.Via.String() != "10.77.0.12" {
		t.Errorf("%v, %v", r, err)
	}
	for _, bad := range []string{"", "10.77.2.0/24", "10.77.2.0=10.77.0.12", "10.77.2.0/24=there"} {
		if _, err := ParseRoute(bad); err == nil || !strings.Contains(err.Error(), "want one as in") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
