package flow

import (
	"slices"
	"sync"
	"time"
)

// A stamped event knows when it happened.
type stamped struct {
	at    time.Time
	event event
}

// An inbox gathers events for the one goroutine that reads them. What it holds is
// bounded by what was asked for: a source can't cause an event without a request,
// but for its map, which Follow spaces.
type inbox struct {
	wake chan struct{} // one token while there is something

	mu      sync.Mutex
	events  []stamped
	sources []Source
	closed  bool
}

func newInbox() *inbox { return &inbox{wake: make(chan struct{}, 1)} }

// put adds events, with the same time. Times ascend.
func (b *inbox) put(evs ...event) {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return
	}
	now := time.Now()
	for _, ev := range evs {
		b.events = append(b.events, stamped{now, ev})
	}
	b.mu.Unlock()
	b.ring()
}

// prefer adds a prefer event, or changes what the reader's last one says: readers
// that skip about in a content may call often.
func (b *inbox) prefer(reader uint64, chunks []int) {
	ev := prefer{reader, slices.Clone(chunks[:min(len(chunks), maxFirst)])}
	b.mu.Lock()
	for i := range b.events {
		last, ok := b.events[i].event.(prefer)
		if ok && last.Reader == reader {
			b.events[i].event = ev
			b.mu.Unlock()
			return // it has been rung for
		}
	}
	b.mu.Unlock()
	b.put(ev)
}

func (b *inbox) add(src Source) {
	b.mu.Lock()
	if !b.closed && len(b.sources) < maxSources {
		b.sources = append(b.sources, src)
	}
	b.mu.Unlock()
	b.ring()
}

func (b *inbox) ring() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// take returns what has gathered; spare is used for what comes.
func (b *inbox) take(spare []stamped) ([]stamped, []Source) {
	b.mu.Lock()
	defer b.mu.Unlock()
	evs, sources := b.events, b.sources
	b.events, b.sources = spare[:0], nil
	return evs, sources
}

// close drops what is in it, and what comes.
func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.events, b.sources = nil, nil
}
