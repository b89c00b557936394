package exchange

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/p2pnode/p2pnode/content"
)

// Who stalls and who doesn't is a matter of time, so these tests have synctest's,
// and streams in memory.

// A memStream is one end of a stream; the other is a net.Conn.
type memStream struct {
	network.Stream // nil: nothing else is called
	near           net.Conn
	peer           peer.ID
	reset          chan network.StreamErrorCode
}

func newStream(p peer.ID) (s *memStream, far net.Conn) {
	near, far := net.Pipe()
	return &memStream{near: near, peer: p, reset: make(chan network.StreamErrorCode, 1)}, far
}

func (s *memStream) Read(b []byte) (int, error)  { return s.near.Read(b) }
func (s *memStream) Write(b []byte) (int, error) { return s.near.Write(b) }
func (s *memStream) Conn() network.Conn          { return memConn{peer: s.peer} }

func (s *memStream) ResetWithError(code network.StreamErrorCode) error {
	s.reset <- code
	return s.near.Close()
}

type memConn struct {
	network.Conn
	peer peer.ID
}

func (c memConn) RemotePeer() peer.ID { return c.peer }

// A memHost opens the stream that it was given.
type memHost struct {
	host.Host
	stream network.Stream
}

func (memHost) SetStreamHandler(protocol.ID, network.StreamHandler) {}
func (memHost) RemoveStreamHandler(protocol.ID)                     {}

func (h memHost) NewStream(context.Context, peer.ID, ...protocol.ID) (network.Stream, error) {
	return h.stream, nil
}

// againstInMemory is against, in a bubble of synctest.
func againstInMemory(t *testing.T, config Config, serve func(net.Conn)) *Session {
	t.Helper()
	stream, far := newStream("server")
	s := open(t, newExchange(t, memHost{stream: stream}, newMemory(), config), "server")
	served := make(chan struct{})
	go func() {
		defer close(served)
		serve(far)
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-served
	})
	return s
}

func TestServerThatDripsIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := againstInMemory(t, Config{Stall: 200 * time.Millisecond}, func(far net.Conn) {
			readOne(far, false)
			_, _ = far.Write(header{length: 64 * kib, kind: kindBlock, id: 1}.append(nil))
			for {
				if _, err := far.Write([]byte{0}); err != nil {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
		start := time.Now()
		err := fetch(t, s, nil, 0, 1, false).wait(t)
		if !errors.Is(err, ErrGone) || !errors.Is(err, errStalled) {
			t.Errorf("ended with %v", err)
		}
		if d := time.Since(start); d > 300*time.Millisecond {
			t.Errorf("took %v", d)
		}
	})
}

func TestServerThatIsSlowIsNotLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHolding(t, 256*kib, content.MaxBlock)
		s := againstInMemory(t, Config{Stall: 200 * time.Millisecond}, func(far net.Conn) {
			readOne(far, false)
			b := frame(kindBlock, flagLast, 0, 1, h.data...)
			for len(b) > 0 { // 16 steps: longer than Stall in all
				n := min(len(b), headway+1)
				if _, err := far.Write(b[:n]); err != nil {
					return
				}
				b = b[n:]
				time.Sleep(150 * time.Millisecond)
			}
			_, _ = io.Copy(io.Discard, far)
		})
		if err := fetch(t, s, h, 0, All, false).wait(t); err != nil {
			t.Error(err)
		}
	})
}

func TestServerThatIsSilentHoldsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := againstInMemory(t, Config{}, func(far net.Conn) { _, _ = io.Copy(io.Discard, far) })
		b := newBasket(nil, 0)
		narrow, err := s.Request(Request{Want: 1, Sink: b})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		narrow(0)
		if err := b.wait(t); !errors.Is(err, ErrCancelled) {
			t.Error(err)
		}
		if s.Err() != nil {
			t.Errorf("silence ended the session: %v", s.Err())
		}
	})
}

func TestClientThatDripsIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHolding(t, mib, 64*kib)
		x := newExchange(t, memHost{}, newMemory(h), Config{Stall: 200 * time.Millisecond})
		serve := func(p peer.ID) (*memStream, net.Conn) {
			s, far := newStream(p)
			go x.accept(s)
			go func() { _, _ = io.Copy(io.Discard, far) }()
			return s, far
		}
		_, idle := serve("idle") // no frame begun: may stay
		if _, err := idle.Write(frame(kindPing, 0, 0, 1)); err != nil {
			t.Fatal(err)
		}
		stream, drip := serve("drip")
		for _, b := range asking(1, h.encoded.ID, 0, 1) {
			if _, err := drip.Write([]byte{b}); err != nil {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		synctest.Wait()
		select {
		case code := <-stream.reset:
			if code != resetStall {
				t.Errorf("stream ended with %#x", code)
			}
		default:
			t.Error("it was not left")
		}
		if serving := x.Stats().Serving; len(serving) != 1 {
			t.Errorf("%d streams are left", len(serving))
		}
	})
}

// What was under way when a request was cancelled has crossed the network.
func TestBlocksBehindACancelAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan struct{})
		s := againstInMemory(t, Config{}, func(far net.Conn) {
			readOne(far, false) // the request
			_, _ = far.Write(frame(kindBlock, 0, 0, 1, 'a'))
			readOne(far, false) // the cancel
			<-ended
			_, _ = far.Write(slices.Concat(frame(kindBlock, 0, 1, 1, 'b', 'c'), frame(kindBlock, flagLast, 2, 1, 'd', 'e', 'f')))
			_, _ = io.Copy(io.Discard, far)
		})
		b := newBasket(nil, 0)
		narrow, err := s.Request(Request{Want: 7, Sink: b})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		narrow(0)
		if err := b.wait(t); !errors.Is(err, ErrCancelled) {
			t.Errorf("ended with %v", err)
		}
		close(ended)
		synctest.Wait()
		if b.got != 1 || b.late != 5 {
			t.Errorf("got %#x, and %d bytes late: want the first block, and 5", b.got, b.late)
		}
	})
}
