package origin

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A lab is an HTTP server and a client without a network between them, for use
// in a bubble of synctest.
type lab struct {
	*Client
	listener *pipeListener
	server   *http.Server
	serving  chan error

	mu    sync.Mutex
	asked []time.Time
}

// newLab serves h; with a certificate over TLS, too. The caller closes it.
func newLab(t testing.TB, h http.HandlerFunc, cfg Config, certs ...tls.Certificate) *lab {
	t.Helper()
	l := &lab{listener: newPipeListener(), serving: make(chan error, 1)}
	cfg.Dial = l.listener.Dial
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l.Client = c
	l.server = &http.Server{
		ErrorLog: log.New(io.Discard, "", 0),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			l.mu.Lock()
			l.asked = append(l.asked, time.Now())
			l.mu.Unlock()
			h(w, r)
		}),
	}
	var listen net.Listener = l.listener
	if len(certs) > 0 {
		listen = tls.NewListener(listen, &tls.Config{Certificates: certs})
	}
	go func() { l.serving <- l.server.Serve(listen) }()
	return l
}

func (l *lab) close() {
	l.Client.Close()
	l.server.Close()
	<-l.serving
}

func (l *lab) requests() []time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]time.Time(nil), l.asked...)
}

// A pipeListener makes connections in memory.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	dials  atomic.Int32
	read   atomic.Int64 // bytes, by clients
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

func (l *pipeListener) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	l.dials.Add(1)
	here, there := net.Pipe()
	select {
	case l.conns <- there:
		return countedConn{here, &l.read}, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type countedConn struct {
	net.Conn
	read *atomic.Int64
}

func (c countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read.Add(int64(n))
	return n, err
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b)
	return b
}
