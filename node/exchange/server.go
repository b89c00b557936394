package exchange

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/p2pnode/p2pnode/content"
)

// A server answers what one peer asks on one stream: a reader takes what is asked
// into queues, a writer works them off.
type server struct {
	line
	x    *Exchange
	asks *rate.Limiter // of block lists: the peer's budget
	wake chan struct{} // a signal to the writer that there is something to write
	room chan struct{} // a signal to the reader that control has room again

	// Guarded by line.mu.
	jobs    map[uint32]*job // asked and not ended
	counts  [jobClasses]int // of jobs
	control []header        // frames without payload, to be written before all else
	queue   [jobClasses][]*job
}

// The classes of jobs, by which comes first.
const (
	followJob  = iota // queued while its map may have changed
	answerJob         // releases, manifests and block lists
	requestJob        // blocks
	jobClasses
)

var jobLimits = [jobClasses]int{followJob: maxFollows, answerJob: maxCalls, requestJob: maxRequests}

// A job is something asked that is answered by frames with payload.
type job struct {
	id        uint32
	class     int
	worker    worker
	queued    bool          // guarded by the server's mu, as is its queue
	forgotten chan struct{} // closed when it is off the books
}

// A worker writes a job's answer.
type worker interface {
	// step adds the next frames to o: what fits, but no more than one full frame. It
	// reports whether the job is done, and if so, with which code its end is to be
	// told; codeTold if what was added tells it.
	step(o *outbox) (done bool, code uint8)
}

// codeTold stands for an end that needs no frame of its own.
const codeTold = codeCount

func newServer(x *Exchange, stream network.Stream, asks *rate.Limiter) *server {
	return &server{
		line: newLine(stream, &x.group),
		x:    x,
		asks: asks,
		wake: make(chan struct{}, 1),
		room: make(chan struct{}, 1),
		jobs: make(map[uint32]*job),
	}
}

// serve reads and writes until the line ends.
func (s *server) serve() {
	written := make(chan struct{})
	go func() {
		defer close(written)
		s.writeAll()
	}()
	s.readAll()
	<-written
}

func (s *server) readAll() {
	var payload [max(requestSize, maxName, content.HashSize)]byte
	for {
		h, ok := s.readHeader(false)
		if !ok || !s.readPayload(payload[:h.length]) {
			return
		}
		if err := s.take(h, payload[:h.length]); err != nil {
			s.x.log.Info("peer breaks the exchange protocol", zap.Stringer("peer", s.peer), zap.Error(err))
			s.breach(err)
			return
		}
		if !s.waitForRoom() {
			return
		}
	}
}

// waitForRoom waits while more frames without payload are queued than a peer that
// reads would leave. It reports false if the line has ended.
func (s *server) waitForRoom() bool {
	for {
		s.mu.Lock()
		full := len(s.control) >= maxControl
		s.mu.Unlock()
		if !full {
			return true
		}
		select {
		case <-s.room:
		case <-s.done:
			return false
		}
	}
}

// take notes what a frame asks. An error breaks the protocol.
func (s *server) take(h header, payload []byte) error {
	switch h.kind {
	case kindCancel:
		s.cancel(h.id)
		return nil
	case kindNarrow:
		s.narrow(h.id, binary.BigEndian.Uint64(payload))
		return nil
	case kindPing:
		s.tell(header{kind: kindPong, id: h.id})
		return nil
	case kindReleases:
		name := string(payload)
		return s.add(h.id, answerJob, &answer{id: h.id, load: func() []part { return named(s.x.library, name) }})
	case kindManifest:
		id := content.ID(payload)
		return s.add(h.id, answerJob, &answer{id: h.id, load: func() []part { return manifest(s.x.library, id) }})
	case kindFollow:
		t := &telling{id: h.id, content: content.ID(payload), library: s.x.library, log: s.x.log}
		return s.add(h.id, followJob, t)
	case kindLists:
		id, first, end, err := parseLists(payload)
		if err != nil {
			return err
		}
		return s.add(h.id, answerJob, &listing{id: h.id, content: id, next: first, end: end, library: s.x.library})
	default:
		a, err := parseAsk(payload)
		if err != nil {
			return err
		}
		s.counters.requests.Add(1)
		w := &sending{id: h.id, ask: a, list: h.flags&flagList != 0, library: s.x.library, log: s.x.log}
		w.keep.Store(All)
		return s.add(h.id, requestJob, w)
	}
}

// add queues a job, or answers that there are too many of its class.
func (s *server) add(id uint32, class int, w worker) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.jobs[id] != nil {
		return fmt.Errorf("%d is asked while it is not ended", id)
	}
	if s.counts[class] == jobLimits[class] {
		s.end(id, class, codeBusy)
		return nil
	}
	j := &job{id: id, class: class, worker: w, forgotten: make(chan struct{})}
	s.jobs[id] = j
	s.counts[class]++
	switch w := w.(type) {
	case *telling:
		s.group.Go(func() { s.watchChanges(j, w.content) })
	case *listing:
		taken := s.asks.ReserveN(time.Now(), w.end-w.next)
		if taken.Delay() == 0 {
			s.enqueue(j)
			break
		}
		s.group.Go(func() { s.later(j, taken) })
	default:
		s.enqueue(j)
	}
	return nil
}

// enqueue gives a job to the writer. Callers hold mu.
func (s *server) enqueue(j *job) {
	if !j.queued {
		j.queued = true
		s.queue[j.class] = append(s.queue[j.class], j)
		s.wakeWriter()
	}
}

// end tells that id is answered. Callers hold mu.
func (s *server) end(id uint32, class int, code uint8) {
	if class == requestJob {
		s.counters.ended(code)
	}
	if code != codeTold {
		s.control = append(s.control, header{kind: kindEnd, index: code, id: id})
		s.wakeWriter()
	}
}

// tell queues a frame without payload.
func (s *server) tell(h header) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.control = append(s.control, h)
	s.wakeWriter()
}

// cancel ends a job, unless it has ended: then its end is under way.
func (s *server) cancel(id uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[id]; j != nil {
		s.forget(j)
		s.end(id, j.class, codeCancelled)
	}
}

// narrow takes blocks off a request, unless it has ended.
func (s *server) narrow(id uint32, keep uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[id]; j != nil {
		if w, ok := j.worker.(*sending); ok {
			w.keep.And(keep)
		}
	}
}

// forget takes a job off the books and out of its queue. Callers hold mu.
func (s *server) forget(j *job) {
	delete(s.jobs, j.id)
	s.counts[j.class]--
	close(j.forgotten)
	s.dequeue(j)
}

// dequeue takes a job out of its queue. Callers hold mu.
func (s *server) dequeue(j *job) {
	q := s.queue[j.class]
	if i := slices.Index(q, j); i >= 0 {
		j.queued = false
		s.queue[j.class] = slices.Delete(q, i, i+1)
	}
}

func (s *server) wakeWriter() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
