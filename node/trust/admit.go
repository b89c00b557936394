package trust

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	ic "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"go.uber.org/zap"
)

// Limits of an Admission.
const (
	maxRefused  = 64
	maxAdmitted = 16 << 10 // peers with a verified credential, connected or about to be
	// settleTime is how long an admitted peer may take to appear in the swarm.
	settleTime = time.Minute
)

// A Line is told of every byte of a TCP connection, below its encryption: after
// each read, before each write. It may hold the caller to a rate by taking its
// time, but has to return soon after done is closed, as the connection is then.
type Line interface {
	Sent(n int, done <-chan struct{})
	Received(n int, done <-chan struct{})
}

// Config says what an Admission tells others; the zero value is fine.
type Config struct {
	// Conn is called once for each TCP connection that was admitted, and returns
	// the line to account it on, or nil. Bytes of the handshake are accounted at
	// once. Default: no accounting.
	Conn func(remote Credential) Line
	// OnChange is called, from any goroutine, after this node's credential, its
	// revocation lists or its signed time changed. It must not block.
	OnChange func()
}

// A Refusal is one connection that was not admitted.
type Refusal struct {
	At      time.Time
	Addr    ma.Multiaddr // may be nil
	Peer    peer.ID      // proven by the channel; may be empty
	Inbound bool
	Err     error
}

// An Admission lets members in and nobody else. It runs the exchange inside each
// connection's encrypted channel, before the swarm sees the connection, and ends
// connections whose credential runs out or is revoked.
type Admission struct {
	id    *Identity
	cfg   Config
	log   *zap.Logger
	slots slots

	changed chan struct{} // capacity 1: lists or credentials changed, see Run
	hurry   chan struct{} // capacity 1: renew now, see renewAlways
	greet   chan peer.ID  // peers we dialed, for the exchange of heads
	serving chan struct{} // bounds inbound streams of heads and renewals

	mu       sync.Mutex
	host     host.Host // nil until Attach
	admitted map[peer.ID]*admittedPeer
	refused  []Refusal // newest last
}

type admittedPeer struct {
	*proof
	at time.Time // by the monotonic clock
}

// New returns an Admission for a host that is made with its Options.
func New(id *Identity, cfg Config, log *zap.Logger) *Admission {
	if cfg.Conn == nil {
		cfg.Conn = func(Credential) Line { return nil }
	}
	if cfg.OnChange == nil {
		cfg.OnChange = func() {}
	}
	return &Admission{
		id: id, cfg: cfg, log: log,
		changed: make(chan struct{}, 1), hurry: make(chan struct{}, 1),
		greet: make(chan peer.ID, maxGreet), serving: make(chan struct{}, headsIn),
		admitted: make(map[peer.ID]*admittedPeer),
	}
}

// Of returns the credential with which a peer was admitted, while it is
// connected.
func (a *Admission) Of(p peer.ID) (Credential, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e, ok := a.admitted[p]
	if !ok {
		return Credential{}, false
	}
	return e.Credential, true
}

// Refused lists the connections that were refused lately, oldest first.
func (a *Admission) Refused() []Refusal {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]Refusal(nil), a.refused...)
}

func (a *Admission) refuse(r Refusal) {
	if errors.Is(r.Err, errServed) {
		return
	}
	r.At = time.Now()
	// Strangers decide how often this happens, so it is no news of an ordinary day;
	// Refused has the last ones.
	a.log.Debug("connection refused", zap.Stringer("peer", r.Peer), zap.Stringer("addr", r.Addr), zap.Bool("inbound", r.Inbound), zap.Error(r.Err))
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.refused) == maxRefused {
		a.refused = append(a.refused[:0], a.refused[1:]...)
	}
	a.refused = append(a.refused, r)
}

// A greeter runs the exchange on new connections: an Admission, or a joiner.
type greeter interface {
	// enter returns the function that ends an inbound connection's claim to
	// attention, or nil if there is none to give.
	enter(from ma.Multiaddr) func()
	dial(c channel, remote ic.PubKey) (Credential, error)
	accept(c channel, remote ic.PubKey, from ma.Multiaddr) (Credential, error)
	// refuse is told of connections that were closed for err.
	refuse(Refusal)
	// line returns where to account the connection of an admitted peer, or nil.
	line(Credential) Line
}

// meet runs the side of the exchange that is ours.
func meet(g greeter, c channel, with interface {
	RemotePublicKey() ic.PubKey
	RemoteMultiaddr() ma.Multiaddr
}, dialer bool) (Credential, error) {
	if dialer {
		return g.dial(c, with.RemotePublicKey())
	}
	return g.accept(c, with.RemotePublicKey(), with.RemoteMultiaddr())
}

// errServed ends a connection that came for an enrolment or renewal, and got it.
var errServed = errors.New("enrolled; the connection has done its work")

func (a *Admission) enter(from ma.Multiaddr) func() { return a.slots.take(source(from)) }

func (a *Admission) line(c Credential) Line { return a.cfg.Conn(c) }

// dial is the dialer's side of an admission.
func (a *Admission) dial(c channel, remote ic.PubKey) (Credential, error) {
	out := a.hello()
	if a.id.clock.doubtful() {
		out.Nonce = newNonce()
	}
	if err := send(c, out); err != nil {
		return Credential{}, err
	}
	in, err := receive(c, hello)
	if in != nil {
		a.hear(in.Beacon, out.Nonce)
	}
	if err != nil {
		return Credential{}, a.doubt(err)
	}
	return a.admit(in.Chain, remote)
}

