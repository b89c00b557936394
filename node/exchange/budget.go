package exchange

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"
)

// What block lists a peer may ask for. One costs 20 µs of a core if it isn't at
// hand, against 50 bytes that ask for a thousand; so a peer has as many as a second
// as belong to 4 GiB of content, which is more than a link carries and a tenth of a
// core, and before that as many as it may ask for at once.
const (
	listsPerSecond = 4096
	listsAtOnce    = maxCalls * MaxLists
)

// budget returns what a peer may ask for, however often it opens a stream. Callers
// hold mu.
func (x *Exchange) budget(p peer.ID) *rate.Limiter {
	b := x.budgets[p]
	if b == nil {
		b = rate.NewLimiter(listsPerSecond, listsAtOnce)
		x.budgets[p] = b
	}
	return b
}

// sweepBudgets forgets the budgets of peers that have no stream, once they are as
// good as new.
func (x *Exchange) sweepBudgets(now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	served := make(map[peer.ID]struct{}, len(x.servers))
	for s := range x.servers {
		served[s.peer] = struct{}{}
	}
	for p, b := range x.budgets {
		if _, ok := served[p]; !ok && b.TokensAt(now) >= listsAtOnce {
			delete(x.budgets, p)
		}
	}
}

// later queues a job once what it takes of the budget is there. What is given up
// before that takes nothing.
func (s *server) later(j *job, taken *rate.Reservation) {
	timer := time.NewTimer(taken.Delay())
	defer timer.Stop()
	select {
	case <-timer.C:
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.jobs[j.id] == j {
			s.enqueue(j)
		}
	case <-j.forgotten:
		taken.Cancel()
	case <-s.done:
		taken.Cancel()
	}
}
