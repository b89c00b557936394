package flow

import (
	"errors"
	"sync"

	"github.com/p2pnode/p2pnode/content"
)

// A job is a block to be judged.
type job struct {
	from    *feed
	chunk   int
	block   uint8
	data    []byte
	release func()
}

// A queue holds the blocks that arrived until a worker has time. Adding never
// waits: what it may hold is what was asked for (Config.Flying).
type queue struct {
	mu     sync.Mutex
	more   *sync.Cond
	jobs   []job
	first  int // jobs[:first] are taken
	closed bool
}

func newQueue() *queue {
	q := &queue{}
	q.more = sync.NewCond(&q.mu)
	return q
}

// add reports whether the queue took the job.
func (q *queue) add(j job) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	if q.first > len(q.jobs)/2 {
		n := copy(q.jobs, q.jobs[q.first:])
		clear(q.jobs[n:])
		q.jobs, q.first = q.jobs[:n], 0
	}
	q.jobs = append(q.jobs, j)
	q.more.Signal()
	return true
}

// take waits for a job; false when the queue is closed.
func (q *queue) take() (job, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.first == len(q.jobs) && !q.closed {
		q.more.Wait()
	}
	if q.closed {
		return job{}, false
	}
	j := q.jobs[q.first]
	q.jobs[q.first] = job{}
	q.first++
	return j, true
}

// close lets the workers go, and the blocks that nobody judged.
func (q *queue) close() {
	q.mu.Lock()
	jobs := q.jobs[q.first:]
	q.jobs, q.first, q.closed = nil, 0, true
	q.mu.Unlock()
	q.more.Broadcast()
	for _, j := range jobs {
		j.release()
	}
}

// work judges blocks until the queue is closed.
func (f *Flow) work(fatal func(error)) {
	for {
		j, ok := f.queue.take()
		if !ok {
			return
		}
		fresh, err := f.cfg.Target.WriteBlock(j.chunk, int(j.block), j.data)
		bytes := uint32(len(j.data))
		j.release()
		v := Verified
		switch {
		case errors.Is(err, content.ErrCorrupt):
			v = Corrupt
		case err != nil:
			fatal(err)
			continue
		case !fresh:
			v = Duplicate
		}
		f.inbox.put(j.from.judged(j.chunk, j.block, bytes, v))
	}
}
