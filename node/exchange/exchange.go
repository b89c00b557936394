package exchange

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/p2pnode/p2pnode/content"
)

// Errors that callers branch on. That a peer lacks what was asked is
// content.ErrNotFound.
var (
	ErrBusy      = errors.New("peer has as much to do as it allows")
	ErrGone      = errors.New("exchange with peer has ended")
	ErrCancelled = errors.New("cancelled")
	ErrProtocol  = errors.New("peer broke the exchange protocol")
)

var (
	errStalled  = errors.New("no headway")
	errReplaced = errors.New("replaced by a newer stream")
	errClosed   = errors.New("closed here")
)

// Limits per stream. Both ends hold to them, so an asker of ours is never answered
// busy for its own fault.
const (
	maxRequests  = 256 // 256 MiB of chunks: 2 s of a 1 Gbit/s link
	maxCalls     = 16  // releases, manifests, block lists and pings
	maxFollows   = 256
	maxControl   = 1024 // frames without payload that wait to be written
	maxEnvelopes = 32   // signed releases in one answer
	controlBatch = 256  // frames without payload gathered into one Write
)

// Library is what this node serves. Its methods may be called from many
// goroutines at once.
type Library interface {
	// Holding returns what is held of a content, in part or whole.
	Holding(id content.ID) (Holding, bool)
	// Named returns the signed releases of a name, newest first.
	Named(name string) (releases [][]byte)
}

// A Holding is a content that is held in part or whole.
type Holding interface {
	// Encoded returns the manifest's bytes. They aren't changed by the caller.
	Encoded() content.Encoded
	// Releases returns the signed releases of this content, newest first.
	Releases() [][]byte
	// Have returns the chunks that are verified as a whole, as a copy.
	Have() *roaring.Bitmap
	// Changed returns a channel that is closed when Have returns something else
	// than it would now, or the content is no longer held.
	Changed() <-chan struct{}
	// Verified returns the verified blocks of a chunk, a bit for each.
	Verified(chunk int) uint64
	// Node returns a chunk's encoded list of blocks, Blocks its decoded form.
	Node(chunk int) ([]byte, bool)
	Blocks(chunk int) ([]content.Block, bool)
	// ReadBlock reads a verified block into buf, which has room for it.
	ReadBlock(chunk, block int, buf []byte) ([]byte, error)
}

// Config holds the settings of an Exchange. Zero means the default.
type Config struct {
	// Sessions is how many streams are served at once, all peers together;
	// default 1024. An idle one costs about 20 kB with its two goroutines, one that
	// has its turn 300 kB more.
	Sessions int
	// Slots is how many peers are sent blocks, manifests and lists at one time;
	// default 16. The others wait for their turn, see turns. More of them make chunks
	// late without making the wire faster, fewer leave cores idle where the wire is
	// faster than one of them.
	Slots int
	// Site tells at which site a peer is, as known now; "" for one that is where this
	// node is, or of which that isn't known. If it is set, what peers elsewhere ask for
	// isn't answered in the order asked: chunks come first that fewest sites beside
	// theirs were given. It is called for each chunk and must not block. Default: nil,
	// all are answered in the order asked.
	Site func(peer.ID) string
	// Courtesy, with Site, is for how long after a chunk went to another site a
	// request for it from a further one is answered busy, once nothing else is left
	// to be sent on its stream: it is to be had there. As long as a chunk takes to be
	// there and to be told, so two to five seconds; a site that can't reach the other
	// waits for so long. Default 0: not at all.
	Courtesy time.Duration
	// Near tells which peers are neighbours that reach each other, if this node is the one
	// that has a content first: of what a neighbour asks for, chunks come first that
	// fewest others were given. While others want something, one that another was given
	// within five seconds is answered busy: it is to be had there. So this node's port
	// carries a content about once. It is called for each chunk and must not block. Default: nil,
	// all are answered in the order asked.
	Near func(peer.ID) bool
	// Held is how many received blocks of a stream may wait to be released before
	// reading stops; default 32: 2 MiB of usual blocks, enough to keep four cores
	// hashing.
	Held int
	// HeldAll is the same for all streams together; default 64: 4 MiB of usual blocks,
	// 16 MiB of the largest. Where many peers send faster than blocks are hashed, they
	// would else be in memory by the number of peers.
	HeldAll int
	// Stall is how long a read inside of a frame, or a write, may make no headway
	// before the stream is reset; default 25 s. It is noticed up to a fifth late,
	// which makes 30 s at most.
	Stall time.Duration
}

