package wan

import (
	"math/rand/v2"
	"time"
)

// A Packet is what a Link knows of a packet.
type Packet struct {
	ID    int // the caller's, to know it again
	Size  int // bytes of the IP packet
	Class int // whose counts it stands in, from 0
}

// A Fate is what became of a packet.
type Fate uint8

const (
	Delivered Fate = iota + 1
	Full           // it found no room in the queue
	Lost           // by chance
	Out            // in an outage
)

// A Link is one direction. It has no clock and moves no bytes: it is told what
// comes and the time since it began, which never runs backwards, and says what
// leaves. The same seed and calls give the same answers.
type Link struct {
	settings Settings
	since    time.Duration // when settings took effect

	// The first packet of queue is being sent until free; those behind it wait.
	queue fifo
	bytes int // of all in queue, on the wire
	free  time.Duration

	line   line          // what left the queue and is to arrive
	latest time.Duration // of all arrivals so far, for keeping the order
	gone   fifo          // what left the queue and is not to arrive

	channel channel
	jitter  *rand.Rand

	counts []Count
}

// entry is a packet on its way.
type entry struct {
	Packet
	wire int // its size with the overhead that applied when it came
	fate Fate
	came time.Duration
	at   time.Duration // when it arrives
	turn uint64        // among those on the line; settles ties
}

// NewLink returns an empty link for packets of so many classes.
func NewLink(s Settings, classes int, seed uint64) (*Link, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	// Two streams, so that jitter doesn't change which packets are lost.
	return &Link{
		settings: s,
		channel:  channel{rng: rand.New(rand.NewPCG(seed, 1))},
		jitter:   rand.New(rand.NewPCG(seed, 2)),
		counts:   make([]Count, classes),
	}, nil
}

// Settings returns what applies now.
func (l *Link) Settings() Settings { return l.settings }

// Set changes the settings. Whatever waits leaves at the new rate, the rest of the
// packet that is being sent too, and stays even if it is more than the new buffer.
// What has left the queue arrives when it was to arrive.
func (l *Link) Set(now time.Duration, s Settings) error {
	if err := s.check(); err != nil {
		return err
	}
	l.drain(now)
	if l.queue.len() > 0 {
		// Something waits, so there was a rate.
		rest := ceilDiv(int64(l.free-now)*int64(l.settings.Rate), int64(max(s.Rate, 1)))
		if s.Rate == 0 {
			rest = 0
		}
		l.free = now + time.Duration(rest)
	}
	l.settings, l.since = s, now
	return nil
}

// Offer hands the link a packet. It returns false if the packet was dropped
// because the buffer is full: the link has forgotten it then.
func (l *Link) Offer(now time.Duration, p Packet) bool {
	l.drain(now)
	wire := p.Size + l.settings.Overhead
	c := &l.counts[p.Class]
	c.Offered.add(wire)
	if l.settings.Rate > 0 && l.bytes > 0 && l.bytes+wire > l.settings.Buffer.bytes(l.settings.Rate) {
		c.Full.add(wire)
		return false
	}
	if l.queue.len() == 0 {
		l.free = now + l.sending(wire)
	}
	l.bytes += wire
	l.queue.push(entry{Packet: p, wire: wire, came: now})
	return true
}

// Next returns when to call Take next, if nothing is offered or set before. It may
// have nothing then: a packet that leaves the queue is still to cross the line.
func (l *Link) Next() (time.Duration, bool) {
	next, ok := time.Duration(0), false
	if l.queue.len() > 0 {
		next, ok = l.free, true
	}
	if l.gone.len() > 0 {
		return 0, true
	}
	if l.line.len() > 0 && (!ok || l.line.head().at < next) {
		next, ok = l.line.head().at, true
	}
	return next, ok
}

// Take returns a packet that arrived or was lost by now: when, and its fate. What
// arrives comes in the order of arrival. Call it until it returns false.
func (l *Link) Take(now time.Duration) (p Packet, at time.Duration, fate Fate, ok bool) {
	l.drain(now)
	var e entry
	switch {
	case l.gone.len() > 0:
		e = l.gone.pop()
	case l.line.len() > 0 && l.line.head().at <= now:
		e = l.line.pop()
		l.counts[e.Class].Delivered.add(e.wire)
	default:
		return Packet{}, 0, 0, false
	}
	return e.Packet, e.at, e.fate, true
}

// drain lets leave the queue what had its time by now.
func (l *Link) drain(now time.Duration) {
	for l.queue.len() > 0 && l.free <= now {
		e, left := l.queue.pop(), l.free
		l.bytes -= e.wire
		if l.queue.len() > 0 {
			l.free += l.sending(l.queue.head().wire)
		}
		l.leave(e, left)
	}
}

// leave decides what becomes of a packet that has left the queue.
func (l *Link) leave(e entry, left time.Duration) {
	c := &l.counts[e.Class]
	c.Left++
	c.Queueing += left - e.came
	// The channel sees every packet, so that an outage doesn't change which are
	// lost after it.
	lost := l.channel.loses(l.settings.Loss)
	e.at = left
	switch {
	case l.settings.out(left - l.since):
		c.Out.add(e.wire)
		e.fate = Out
		l.gone.push(e)
		return
	case lost:
		c.Lost.add(e.wire)
		e.fate = Lost
		l.gone.push(e)
		return
	}
	e.fate = Delivered
	e.at += l.settings.Delay
	if j := l.settings.Jitter; j > 0 {
		e.at += time.Duration(l.jitter.Int64N(int64(j) + 1))
	}
	if !l.settings.Reorder {
		e.at = max(e.at, l.latest)
	}
	l.latest = max(l.latest, e.at)
	l.line.push(e)
}

// sending returns how long so many bytes take, rounded up: no packet leaves early.
func (l *Link) sending(bytes int) time.Duration {
	if l.settings.Rate == 0 {
		return 0
	}
	return time.Duration(ceilDiv(int64(bytes)*8*int64(time.Second), int64(l.settings.Rate)))
}

// Waiting returns how many packets and bytes are in the queue.
func (l *Link) Waiting() (packets, bytes int) { return l.queue.len(), l.bytes }

// Counts returns what was carried so far, by class. The slice is the link's own.
func (l *Link) Counts() []Count { return l.counts }

func ceilDiv(a, b int64) int64 { return (a + b - 1) / b }
