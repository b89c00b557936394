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

// Bounds of what a process may take more than before.
const (
	moreGoroutines = 10 // G36
	// Each connection is a descriptor, and each node may by chance have a second one
	// to every other; a few are those of files that are open for a while.
	moreDescriptors = 16
	// The collector lets the heap grow to twice what is in use, and gives it back
	// within minutes. What was in use at the baseline is no more than this.
	moreMemory = 64 << 20
)

// leaks says what a process takes more than it may; empty if nothing.
func (g Growth) leaks() (what []string) {
	for _, x := range []struct {
		name                string
		before, after, most int64
	}{
		{"goroutines", int64(g.Before.Goroutines), int64(g.After.Goroutines), moreGoroutines},
		{"descriptors", int64(g.Before.Descriptors), int64(g.After.Descriptors), moreDescriptors},
		{"KiB of memory", g.Before.RSS >> 10, g.After.RSS >> 10, moreMemory >> 10},
	} {
		if x.after > x.before+x.most {
			what = append(what, fmt.Sprintf("%d %s, %d before", x.after, x.name, x.before))
		}
	}
	return what
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
			leaks = leaks || len(g.leaks()) > 0
		})
		if err != nil || !leaks || r.now() >= end {
			return err
		}
		if err := r.until(ctx, r.now()+between); err != nil {
			return err
		}
	}
}

// read asks every process what it takes.
func (r *run) read(ctx context.Context, note func(*Growth, box.Usage)) error {
	for _, n := range r.box.Nodes() {
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
