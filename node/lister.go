package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/node/exchange"
)

const (
	// listsAtOnce is how many block lists are asked for in one call: 160 kB, so
	// that several peers share a large content's, and one that stalls has little.
	listsAtOnce = 256
	// listsTimeout bounds one such call.
	listsTimeout = 20 * time.Second
	// listsPatience is how long a fetch waits for the next list before it begins
	// without the rest: whoever has a chunk gives its list with it.
	listsPatience = 3 * time.Second
	// listsAgain is when a neighbour that had not all of them is asked again: it may
	// fetch the same, and know them by then.
	listsAgain = 250 * time.Millisecond
)

// A lister fetches the block lists of a content's chunks, of whoever knows them,
// before any block is asked for: they tell what of it is on this disk already, and
// an HTTP origin gives blocks only to who has the lists. It is a matter of saving,
// not of need: what it doesn't get comes with the chunks.
type lister struct {
	content *store.Content
	learnt  func() // called after lists were taken

	mu      sync.Mutex
	spans   []*listSpan
	ended   bool
	changed chan struct{} // closed and made anew when a span became free, or there are others
}

// A listSpan is a range of chunks some of whose lists are not known.
type listSpan struct {
	first, count int
	asked        map[peer.ID]time.Time // who was, when, and had not all of them
	busy         bool                  // being asked
}

func newLister(c *store.Content, learnt func()) *lister {
	return &lister{content: c, learnt: learnt, changed: make(chan struct{})}
}

// want wants the lists that aren't known of chunks that aren't here.
func (l *lister) want(c *store.Content) {
	have := c.Have()
	wanted := func(chunk int) bool {
		if have.ContainsInt(chunk) {
			return false
		}
		_, known := c.Blocks(chunk)
		return !known
	}
	chunks := len(c.Manifest().Chunks)
	var spans []*listSpan
	for first := 0; first < chunks; {
		if !wanted(first) {
			first++
			continue
		}
		last := first // lists in between that are known cost less than calls
		for i := first; i < min(chunks, first+listsAtOnce); i++ {
			if wanted(i) {
				last = i
			}
		}
		spans = append(spans, &listSpan{first: first, count: last - first + 1, asked: make(map[peer.ID]time.Time)})
		first = last + 1
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spans = spans
	l.tell()
}

// tell wakes those who wait for a change. It is called with mu held.
func (l *lister) tell() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// state reports how many spans are wanted still, and what to wait for until that
// may have changed.
func (l *lister) state() (wanted int, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.spans), l.changed
}

// end gives up on what is still wanted.
func (l *lister) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spans, l.ended = nil, true
	l.tell()
}

// take returns a span that p may know and nobody is asked about, a neighbour again
// after a while; and what to wait for if there is none now. Neither: there never will
// be.
func (l *lister) take(p peer.ID, near bool) (*listSpan, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.spans {
		if at, asked := s.asked[p]; !s.busy && (!asked || near && time.Since(at) >= listsAgain) {
			s.busy = true
			return s, nil
		}
	}
	if l.ended {
		return nil, nil
	}
	return nil, l.changed
}

// settle ends what take began.
func (l *lister) settle(s *listSpan, p peer.ID, whole bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.busy = false
	s.asked[p] = time.Now()
	if whole {
		for i, o := range l.spans {
			if o == s {
				l.spans = append(l.spans[:i], l.spans[i+1:]...)
				break
			}
		}
	}
	l.tell()
}

// ask asks a peer for the lists that are wanted, until there are none or the
// session ends. A peer that gives a wrong list isn't asked for more of them.
func (l *lister) ask(ctx context.Context, x *exchange.Session, near bool, log *zap.Logger) {
	again := time.NewTicker(listsAgain)
	defer again.Stop()
	for {
		span, wait := l.take(x.Peer(), near)
		if span == nil && wait == nil {
			return
		}
		if span == nil {
			select {
			case <-ctx.Done():
				return
			case <-x.Done():
				return
			case <-wait:
			case <-again.C:
			}
			continue
		}
		err := l.fetch(ctx, x, span)
		l.settle(span, x.Peer(), err == nil && l.complete(span))
		if err != nil {
			log.Debug("block lists not got", zap.Stringer("peer", x.Peer()), zap.Stringer("content", l.content.ID()), zap.Error(err))
		}
		if errors.Is(err, content.ErrCorrupt) || errors.Is(err, content.ErrFormat) || x.Err() != nil || ctx.Err() != nil {
			return
		}
	}
}

func (l *lister) fetch(ctx context.Context, x *exchange.Session, s *listSpan) error {
	within, cancel := context.WithTimeout(ctx, listsTimeout)
	defer cancel()
	lists, err := x.Lists(within, l.content.ID(), s.first, s.count)
	if err != nil {
		return err
	}
	for _, list := range lists {
		if err := l.content.SetBlocks(list.Chunk, list.Node); err != nil {
			return err
		}
	}
	if len(lists) > 0 {
		l.learnt()
	}
	return nil
}

func (l *lister) complete(s *listSpan) bool {
	for i := s.first; i < s.first+s.count; i++ {
		if _, ok := l.content.Blocks(i); !ok {
			return false
		}
	}
	return true
}
