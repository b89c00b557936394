package sim

import (
	"sync"
	"time"

	"github.com/p2pnode/p2pnode/testnet/wan"
)

// A Class says what a packet is for, as far as its outside tells.
type Class int

const (
	Handshake Class = iota // QUIC packets with a long header: a connection begins
	Session                // the others: what a connection carries
	classes
)

func (c Class) String() string { return [classes]string{"handshake", "session"}[c] }

// classOf reads the form bit of a QUIC packet (RFC 8999, section 5).
func classOf(b []byte) Class {
	if len(b) > 0 && b[0]&0x80 != 0 {
		return Handshake
	}
	return Session
}

// grid is what times of arrival are rounded up to. The bubble's clock stops at each
// time that something is due, and each stop costs as much as there are timers: with
// whole milliseconds, hosts answer each other in step and 1,000 of them take a
// third of the time.
const grid = time.Millisecond

// onGrid returns d from now, rounded up to the grid.
func onGrid(d time.Duration) time.Duration {
	now := time.Now()
	at := now.Add(max(d, 0))
	if on := at.Truncate(grid); on.Before(at) {
		at = on.Add(grid)
	}
	return at.Sub(now)
}

// headers is what IPv4 and UDP add to a packet.
const headers = 28

// A pipe is one direction of a site's access link: a wan.Link driven by the
// bubble's clock. What arrives is handed to out, in the order of arrival.
type pipe struct {
	began time.Time
	out   func(packet)

	mu    sync.Mutex
	link  *wan.Link
	timer *time.Timer
	armed bool // timer is yet to fire
	// inside has the packets that the link knows by number.
	inside map[int]packet
	last   int
}

func newPipe(s wan.Settings, seed uint64, out func(packet)) (*pipe, error) {
	l, err := wan.NewLink(s, int(classes), seed)
	if err != nil {
		return nil, err
	}
	p := &pipe{began: time.Now(), out: out, link: l, inside: make(map[int]packet)}
	p.timer = time.AfterFunc(time.Hour, p.work)
	p.timer.Stop()
	return p, nil
}

// offer hands the link a packet.
func (p *pipe) offer(k packet) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Since(p.began)
	p.last++
	if p.link.Offer(now, wan.Packet{ID: p.last, Size: len(k.bytes) + headers, Class: int(classOf(k.bytes))}) {
		p.inside[p.last] = k
	}
	p.arm(now)
}

// work hands on what has arrived.
func (p *pipe) work() {
	p.mu.Lock()
	p.armed = false
	now := time.Since(p.began)
	var arrived []packet
	for {
		w, _, fate, ok := p.link.Take(now)
		if !ok {
			break
		}
		if fate == wan.Delivered {
			arrived = append(arrived, p.inside[w.ID])
		}
		delete(p.inside, w.ID)
	}
	p.arm(now)
	p.mu.Unlock()
	for _, k := range arrived {
		p.out(k)
	}
}

// arm sets the timer to when the link has to be looked at next, unless it is set: it
// has to be looked at no earlier because something was offered. mu is held.
func (p *pipe) arm(now time.Duration) {
	if p.armed {
		return
	}
	if next, ok := p.link.Next(); ok {
		p.armed = true
		p.timer.Reset(onGrid(next - now))
	}
}

// set changes the link's settings.
func (p *pipe) set(s wan.Settings) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Since(p.began)
	err := p.link.Set(now, s)
	p.armed = false
	p.arm(now)
	return err
}

// counts returns what the link carried so far, by Class.
func (p *pipe) counts() []wan.Count {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]wan.Count(nil), p.link.Counts()...)
}
