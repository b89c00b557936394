package meter

import (
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// A wire joins two sockets in memory. Its ways may take time and lose packets.
type wire struct {
	ends [2]*end
}

type end struct {
	addr  *net.UDPAddr
	other *end
	inbox chan datagram
	fails chan error    // what a read is to return
	ended chan struct{} // closed by the first Close

	mu     sync.Mutex
	delay  time.Duration       // of what is sent from here
	lose   func(b []byte) bool // of what is sent from here
	sent   [][]byte
	closed int
}

type datagram struct {
	b    []byte
	from net.Addr
}

func newWire() *wire {
	w := &wire{}
	for i := range w.ends {
		w.ends[i] = &end{
			addr:  &net.UDPAddr{IP: net.IPv4(10, 0, 0, byte(1+i)), Port: 4001},
			inbox: make(chan datagram, 1024), fails: make(chan error, 1), ended: make(chan struct{}),
		}
	}
	w.ends[0].other, w.ends[1].other = w.ends[1], w.ends[0]
	return w
}

func (e *end) addrPort() netip.AddrPort { return e.addr.AddrPort() }

// set changes the way from here.
func (e *end) set(delay time.Duration, lose func(b []byte) bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.delay, e.lose = delay, lose
}

// packets returns what was sent from here.
func (e *end) packets() [][]byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sent
}

// inject delivers b to e as if from had sent it.
func (e *end) inject(b []byte, from net.Addr) { e.inbox <- datagram{b, from} }

func (e *end) WriteTo(b []byte, to net.Addr) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	b = append([]byte(nil), b...)
	e.sent = append(e.sent, b)
	if e.lose == nil || !e.lose(b) {
		time.AfterFunc(e.delay, func() { e.other.inject(b, e.addr) })
	}
	return len(b), nil
}

func (e *end) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case d := <-e.inbox:
		return copy(b, d.b), d.from, nil
	case err := <-e.fails:
		return 0, nil, err
	case <-e.ended:
		return 0, nil, net.ErrClosed
	}
}

func (e *end) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed++; e.closed == 1 {
		close(e.ended)
	}
	return nil
}

// A deadline stops no read that has begun, as on a socket that is shared with QUIC.
func (e *end) SetReadDeadline(time.Time) error  { return nil }
func (e *end) LocalAddr() net.Addr              { return e.addr }
func (e *end) SetDeadline(time.Time) error      { return nil }
func (e *end) SetWriteDeadline(time.Time) error { return nil }

// run starts a port on conn for as long as the test runs.
func run(t testing.TB, conn net.PacketConn, cfg Config) *Port {
	t.Helper()
	p, err := NewPort(conn, cfg)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- p.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return p
}

func open(t testing.TB, p *Port, k Key, s Side, peer netip.AddrPort) *Path {
	t.Helper()
	path, err := p.Open(k, s, peer)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
