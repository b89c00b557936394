package probe

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strconv"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestServerTellsWhatArrived(t *testing.T) {
	for _, n := range []int64{0, 1, 3_000_000} {
		l := listen(t)
		addr := l.Addr().String()
		r, w := io.Pipe()
		served := make(chan error, 1)
		go func() { served <- serve(t.Context(), l, w) }()
		lines := bufio.NewScanner(r)
		if !lines.Scan() || lines.Text() != Listening {
			t.Fatalf("first line %q: %v", lines.Text(), lines.Err())
		}
		sent := make(chan error, 1)
		go func() { sent <- Main(t.Context(), []string{"send", addr, strconv.FormatInt(n, 10)}, io.Discard) }()
		lines.Scan()
		var a Arrived
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			t.Fatal(err)
		}
		if a.Bytes != n || a.From != "127.0.0.1" {
			t.Errorf("%+v, want %d bytes", a, n)
		}
		if err := errors.Join(<-served, <-sent); err != nil {
			t.Error(err)
		}
	}
}

func TestServerEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	served := make(chan error, 1)
	go func() { served <- Main(ctx, []string{"serve", "127.0.0.1:0"}, w) }()
	if _, err := bufio.NewReader(r).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-served; err == nil {
		t.Error("no error")
	}
}

func TestWrongUse(t *testing.T) {
	for _, args := range [][]string{nil, {"serve"}, {"send", "x"}, {"send", "x", "many"}, {"send", "x", "-1"}} {
		if err := Main(t.Context(), args, io.Discard); !errors.Is(err, ErrUsage) {
			t.Errorf("%q: %v", args, err)
		}
	}
}
