package foreground

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// What a client asks for on a TCP connection, in a line each: bulk for zeros
// without end, object N for N of them. Anything else closes it.
const (
	verbBulk   = "bulk"
	verbObject = "object"
)

const (
	maxObject      = 1 << 30 // bytes
	maxLine        = 64      // bytes
	maxConnections = 1000
	maxCalls       = 100
	hangUp         = 2 * time.Second // without a packet a call is over
)

// A Server answers the clients of all branches.
type Server struct {
	tcp net.Listener
	udp *net.UDPConn

	// NotCubic is why downloads don't go by CUBIC, but by what this machine does by
	// itself; nil if they do. Most servers that users have do; one that goes by BBR
	// leaves buffers nearly empty, and what users feel beside it is another thing.
	NotCubic error
}

// Listen returns a server on a port, TCP and UDP. Serve it or Close it.
func Listen(address string) (*Server, error) {
	var notCubic error
	listen := net.ListenConfig{Control: func(network, address string, c syscall.RawConn) error {
		notCubic = cubic(network, address, c)
		return nil
	}}
	listen.SetMultipathTCP(false) // it chooses for itself
	tcp, err := listen.Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for foreground traffic: %w", err)
	}
	addr := netip.MustParseAddrPort(tcp.Addr().String())
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for foreground traffic: %w", err), tcp.Close())
	}
	return &Server{tcp, udp, notCubic}, nil
}

// Addr returns where it listens.
func (s *Server) Addr() string { return s.tcp.Addr().String() }

// Close ends it.
func (s *Server) Close() error { return errors.Join(ignore(s.tcp.Close()), ignore(s.udp.Close())) }

func ignore(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Serve answers until the context ends, and then returns nil.
func (s *Server) Serve(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.accept(ctx) })
	g.Go(func() error { return s.answer(ctx) })
	g.Go(func() error {
		<-ctx.Done()
		return s.Close()
	})
	return g.Wait()
}

func (s *Server) accept(ctx context.Context) error {
	attending, over := context.WithCancel(ctx)
	defer over()
	var g errgroup.Group
	g.SetLimit(maxConnections)
	for {
		conn, err := s.tcp.Accept()
		if err != nil {
			over() // a download would go on for ever
			_ = g.Wait()
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept foreground traffic: %w", err)
		}
		g.Go(func() error {
			attend(attending, conn)
			return nil
		})
	}
}

// attend does what a connection asks, until it asks something else or ends.
func attend(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	lines := bufio.NewReaderSize(conn, maxLine)
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			return
		}
		bytes, ok := parseAsked(string(line))
		if !ok {
			return
		}
		if _, err := io.CopyN(conn, zeros{}, bytes); err != nil {
			return
		}
	}
}

// parseAsked returns how many bytes a line asks for.
func parseAsked(line string) (bytes int64, ok bool) {
	line = strings.TrimSuffix(line, "\n")
	if line == verbBulk {
		return 1<<63 - 1, true
	}
	verb, count, _ := strings.Cut(line, " ")
	n, err := strconv.ParseInt(count, 10, 64)
	return n, verb == verbObject && err == nil && n >= 0 && n <= maxObject
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// A ring is a call under way, as the server has it.
type ring struct {
	mu   sync.Mutex
	last packet // of which heard, last and took are told back
	at   time.Time
}

// answer talks to everyone who calls, for as long as they do.
func (s *Server) answer(ctx context.Context) error {
	calls := map[netip.AddrPort]*ring{}
	var mu sync.Mutex
	var talking errgroup.Group
	buf := make([]byte, 2048)
	for {
		n, from, err := s.udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			if ctx.Err() != nil {
				return talking.Wait()
			}
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("answer calls: %w", err)
			}
			continue // an error of an earlier packet
		}
		p, err := parsePacket(buf[:n])
		if err != nil {
			continue
		}
		mu.Lock()
		r := calls[from]
		if r == nil && len(calls) < maxCalls {
			r = &ring{}
			calls[from] = r
			talking.Go(func() error {
				r.talk(ctx, func(b []byte) { _, _ = s.udp.WriteToUDPAddrPort(b, from) })
				mu.Lock()
				defer mu.Unlock()
				delete(calls, from)
				return nil
			})
		}
		if r != nil {
			r.hear(p)
		}
		mu.Unlock()
	}
}

func (r *ring) hear(p packet) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = time.Now()
	r.last = packet{heard: r.last.heard + 1, last: p.number, took: r.at.Sub(p.sent)}
}

// talk sends a packet each packetTime until the other end has been silent for long.
func (r *ring) talk(ctx context.Context, send func([]byte)) {
	start := time.Now()
	var buf []byte
	for number := uint32(0); ; number++ {
		r.mu.Lock()
		p, at := r.last, r.at
		r.mu.Unlock()
		if p.heard > 0 && time.Since(at) > hangUp {
			return
		}
		p.number, p.sent = number, time.Now()
		buf = p.append(buf[:0])
		send(buf)
		if pause(ctx, time.Until(start.Add(time.Duration(number+1)*packetTime))) != nil {
			return
		}
	}
}
