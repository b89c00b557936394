package trust

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
)

// tally is a line that counts and, if it has a gate, waits at it.
type tally struct {
	sent, received atomic.Int64
	gate           chan struct{}
}

func (l *tally) Sent(n int, done <-chan struct{}) {
	l.sent.Add(int64(n))
	if l.gate != nil {
		select {
		case <-l.gate:
		case <-done:
		}
	}
}

func (l *tally) Received(n int, _ <-chan struct{}) { l.received.Add(int64(n)) }

// pairOf returns two connected members whose lines are l[0] and l[1].
func pairOf(t testing.TB, transport string, l [2]Line) (a, b testNode) {
	id := newEnterprise(t)
	first := start(t, id, Config{Conn: func(Credential) Line { return l[0] }}, false)
	other := join(t, first, "hq", "other", transport)
	second := start(t, other, Config{Conn: func(c Credential) Line {
		if c.Name != "first" {
			t.Errorf("line for %+v", c)
		}
		return l[1]
	}}, false)
	check(t, second.Connect(t.Context(), first.addrs(transport)))
	return second, first
}

// Every byte on the wire is on a line, whatever its size, and both ends agree.
func TestLineCountsEveryByte(t *testing.T) {
	t.Parallel()
	lines := [2]*tally{{}, {}}
	a, b := pairOf(t, "tcp", [2]Line{lines[0], lines[1]})
	const echo = "/echo/1"
	b.SetStreamHandler(echo, func(s network.Stream) {
		_, _ = io.Copy(s, s)
		_ = s.Close()
	})
	var total int64
	var all sync.WaitGroup
	for i, size := range []int{1, 100, tlsRecord, tlsRecord + 1, 256 << 10, 300 << 10, 3 << 20} {
		data := make([]byte, size)
		rand.Read(data)
		total += int64(size)
		all.Go(func() {
			s, err := a.NewStream(t.Context(), b.Host.ID(), echo)
			if err != nil {
				t.Error(err)
				return
			}
			go func() {
				_, _ = s.Write(data)
				_ = s.CloseWrite()
			}()
			got, err := io.ReadAll(s)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d: %d bytes came back, %v", i, len(got), err)
			}
		})
	}
	all.Wait()
	within(t, patience, "both ends agree", func() bool {
		return lines[0].sent.Load() == lines[1].received.Load() && lines[1].sent.Load() == lines[0].received.Load()
	})
	for i, l := range lines {
		if s, r := l.sent.Load(), l.received.Load(); s < total || r < total || s > total*11/10+64<<10 {
			t.Errorf("line %d: %d sent and %d received for %d", i, s, r, total)
		}
	}
}

// A line that holds a connection lets go when the connection is closed.
func TestHeldLineLetsGoOnClose(t *testing.T) {
	held := &tally{gate: make(chan struct{})}
	c1, c2 := net.Pipe()
	defer c2.Close()
	w := newWire(c1)
	w.on.Store(&lineRef{held})
	done := make(chan error, 1)
	go func() {
		_, err := w.Write([]byte("x"))
		done <- err
	}()
	within(t, patience, "held", func() bool { return held.sent.Load() == 1 })
	check(t, w.Close())
	select {
	case err := <-done:
		if err == nil {
			t.Error("wrote to a closed connection")
		}
	case <-time.After(patience):
		t.Fatal("still held")
	}
}

func TestClosingHeldConnection(t *testing.T) {
	t.Parallel()
	held := &tally{gate: make(chan struct{}, 1<<20)}
	for range 200 {
		held.gate <- struct{}{}
	}
	a, b := pairOf(t, "tcp", [2]Line{nil, held})
	b.SetStreamHandler("/sink/1", func(s network.Stream) { _, _ = io.Copy(io.Discard, s) })
	s, err := a.NewStream(t.Context(), b.Host.ID(), "/sink/1")
	check(t, err)
	go func() {
		for data := make([]byte, 256<<10); ; {
			if _, err := s.Write(data); err != nil {
				return
			}
		}
	}()
	within(t, patience, "held", func() bool { return len(held.gate) == 0 })
	check(t, a.Network().ClosePeer(b.Host.ID()))
	within(t, patience, "gone on the other side", func() bool { return b.Network().Connectedness(a.Host.ID()) != network.Connected })
}

// An idle wire holds no buffer, a busy one borrows.
func TestIdleWireHoldsNoBuffer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	check(t, err)
	defer c.Close()
	far, err := l.Accept()
	check(t, err)
	w := newWire(far)
	defer w.Close()
	sent := make([]byte, 4<<20)
	rand.Read(sent)
	taken := make(chan struct{})
	go func() {
		_, _ = c.Write(sent)
		<-taken // else the end may come with what was sent before
		_, _ = c.Write([]byte("end"))
	}()
	var got []byte
	small := make([]byte, 5000)
	borrowed := false
	for len(got) < len(sent)+3 {
		n, err := w.Read(small)
		check(t, err)
		got = append(got, small[:n]...)
		if len(got) == len(sent) {
			close(taken)
		}
		borrowed = borrowed || w.inBuf != nil
	}
	if !bytes.Equal(got, append(sent, "end"...)) {
		t.Error("other bytes")
	}
	if !borrowed {
		t.Error("never read ahead")
	}
	if w.inBuf != nil {
		t.Error("idle with a buffer")
	}
}

