package sim

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// waiting is how many packets a socket keeps for its reader: half a megabyte of
// full ones. Those that find no room are lost.
const waiting = 400

// A socket is a UDP socket of a port, bound to all of its addresses.
type socket struct {
	port   *Port
	number uint16
	in     chan packet
	once   sync.Once
	closed chan struct{}

	mu       sync.Mutex
	deadline time.Time
	moved    chan struct{} // closed when deadline changes
}

func newSocket(p *Port, number uint16) *socket {
	return &socket{port: p, number: number, in: make(chan packet, waiting), closed: make(chan struct{}), moved: make(chan struct{})}
}

// put reports whether the packet found room.
func (s *socket) put(k packet) bool {
	select {
	case s.in <- k:
		return true
	default:
		return false
	}
}

// WriteTo implements net.PacketConn. As with UDP, what can't be sent is lost.
func (s *socket) WriteTo(b []byte, to net.Addr) (int, error) {
	select {
	case <-s.closed:
		return 0, net.ErrClosed
	default:
	}
	u, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, fmt.Errorf("send to %s: not a UDP address", to)
	}
	ap := u.AddrPort()
	s.port.mu.RLock()
	site, own := s.port.site, s.port.addr
	s.port.mu.RUnlock()
	site.send(packet{
		bytes: bytes.Clone(b), site: site,
		from: netip.AddrPortFrom(own, s.number), to: netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()),
	})
	return len(b), nil
}

// ReadFrom implements net.PacketConn.
func (s *socket) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		late, moved, stop := s.wait()
		select {
		case <-s.closed:
			stop()
			return 0, nil, net.ErrClosed
		case <-late:
			return 0, nil, os.ErrDeadlineExceeded
		case <-moved:
			stop()
		case k := <-s.in:
			stop()
			return copy(b, k.bytes), net.UDPAddrFromAddrPort(k.from), nil
		}
	}
}

// wait returns what fires at the deadline, which is nil if there is none, what is
// closed when the deadline changes, and what gives the first back.
func (s *socket) wait() (late <-chan time.Time, moved <-chan struct{}, stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deadline.IsZero() {
		return nil, s.moved, func() {}
	}
	t := time.NewTimer(time.Until(s.deadline))
	return t.C, s.moved, func() { t.Stop() }
}

// Close implements net.PacketConn.
func (s *socket) Close() error {
	s.once.Do(func() {
		s.port.close(s.number)
		close(s.closed)
	})
	return nil
}

// LocalAddr implements net.PacketConn: the socket moves with its port, so it has no
// address of its own.
func (s *socket) LocalAddr() net.Addr { return &net.UDPAddr{IP: net.IPv4zero, Port: int(s.number)} }

// SetReadDeadline implements net.PacketConn.
func (s *socket) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline = t
	close(s.moved)
	s.moved = make(chan struct{})
	return nil
}

// SetWriteDeadline implements net.PacketConn: a write never waits.
func (s *socket) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline implements net.PacketConn.
func (s *socket) SetDeadline(t time.Time) error { return s.SetReadDeadline(t) }