// Spread is the least time between two maps for the same follow. A chunk takes
// 20 ms at 400 Mbit/s: slower than that each is told at once, faster they gather.
const Spread = 20 * time.Millisecond

func (c Config) withDefaults() (Config, error) {
	if c.Slots < 0 || c.Courtesy < 0 || c.Sessions < 0 || c.Held < 0 || c.HeldAll < 0 || c.Stall < 0 {
		return c, fmt.Errorf("exchange: settings can't be negative: %+v", c)
	}
	if c.Sessions == 0 {
		c.Sessions = 1024
	}
	if c.Slots == 0 {
		c.Slots = 16
	}
	if c.Held == 0 {
		c.Held = 32
	}
	if c.HeldAll == 0 {
		c.HeldAll = 64
	}
	if c.Stall == 0 {
		c.Stall = 25 * time.Second
	}
	return c, nil
}

// An Exchange fetches from peers and serves them.
type Exchange struct {
	host     host.Host
	protocol protocol.ID
	library  Library
	config   Config
	log      *zap.Logger
	buffers  buffers
	held     chan struct{} // tokens: one is taken for each block that any sink has
	upload   *upload
	courtesy *courtesy
	group    sync.WaitGroup // everything that runs for a stream
	running  chan struct{}  // closed when Run has begun and peers are served

	mu       sync.Mutex
	stopped  bool // Run has begun to end: no stream may begin
	opening  map[peer.ID]*opening
	sessions map[*Session]struct{} // fetching
	servers  map[*server]struct{}
	budgets  map[peer.ID]*rate.Limiter // of block lists, of peers that are served or were
	fetched  Counters                  // of sessions that ended
	served   Counters                  // of servers that ended
	arrived  chan struct{}             // closed by Arrived
}

// New returns an exchange on h, for peers that speak the protocol of this prefix.
// It works while Run does.
func New(h host.Host, prefix protocol.ID, library Library, config Config, log *zap.Logger) (*Exchange, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Exchange{
		host:     h,
		protocol: prefix + "/exchange/1",
		library:  library,
		config:   config,
		log:      log,
		held:     tokens(config.HeldAll),
		upload:   newUpload(config.Slots),
		courtesy: newCourtesy(config),
		running:  make(chan struct{}),
		opening:  make(map[peer.ID]*opening),
		sessions: make(map[*Session]struct{}),
		servers:  make(map[*server]struct{}),
		budgets:  make(map[peer.ID]*rate.Limiter),
		arrived:  make(chan struct{}),
	}, nil
}

// Run serves peers and lets sessions be opened until ctx ends, and returns when
// every stream has ended. It is called once.
func (x *Exchange) Run(ctx context.Context) error {
	x.host.SetStreamHandler(x.protocol, x.accept)
	close(x.running)
	x.watch(ctx)
	x.host.RemoveStreamHandler(x.protocol)
	x.mu.Lock()
	x.stopped = true
	lines := x.lines()
	x.mu.Unlock()
	for _, l := range lines {
		l.fail(fmt.Errorf("%w: %w", ErrGone, errClosed))
	}
	x.group.Wait()
	x.upload.close()
	return nil
}

// watch resets streams that are stuck, until ctx ends. One ticker does for all of
// them.
func (x *Exchange) watch(ctx context.Context) {
	tick := time.NewTicker(max(x.config.Stall/6, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			x.mu.Lock()
			lines := x.lines()
			x.mu.Unlock()
			x.sweepBudgets(now)
			for _, l := range lines {
				if l.stuck(now, x.config.Stall) {
					x.log.Info("stream is stuck", zap.Stringer("peer", l.peer))
					l.fail(fmt.Errorf("%w: %s: %w for %s", ErrGone, l.peer, errStalled, x.config.Stall))
				}
			}
		}
	}
}

// lines returns all streams. Callers hold mu.
func (x *Exchange) lines() []*line {
	lines := make([]*line, 0, len(x.sessions)+len(x.servers))
	for s := range x.sessions {
		lines = append(lines, &s.line)
	}
	for s := range x.servers {
		lines = append(lines, &s.line)
	}
	return lines
}