func newNonce() []byte {
	b := make([]byte, nonceSize)
	rand.Read(b)
	return b
}

func (a *Admission) hello() message {
	b, _ := a.id.Beacon()
	return message{Kind: hello, Chain: a.id.proof().raw, Beacon: b}
}

// accept is the listener's side: it shows itself only to whom it admits.
func (a *Admission) accept(c channel, remote ic.PubKey, from ma.Multiaddr) (Credential, error) {
	in, err := receive(c, hello, enrol, renew)
	if err != nil {
		return Credential{}, err // not one of us: not even worth a refusal
	}
	if in.Kind != hello {
		if err := a.serve(c, in, remote); err != nil {
			return Credential{}, refuseWith(c, message{Kind: refuse, Refusal: refusalOf(err)}, err)
		}
		return Credential{}, errServed
	}
	a.hear(in.Beacon, nil)
	cred, err := a.admit(in.Chain, remote)
	if err != nil {
		out := message{Kind: refuse, Refusal: refusalOf(err)}
		if errors.Is(err, ErrExpired) && len(in.Nonce) > 0 {
			// Its clock may be why it is late, or ours: the time is no secret.
			out.Beacon = a.answerBeacon(in)
		}
		return Credential{}, refuseWith(c, out, err)
	}
	if err := c.SetDeadline(time.Now().Add(exchangeTime - strangerTime)); err != nil {
		return Credential{}, err
	}
	a.slots.admitted(source(from))
	out := a.hello()
	out.Beacon = a.answerBeacon(in)
	return cred, send(c, out)
}

// answerBeacon returns what to tell the sender of in about the time: a time made
// for it if it asks and this node may; else the newest beacon, if it has an
// older one.
func (a *Admission) answerBeacon(in *message) []byte {
	if len(in.Nonce) > 0 && a.id.Credential().Roles.Has(Issuer) {
		if b, err := a.id.makeBeacon(in.Nonce); err == nil {
			return b
		}
	}
	b, _ := a.id.Beacon()
	if bytes.Equal(b, in.Beacon) {
		return nil
	}
	return b
}

// hear takes a beacon. A bad one doesn't end the exchange: the credential decides
// that, and a good node may pass on what it can't judge.
func (a *Admission) hear(beacon, nonce []byte) {
	before := a.id.clock.State()
	news, err := a.id.tell(beacon, nonce)
	if err != nil {
		a.log.Debug("beacon refused", zap.Error(err))
	}
	now := a.id.clock.State()
	if now != before {
		a.log.Info("the clock is judged anew", zap.Stringer("clock", now))
	}
	if news || now != before {
		a.notify()
	}
}

// admit verifies a chain against the key of its channel and remembers the peer.
func (a *Admission) admit(chain [][]byte, remote ic.PubKey) (Credential, error) {
	p, err := a.judge(chain, remote)
	if err != nil {
		return Credential{}, a.doubt(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.admitted[p.Peer]
	if old == nil && len(a.admitted) >= maxAdmitted {
		return Credential{}, fmt.Errorf("%w: %w", ErrNotAdmitted, ErrBusy)
	}
	if old == nil || !old.NotAfter.After(p.NotAfter) {
		a.admitted[p.Peer] = &admittedPeer{proof: p, at: time.Now()}
	}
	return p.Credential, nil
}

// judge makes the checks of an admission in their order: size and form, chain
// and time, revocation, and the key of the channel, without which a chain is
// only something that anyone could have overheard.
func (a *Admission) judge(chain [][]byte, remote ic.PubKey) (*proof, error) {
	p, err := a.id.root.verify(chain, a.id.clock.Now())
	if err != nil {
		return nil, err
	}
	if err := a.id.revoked.check(p); err != nil {
		return nil, err
	}
	if !p.key.Equals(remote) {
		return nil, fmt.Errorf("%w: the credential is that of %s, another peer", ErrNotAdmitted, p.Peer)
	}
	return p, nil
}

// doubt notes errors that a clock far ahead would explain.
func (a *Admission) doubt(err error) error {
	if errors.Is(err, ErrExpired) {
		before := a.id.clock.State()
		a.id.clock.sawExpired()
		if now := a.id.clock.State(); now != before {
			a.log.Warn("the clock seems to be ahead: asking an issuer for the time", zap.Stringer("clock", now))
			a.notify()
		}
	}
	return err
}

// current returns why a peer may not be connected at this moment; nil if it may.
func (a *Admission) current(p peer.ID) error {
	a.mu.Lock()
	e := a.admitted[p]
	a.mu.Unlock()
	if e == nil {
		return ErrNotAdmitted
	}
	if err := a.id.revoked.check(e.proof); err != nil {
		return err
	}
	now := a.id.clock.Now()
	for _, c := range e.certs {
		if now.After(c.NotAfter) {
			return fmt.Errorf("%w: %w (on %s)", ErrNotAdmitted, ErrExpired, stamp(c.NotAfter))
		}
	}
	return nil
}

// refuseWith tells the other side why and waits until it has read that: closing
// at once would throw away what is on the way. It returns err.
func refuseWith(c channel, m message, err error) error {
	if send(c, m) == nil {
		linger(c)
	}
	return err
}

const lingerTime = time.Second

// linger waits until the other side closes, at most for lingerTime.
func linger(c channel) {
	if c.SetDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.ReadFull(c, make([]byte, 1))
	}
}