func TestDeadlineEndsRead(t *testing.T) {
	c1, c2 := net.Pipe()
	defer c2.Close()
	w := newWire(c1)
	defer w.Close()
	check(t, w.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	if _, err := w.Read(make([]byte, 1)); err == nil {
		t.Error("read nothing without an error")
	}
}

// G5: what both sides of an admission send each other inside the channel.
func TestAdmissionFitsFourKiB(t *testing.T) {
	t.Parallel()
	lines := [2]*tally{{}, {}}
	id := newEnterprise(t)
	_, err := id.refresh() // a beacon
	check(t, err)
	first := start(t, id, Config{Conn: func(Credential) Line { return lines[0] }}, false)
	other := join(t, first, "hq", "other", "tcp")
	b, _ := id.Beacon()
	_, err = other.tell(b, nil)
	check(t, err)
	size := 0
	for _, n := range []*Identity{id, other} {
		a := New(n, Config{}, logger(t))
		m := a.hello()
		if n == id {
			m.Beacon = a.answerBeacon(&message{Beacon: b})
		}
		size += 4 + len(encode(m))
	}
	t.Logf("both messages: %d bytes; chain %d, beacon %d", size, len(other.proof().raw[0])+len(other.proof().raw[1]), len(b))
	if size > 4<<10 {
		t.Errorf("an exchange takes %d bytes", size)
	}
}

// BenchmarkAdmission is G5: the CPU of both sides for judging each other, without
// the channel below.
func BenchmarkAdmission(b *testing.B) {
	id := newEnterprise(b)
	_, err := id.refresh()
	check(b, err)
	one := New(id, Config{}, logger(b))
	b.ReportAllocs()
	for b.Loop() {
		x, y := net.Pipe()
		done := make(chan error, 1)
		go func() {
			_, err := one.accept(x, id.key.GetPublic(), nil)
			done <- err
		}()
		_, err := one.dial(y, id.key.GetPublic())
		check(b, err)
		check(b, <-done)
	}
}

// BenchmarkConnect is a whole dial with and without admission: TCP or QUIC, TLS,
// exchange, muxer, swarm, and one stream.
func BenchmarkConnect(b *testing.B) {
	for _, kind := range []string{"stock", "member"} {
		for _, tr := range transports {
			b.Run(kind+"/"+tr, func(b *testing.B) {
				var from, to testNode
				if kind == "member" {
					from, to = pairOf(b, tr, [2]Line{})
					_ = from.Network().ClosePeer(to.Host.ID())
				} else {
					stock := []libp2p.Option{libp2p.Security(libp2ptls.ID, libp2ptls.New), libp2p.Transport(tcp.NewTCPTransport), libp2p.Transport(libp2pquic.NewTransport)}
					from, to = testNode{Host: newHost(b, stock...)}, testNode{Host: newHost(b, stock...)}
				}
				to.SetStreamHandler("/e/1", func(s network.Stream) { _, _ = s.Write([]byte("x")); _ = s.Close() })
				from.Peerstore().ClearAddrs(to.Host.ID())
				from.Peerstore().AddAddrs(to.Host.ID(), to.addrs(tr).Addrs, time.Hour)
				for b.Loop() {
					c, err := from.Network().DialPeer(context.Background(), to.Host.ID())
					check(b, err)
					s, err := from.NewStream(context.Background(), to.Host.ID(), "/e/1")
					check(b, err)
					_, err = io.ReadFull(s, make([]byte, 1))
					check(b, err)
					_ = c.Close()
				}
			})
		}
	}
}

// BenchmarkThroughput moves bytes over a member's TCP connection and over stock
// libp2p's.
func BenchmarkThroughput(b *testing.B) {
	for _, kind := range []string{"stock", "member"} {
		b.Run(kind, func(b *testing.B) {
			var from, to testNode
			if kind == "member" {
				from, to = pairOf(b, "tcp", [2]Line{&tally{}, &tally{}})
			} else {
				stock := []libp2p.Option{libp2p.Security(libp2ptls.ID, libp2ptls.New), libp2p.Transport(tcp.NewTCPTransport)}
				from, to = testNode{Host: newHostOn(b, transports[:1], stock...)}, testNode{Host: newHostOn(b, transports[:1], stock...)}
				check(b, from.Connect(context.Background(), peer.AddrInfo{ID: to.Host.ID(), Addrs: []ma.Multiaddr{to.addrs("tcp").Addrs[0]}}))
			}
			done := make(chan int64, 1)
			to.SetStreamHandler("/sink/1", func(s network.Stream) {
				n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{s}, make([]byte, 256<<10))
				done <- n
			})
			s, err := from.NewStream(context.Background(), to.Host.ID(), "/sink/1")
			check(b, err)
			data := make([]byte, 1<<20)
			b.SetBytes(int64(len(data)))
			n := 0
			begun := cpuTime()
			for b.Loop() {
				_, err := s.Write(data)
				check(b, err)
				n++
			}
			check(b, s.CloseWrite())
			if got := <-done; got != int64(n)*int64(len(data)) {
				b.Fatalf("%d bytes of %d", got, int64(n)*int64(len(data)))
			}
			b.ReportMetric(float64(cpuTime()-begun)/float64(time.Second)*float64(1<<30)/float64(n)/float64(len(data)), "cpu-s/GiB")
		})
	}
}
