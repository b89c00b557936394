package chaos

import (
	"context"
	"fmt"
	"time"

	"github.com/p2pnode/p2pnode/testnet/box"
)

const (
	// What a process takes is read after it had so long to come to rest, so often,
	// and the most counts.
	restBefore = 10 * time.Second
	readings   = 5
	between    = time.Second

	// After the faults it may take so long to give back what it took: twice the 60 s
	// of G36, as frozen peers keep connections half open until they time out.
	restAfter = 2 * time.Minute
)

// bounds are what a process may take more than before.
type bounds struct {
	Goroutines, Descriptors int
	Memory                  int64 // bytes resident
}

const (
	moreGoroutines = 10 // G36
	// Two nodes may have met twice, and who was moved is known by two addresses: a
	// connection more has so many goroutines (measured: 5).
	ofConnection = 6

	// Connections come and go: by chance a node has a second one to each of a few
	// others, or a file open at the time.
	moreDescriptors = 16
	// The store keeps the files open that it read last, up to storeFiles of all
	// contents: here each has one, and its list of blocks (content/store/files.go).
	filesOfContent, storeFiles = 2, 128

	// The collector lets the heap grow to twice what is in use, and gives it back
	// within minutes. What was in use at the baseline is no more than this.
	moreMemory = 64 << 20
)

// bounds returns what a process may take more when all of the timeline is over.
func (t Timeline) bounds(g Growth) bounds {
	met := max(0, g.After.Connections-g.Before.Connections)
	files := min(storeFiles, filesOfContent*(len(t.Contents)-1))
	return bounds{moreGoroutines + met*ofConnection, moreDescriptors + met + files, moreMemory}
}

// more is how much more a process takes.
func (g Growth) more() bounds {
	return bounds{g.After.Goroutines - g.Before.Goroutines, g.After.Descriptors - g.Before.Descriptors, g.After.RSS - g.Before.RSS}
}

// within reports whether nothing is more than most.
func (b bounds) within(most bounds) bool {
	return b.Goroutines <= most.Goroutines && b.Descriptors <= most.Descriptors && b.Memory <= most.Memory
}

// baseline notes what each process takes when it has come to rest.
func (r *run) baseline(ctx context.Context) error {
	if err := r.until(ctx, r.now()+restBefore); err != nil {
		return err
	}
	for range readings {
		err := r.read(ctx, func(g *Growth, u box.Usage) {
			b := &g.Before
			b.RSS, b.Goroutines, b.Descriptors = max(b.RSS, u.RSS), max(b.Goroutines, u.Goroutines), max(b.Descriptors, u.Descriptors)
			b.Connections = max(b.Connections, u.Connections)
		})
		if err != nil {
			return err
		}
		if err := r.until(ctx, r.now()+between); err != nil {
			return err
		}
	}
	return nil
}

// settle waits until every process has given back what it took, or had its time.
func (r *run) settle(ctx context.Context) error {
	r.tell("waiting until every process has given back what it took, %v at most", restAfter)
	for end := r.now() + restAfter; ; {
		leaks := false
		err := r.read(ctx, func(g *Growth, u box.Usage) {
			g.After = u
			leaks = leaks || !g.more().within(r.plan.bounds(*g))
		})
		if err != nil || !leaks || r.now() >= end {
			return err
		}
		if err := r.until(ctx, r.now()+between); err != nil {
			return err
		}
	}
}

// read asks every process that runs what it takes.
func (r *run) read(ctx context.Context, note func(*Growth, box.Usage)) error {
	for _, n := range r.box.Nodes() {
		if !n.Running() {
			continue // calm tells
		}
		u, err := n.Usage(ctx)
		if err != nil {
			return fmt.Errorf("usage of %s: %w", n.Name(), err)
		}
		r.rec.note(func(rec *Record) {
			g := rec.Usage[n.Name()]
			note(&g, u)
			rec.Usage[n.Name()] = g
		})
	}
	return nil
}
