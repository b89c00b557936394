package exchange

import (
	"slices"

	"github.com/p2pnode/p2pnode/content"
)

// writeAll writes until the line ends. The buffer for it is lent only while there
// is something to write: who waits for a turn has none.
func (s *server) writeAll() {
	berth := s.x.upload.enter(s.peer)
	defer berth.leave()
	for {
		turn := false
		select {
		case <-s.wake:
		case <-berth.turn:
			turn = true
		case <-s.done:
			return
		}
		if !s.writeQueued(berth, turn) {
			return
		}
	}
}

// writeQueued writes until nothing is left that may be written before the next turn
// comes. It reports false if the line has ended.
func (s *server) writeQueued(berth *berth, turn bool) bool {
	o := outbox{pool: &s.x.buffers, lent: s.x.buffers.get(sizes[0])}
	defer func() { o.lent.free() }()
	for {
		o.b, o.block = o.lent.b[:0], 0
		g := s.gather(&o, turn)
		if len(o.b) > 0 && !s.write(o.b) {
			return false
		}
		if o.block > 0 {
			s.counters.block(o.block)
		}
		switch {
		case g.stepped:
			turn = berth.wrote(len(o.b), g.whole)
		case g.more:
			if turn = berth.want(); !turn {
				return true
			}
		case g.idle:
			if turn {
				berth.rest()
			}
			return true
		}
	}
}

// gathered is what gather found to do.
type gathered struct {
	stepped bool // something that takes a turn, of which is in the outbox what the job had to add
	whole   bool // the job ended with it
	more    bool // nothing but what takes a turn is left, and it isn't ours
	idle    bool // nothing at all is left
}

// gather adds to o what is written next: frames without payload, and one step of
// the first job. Unless it is our turn, jobs that take one aren't looked at.
func (s *server) gather(o *outbox, turn bool) (g gathered) {
	j, more := s.next(o, turn)
	if j == nil {
		return gathered{more: more, idle: !more && len(o.b) == 0}
	}
	before := len(o.b)
	done, code := j.worker.step(o)
	if w, ok := j.worker.(*sending); ok && o.block > 0 && !w.told {
		w.told = true
		s.x.courtesy.gave(s.peer, w.ask)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if w, ok := j.worker.(*sending); ok {
		s.yield(w.ask.content)
	}
	g.stepped = j.class != followJob
	g.whole = done
	switch {
	case s.jobs[j.id] != j:
		// Cancelled meanwhile: its end is queued, and must not come twice.
		o.b, o.block = o.b[:before], 0
		g.whole = true
	case done:
		s.forget(j)
		s.end(j.id, j.class, code)
	}
	return g
}

// next adds frames without payload to o and returns the job to be done, nil if there
// is none, or none but with a turn: then more is true.
func (s *server) next(o *outbox, turn bool) (j *job, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := min(len(s.control), controlBatch); n > 0 {
		for _, h := range s.control[:n] {
			o.add(h)
		}
		s.control = slices.Delete(s.control, 0, n)
		select {
		case s.room <- struct{}{}:
		default:
		}
	}
	j = s.first()
	switch {
	case j == nil:
	case j.class == followJob:
		s.dequeue(j) // now, so that a change while its map is read queues it again
	case !turn:
		return nil, true
	case j.class == requestJob:
		j = s.courteous()
	}
	return j, false
}

// first returns the job that comes first, nil if there is none. Callers hold mu.
func (s *server) first() *job {
	for class := range s.queue {
		if len(s.queue[class]) > 0 {
			return s.queue[class][0]
		}
	}
	return nil
}

// yield puts the requests for a content, of which some was sent, behind those for
// others: a flow that hears nothing for a second takes the peer for stalled. Callers
// hold mu.
func (s *server) yield(id content.ID) {
	q := s.queue[requestJob]
	its := func(j *job) bool { return j.worker.(*sending).ask.content == id }
	if !slices.ContainsFunc(q, func(j *job) bool { return !its(j) }) {
		return
	}
	slices.SortStableFunc(q, func(a, b *job) int {
		switch {
		case its(a) == its(b):
			return 0
		case its(b):
			return -1
		}
		return 1
	})
}

// courteous returns the request to be answered, nil if all were answered busy: one for
// the content that comes first. Callers hold mu.
func (s *server) courteous() *job {
	for len(s.queue[requestJob]) > 0 {
		q := s.queue[requestJob]
		turn := q[0].worker.(*sending).ask.content
		same := slices.IndexFunc(q, func(j *job) bool { return j.worker.(*sending).ask.content != turn })
		if same < 0 {
			same = len(q)
		}
		i, busy := s.x.courtesy.choose(s.peer, q[:same], s.x.upload.wanted)
		j := q[i]
		if !busy {
			copy(q[1:], q[:i])
			q[0] = j
			return j
		}
		s.forget(j)
		s.end(j.id, j.class, codeBusy)
	}
	return nil
}

// An outbox gathers frames into one Write. Its buffer is small until more is to be
// written: what a node has is told to all its peers at once, in a few bytes, and with
// room for a block 50 peers would take 14 MB.
type outbox struct {
	pool  *buffers
	lent  *buffer // what b is in, unless it outgrew all buffers
	b     []byte
	block int // bytes of the block among them
}

// fit makes room for n more bytes, if a buffer has it.
func (o *outbox) fit(n int) {
	if n += len(o.b); n <= cap(o.b) || n > outSize {
		return
	}
	larger := o.pool.get(n)
	o.b = append(larger.b[:0], o.b...)
	o.lent.free()
	o.lent = larger
}

// add adds a frame without payload.
func (o *outbox) add(h header) { o.b = h.append(o.b) }

// addPayload adds a frame.
func (o *outbox) addPayload(h header, payload []byte) {
	o.fit(headerSize + len(payload))
	h.length = uint32(len(payload))
	o.b = append(h.append(o.b), payload...)
}

// room returns where the payload of a block of n bytes may be put, before addBlock.
func (o *outbox) room(n int) []byte {
	o.fit(headerSize + n)
	start := len(o.b) + headerSize
	return o.b[start : start+n : start+n]
}

// addBlock adds a block's frame; data is what was put in room, or lies elsewhere.
func (o *outbox) addBlock(h header, data []byte) {
	h.length = uint32(len(data))
	room := o.room(len(data))
	if &room[0] != &data[0] {
		copy(room, data)
	}
	o.b = h.append(o.b)
	o.b = o.b[:len(o.b)+len(data)]
	o.block = len(data)
}
