package node

import "context"

// Readers of a fetch
//
// A reader says which chunks it waits for. Until one does, a fetch that was begun for
// readers stays with the manifest. While a get looks through this disk, a flow of
// readers' own brings what they wait for; after that it is the flow's.

// isWanted says that somebody wants more than the manifest.
func (f *fetch) isWanted() { f.want.Do(func() { close(f.wanted) }) }

// prefer has chunks brought first for a reader, in place of what it preferred
// before; without any, it has left.
func (f *fetch) prefer(reader uint64, chunks []int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.wishes == nil:
		f.flow.Prefer(reader, chunks...)
		return
	case len(chunks) == 0:
		delete(f.wishes, reader)
	default:
		f.wishes[reader] = chunks
		f.isWanted()
	}
	select {
	case <-f.settled:
		if early := f.preparation.early; early != nil {
			early.Prefer(reader, chunks...)
		}
	default:
	}
}

// start lets others use the flow, which knows what readers wait for by then.
func (f *fetch) start() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for reader, chunks := range f.wishes {
		f.flow.Prefer(reader, chunks...)
	}
	f.wishes = nil
	close(f.begun)
}

// meanwhile brings what readers wait for, and nothing else, until stop is called.
func (f *fetch) meanwhile(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	early := f.preparation.early
	f.mu.Lock()
	for reader, chunks := range f.wishes {
		early.Prefer(reader, chunks...)
	}
	f.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = early.Run(ctx) // what goes wrong here does so in the flow
	}()
	return func() {
		cancel()
		<-ended
	}
}
