package meter

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// inFlight is how many probes of a path are remembered: at the fastest pace of
// 10 ms those of five seconds, more than Config.Patience. A power of two.
const inFlight = 512

// A Sample is what one probe told.
type Sample struct {
	// At is when the answer came, on the clock of the port: since NewPort.
	At time.Duration
	// RoundTrip is without Hold.
	RoundTrip time.Duration
	// There and Back are the ways, each off by the unknown difference of the two
	// clocks: only their changes mean something.
	There, Back time.Duration
	// Hold is how long the peer had the probe, by its own word. A long one says
	// that the peer was busy or asleep, and that the sample is worth little.
	Hold time.Duration
}

// A Path is a session with one peer.
type Path struct {
	port *Port
	addr net.Addr
	ip   netip.Addr
	pace *rate.Limiter // of answers

	mu         sync.Mutex // guards all below
	ask, reply *signer
	newest     uint32               // number of the newest probe
	oldest     uint32               // no probe before this one waits for its answer
	sent       [inFlight]sentPacket // by number
	samples    []Sample
	lost       int
	seen       window
	out        [PacketSize]byte
}

type sentPacket struct {
	at      time.Duration
	number  uint32
	waiting bool
}

// Probe sends one. Its numbers are enough for a year at the fastest pace.
func (p *Path) Probe() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.newest++
	if p.newest-p.oldest >= inFlight {
		p.oldest = p.newest - inFlight + 1
	}
	slot := &p.sent[p.newest%inFlight]
	if slot.waiting {
		p.lost++ // the caller is faster than inFlight allows for
	}
	*slot = sentPacket{at: p.port.clock(), number: p.newest, waiting: true}
	b := p.ask.sign(p.out[:0], packet{kind: asks, number: p.newest})
	if _, err := p.port.conn.WriteTo(b, p.addr); err != nil {
		slot.waiting = false // it never left, so it isn't lost on the way
		return fmt.Errorf("probe %s: %w", p.addr, err)
	}
	return nil
}

// Take appends to into what came back since the last call, and tells how many
// probes got no answer in time.
func (p *Path) Take(into []Sample) (samples []Sample, lost int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expire(p.port.clock())
	into, lost = append(into, p.samples...), p.lost
	p.samples, p.lost = p.samples[:0], 0
	return into, lost
}

// expire gives up on probes that wait too long. The caller holds mu.
func (p *Path) expire(now time.Duration) {
	for ; p.oldest <= p.newest; p.oldest++ {
		slot := &p.sent[p.oldest%inFlight]
		if !slot.waiting {
			continue
		}
		if now-slot.at <= p.port.cfg.Patience {
			return
		}
		slot.waiting = false
		p.lost++
	}
}

// answered takes in an answer.
func (p *Path) answered(b []byte, pk packet, received time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	slot := &p.sent[pk.number%inFlight]
	if pk.session != p.ask.session || !slot.waiting || slot.number != pk.number || !p.ask.verified(b) {
		return false
	}
	total := received - slot.at
	if pk.hold > total || total > p.port.cfg.Patience {
		return false
	}
	slot.waiting = false
	if len(p.samples) == inFlight { // nobody takes them
		p.samples = append(p.samples[:0], p.samples[1:]...)
	}
	p.samples = append(p.samples, Sample{
		At: received, RoundTrip: total - pk.hold, Hold: pk.hold,
		There: pk.arrived - slot.at, Back: received - (pk.arrived + pk.hold),
	})
	return true
}

// answer appends the answer to a request to reply.
func (p *Path) answer(reply, b []byte, pk packet, from net.Addr, received time.Duration) ([]byte, bool) {
	udp, ok := from.(*net.UDPAddr)
	if !ok || udp.AddrPort().Addr().Unmap() != p.ip {
		return nil, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	// The code is checked before anything is noted or counted, or else a stranger
	// could use up the peer's numbers and its share.
	if pk.session != p.reply.session || !p.reply.verified(b) || !p.seen.fresh(pk.number) ||
		!p.pace.Allow() || !p.port.all.Allow() {
		return nil, false
	}
	hold := p.port.clock() - received
	if hold > maxHold*time.Microsecond {
		return nil, false
	}
	return p.reply.sign(reply, packet{kind: answers, number: pk.number, arrived: received, hold: hold}), true
}

// Close ends the session: its probes are neither sent for nor answered any more.
func (p *Path) Close() {
	p.port.mu.Lock()
	defer p.port.mu.Unlock()
	delete(p.port.sessions, p.ask.session)
	delete(p.port.sessions, p.reply.session)
}

// A window tells numbers that are new from repeated ones, as IPsec does (RFC 4303
// section 3.4.3): the newest so far and which of the 63 before it were seen.
type window struct {
	newest uint32
	seen   uint64
}

func (w *window) fresh(n uint32) bool {
	switch {
	case n == 0:
		return false
	case n > w.newest:
		w.seen = w.seen<<(n-w.newest) | 1 // 0|1 when all fall out
		w.newest = n
		return true
	case w.newest-n > 63 || w.seen>>(w.newest-n)&1 == 1:
		return false
	}
	w.seen |= 1 << (w.newest - n)
	return true
}