// Arrived tells that the library holds a content that it didn't hold before, for
// the sake of peers that follow it already.
func (x *Exchange) Arrived() {
	x.mu.Lock()
	defer x.mu.Unlock()
	close(x.arrived)
	x.arrived = make(chan struct{})
}

// nextArrival returns a channel that is closed at the next call of Arrived.
func (x *Exchange) nextArrival() <-chan struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.arrived
}

// accept serves a stream that a peer opened, until it ends.
func (x *Exchange) accept(stream network.Stream) {
	var older *server
	x.mu.Lock()
	if x.stopped || len(x.servers) >= x.config.Sessions {
		x.mu.Unlock()
		x.log.Info("stream refused: too many", zap.Stringer("peer", stream.Conn().RemotePeer()))
		_ = stream.ResetWithError(resetLimit)
		return
	}
	s := newServer(x, stream, x.budget(stream.Conn().RemotePeer()))
	for o := range x.servers {
		if o.peer == s.peer {
			older = o
		}
	}
	x.servers[s] = struct{}{}
	x.group.Add(1)
	x.mu.Unlock()
	defer x.group.Done()

	if older != nil {
		older.fail(fmt.Errorf("%w: %w", ErrGone, errReplaced))
	}
	s.serve()

	x.mu.Lock()
	delete(x.servers, s)
	x.served.add(s.counters.read())
	x.mu.Unlock()
	x.log.Debug("stream ended", zap.Stringer("peer", s.peer), zap.Error(s.err))
}

// opening is a session, or the attempt to have one.
type opening struct {
	ready   chan struct{} // closed when the two below are set
	session *Session
	err     error
}

// Session returns the session with p, which is opened if there is none; p is
// dialed if need be.
func (x *Exchange) Session(ctx context.Context, p peer.ID) (*Session, error) {
	select {
	case <-x.running:
	case <-ctx.Done():
		return nil, fmt.Errorf("open exchange with %s: %w", p, ctx.Err())
	}
	for {
		x.mu.Lock()
		o, ok := x.opening[p]
		if ok && o.over() {
			ok = false // whoever ends it hasn't come to forget it
		}
		if !ok {
			o = &opening{ready: make(chan struct{})}
			x.opening[p] = o
		}
		x.mu.Unlock()
		if !ok {
			o.session, o.err = x.open(ctx, p, o)
			close(o.ready)
			return o.session, o.err
		}
		select {
		case <-o.ready:
		case <-ctx.Done():
			return nil, fmt.Errorf("open exchange with %s: %w", p, ctx.Err())
		}
		// Whoever opened it may have lost patience; that is no answer for others.
		if errors.Is(o.err, context.Canceled) || errors.Is(o.err, context.DeadlineExceeded) {
			if ctx.Err() == nil {
				continue
			}
		}
		return o.session, o.err
	}
}

// over reports whether there was a session and it has ended.
func (o *opening) over() bool {
	select {
	case <-o.ready:
		return o.session != nil && o.session.Err() != nil
	default:
		return false
	}
}

// open opens a session for o, which is forgotten if that fails, and when the
// session ends.
func (x *Exchange) open(ctx context.Context, p peer.ID, o *opening) (*Session, error) {
	stream, err := x.host.NewStream(ctx, p, x.protocol)
	if err != nil {
		x.mu.Lock()
		defer x.mu.Unlock()
		delete(x.opening, p)
		return nil, fmt.Errorf("open exchange with %s: %w", p, err)
	}
	s := newSession(x, stream)
	x.mu.Lock()
	stopped := x.stopped
	if stopped {
		delete(x.opening, p)
	} else {
		x.sessions[s] = struct{}{}
		x.group.Add(1)
	}
	x.mu.Unlock()
	if stopped {
		_ = stream.Reset()
		return nil, fmt.Errorf("open exchange with %s: %w: %w", p, ErrGone, errClosed)
	}
	go func() {
		defer x.group.Done()
		s.run()
		x.mu.Lock()
		defer x.mu.Unlock()
		delete(x.sessions, s)
		if x.opening[p] == o {
			delete(x.opening, p)
		}
		x.fetched.add(s.counters.read())
	}()
	return s, nil
}
