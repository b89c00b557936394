package meter

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// ErrFull tells that a port has as many paths as it may have.
var ErrFull = errors.New("too many paths are open")

// Config bounds a Port. The zero value is ready for use.
type Config struct {
	// Paths is how many may be open at once, 0 for 1024. One takes 9 KiB.
	Paths int
	// PathRate is how many probes of one peer are answered a second, 0 for 200:
	// twice the fastest pace that a caller keeps.
	PathRate int
	// Rate is how many probes are answered a second in all, 0 for 2000: one
	// Mbit/s of answers.
	Rate int
	// Patience is how long an answer may take, 0 for 3 s: a path by satellite
	// with half a second of queue both ways, and as much again.
	Patience time.Duration
}

func (c Config) check() (Config, error) {
	if c.Paths < 0 || c.PathRate < 0 || c.Rate < 0 || c.Patience < 0 {
		return c, fmt.Errorf("a bound of probes is below zero: %+v", c)
	}
	if c.Paths == 0 {
		c.Paths = 1024
	}
	if c.PathRate == 0 {
		c.PathRate = 200
	}
	if c.Rate == 0 {
		c.Rate = 2000
	}
	if c.Patience == 0 {
		c.Patience = 3 * time.Second
	}
	return c, nil
}

// burst is how many probes may come at once after a stall, here or on the way: a
// tenth of a second of them.
func burst(perSecond int) int { return max(perSecond/10, 1) }

// A Port sends and answers probes over one socket, for any number of peers.
type Port struct {
	conn    net.PacketConn
	cfg     Config
	start   time.Time
	all     *rate.Limiter
	dropped atomic.Uint64

	mu       sync.Mutex
	sessions map[[sessionSize]byte]*Path // each path twice: as asker and as answerer
}

// NewPort returns a port on conn, which Run closes.
func NewPort(conn net.PacketConn, cfg Config) (*Port, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, err
	}
	return &Port{
		conn: conn, cfg: cfg, start: time.Now(),
		all:      rate.NewLimiter(rate.Limit(cfg.Rate), burst(cfg.Rate)),
		sessions: make(map[[sessionSize]byte]*Path),
	}, nil
}

// clock counts from the port's start and never steps.
func (p *Port) clock() time.Duration { return time.Since(p.start) }

// Dropped returns how many packets were no probe of ours, forged, repeated, late
// or one too many.
func (p *Port) Dropped() uint64 { return p.dropped.Load() }

// Run reads the socket until ctx ends, closes it, and returns nil then.
func (p *Port) Run(ctx context.Context) error {
	// A socket that is shared with QUIC takes note of a deadline only when the next
	// read begins, and counts how often it is closed.
	closed := sync.OnceFunc(func() { p.conn.Close() })
	defer closed()
	defer context.AfterFunc(ctx, closed)()
	// As long as UDP gets: a longer packet than the buffer is an error on Windows.
	b := make([]byte, math.MaxUint16)
	var reply [PacketSize]byte
	for {
		n, from, err := p.conn.ReadFrom(b)
		received := p.clock()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read probes: %w", err)
		}
		answer, ok := p.receive(reply[:0], b[:n], from, received)
		if !ok {
			p.dropped.Add(1)
			continue
		}
		if len(answer) > 0 {
			// An answer that can't be sent is a lost one: the asker counts it.
			_, _ = p.conn.WriteTo(answer, from)
		}
	}
}

// receive takes in one packet. It appends the answer to reply if there is to be
// one.
func (p *Port) receive(reply, b []byte, from net.Addr, received time.Duration) (answer []byte, ok bool) {
	pk, ok := readPacket(b)
	if !ok {
		return nil, false
	}
	p.mu.Lock()
	path := p.sessions[pk.session]
	p.mu.Unlock()
	if path == nil {
		return nil, false
	}
	if pk.kind == answers {
		return nil, path.answered(b, pk, received)
	}
	return path.answer(reply, b, pk, from, received)
}

// Open begins a session with the peer at addr, which has the same key with the
// other side. Probes go to addr, and only probes from its IP are answered: from
// any of its UDP ports, because an address translator may choose one.
func (p *Port) Open(key Key, side Side, addr netip.AddrPort) (*Path, error) {
	if side != Opener && side != Accepter || !addr.IsValid() {
		return nil, fmt.Errorf("open a path: side %d, address %s", side, addr)
	}
	ask, err := newSigner(key, side)
	if err != nil {
		return nil, err
	}
	reply, err := newSigner(key, side.other())
	if err != nil {
		return nil, err
	}
	path := &Path{
		port: p, ask: ask, reply: reply,
		addr: net.UDPAddrFromAddrPort(addr), ip: addr.Addr().Unmap(),
		pace: rate.NewLimiter(rate.Limit(p.cfg.PathRate), burst(p.cfg.PathRate)),
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.sessions) >= 2*p.cfg.Paths {
		return nil, ErrFull
	}
	if p.sessions[ask.session] != nil || p.sessions[reply.session] != nil {
		return nil, errors.New("open a path: its key is in use")
	}
	p.sessions[ask.session], p.sessions[reply.session] = path, path
	return path, nil
}
