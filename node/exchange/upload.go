package exchange

import (
	"math"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// An upload gives servers their turns: it runs what turns decides.
type upload struct {
	mu    sync.Mutex
	turns *turns
	own   map[*seat]*berth
	got   []*seat // reused
	timer *time.Timer
	armed bool // the timer will ring
}

// A berth is a server's place in the upload. Only its server's writer uses it.
type berth struct {
	upload *upload
	seat   *seat
	// turn has a token when the turn has come since want said that it hasn't.
	turn chan struct{}
}

func newUpload(slots int) *upload {
	u := &upload{turns: newTurns(slots), own: make(map[*seat]*berth)}
	u.timer = time.AfterFunc(math.MaxInt64, u.ring)
	return u
}

// close ends what is left of it. No server runs any more.
func (u *upload) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.timer.Stop()
}

func (u *upload) enter(p peer.ID) *berth {
	u.mu.Lock()
	defer u.mu.Unlock()
	b := &berth{upload: u, seat: u.turns.enter(p), turn: make(chan struct{}, 1)}
	u.own[b.seat] = b
	return b
}

func (b *berth) leave() {
	u := b.upload
	u.mu.Lock()
	defer u.mu.Unlock()
	u.turns.leave(b.seat)
	delete(u.own, b.seat)
	u.give(time.Now())
}

// want asks for a turn and reports whether it has come. If not, turn gets a token
// when it has.
func (b *berth) want() bool {
	u := b.upload
	u.mu.Lock()
	defer u.mu.Unlock()
	u.turns.want(b.seat)
	u.give(time.Now())
	return b.take()
}

// take reports whether the turn has come, and takes the token that says so.
// Callers hold mu.
func (b *berth) take() bool {
	if b.seat.phase != serving {
		return false
	}
	select {
	case <-b.turn:
	default:
	}
	return true
}

// wrote tells what was written in the turn, and reports whether it goes on.
func (b *berth) wrote(bytes int, whole bool) bool {
	u := b.upload
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	if u.turns.wrote(now, b.seat, bytes, whole) {
		return true
	}
	u.give(now)
	return b.take()
}

// wanted reports whether more than one are sent something, or wait for it.
func (u *upload) wanted() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.turns.waiting)+len(u.turns.serving) > 1
}

// rest gives the turn up: there is nothing to be sent.
func (b *berth) rest() {
	u := b.upload
	u.mu.Lock()
	defer u.mu.Unlock()
	u.turns.rest(b.seat)
	u.give(time.Now())
}

// give tells those whose turn has come. Callers hold mu.
func (u *upload) give(now time.Time) {
	u.got = u.turns.next(now, u.got)
	for _, s := range u.got {
		select {
		case u.own[s].turn <- struct{}{}:
		default:
		}
	}
	if u.armed {
		return
	}
	if at := u.turns.due(now); !at.IsZero() {
		u.armed = true
		u.timer.Reset(at.Sub(now))
	}
}

func (u *upload) ring() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.armed = false
	u.give(time.Now())
}
