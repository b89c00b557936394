package node

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store"
)

const (
	// repairAgain is when what could not be repaired is tried again, give or take a
	// half.
	repairAgain = 10 * time.Minute
	// repairTime bounds one try, so that a content that nobody gives doesn't keep
	// others waiting. What came by then stays.
	repairTime    = time.Hour
	repairsAtOnce = 2
)

// repairs are the contents of which blocks went bad on the disk.
type repairs struct {
	wake chan struct{} // holds one when one was added

	mu  sync.Mutex
	due map[content.ID]struct{}
}

func newRepairs() *repairs {
	return &repairs{wake: make(chan struct{}, 1), due: make(map[content.ID]struct{})}
}

func (r *repairs) add(c *store.Content) {
	r.mu.Lock()
	r.due[c.ID()] = struct{}{}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *repairs) done(id content.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.due, id)
}

func (r *repairs) all() []content.ID {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.due))
}

// repair fetches again what went bad on the disk, until ctx is done.
func (n *Node) repair(ctx context.Context) error {
	for _, c := range n.store.List() {
		if c.Damaged() {
			n.repairs.add(c)
		}
	}
	for {
		again := time.After(repairAgain/2 + rand.N(repairAgain))
		select {
		case <-ctx.Done():
			return nil
		case <-n.repairs.wake:
		case <-again:
		}
		var g errgroup.Group
		g.SetLimit(repairsAtOnce)
		for _, id := range n.repairs.all() {
			g.Go(func() error {
				if n.repairOne(ctx, id) {
					n.repairs.done(id)
				}
				return nil
			})
		}
		_ = g.Wait()
	}
}

// repairOne fetches what a content misses. It reports whether there is nothing
// more to do.
//
// Where no release is known here that is valid now, whoever has the content may
// know one: its publisher may have signed it again. Without any it stays damaged,
// since it could be neither used nor served, until there is one.
func (n *Node) repairOne(ctx context.Context, id content.ID) bool {
	c, ok := n.store.Get(id)
	if !ok || !c.Damaged() {
		return true
	}
	known := n.stillValid(n.catalogue.of(id))
	ctx, cancel := context.WithTimeout(ctx, repairTime)
	defer cancel()
	if _, err := n.fetch(ctx, wish{id: id, releases: known, patience: n.cfg.FirstSource}, func(*fetch) {}); err != nil {
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, errNoRelease):
			n.log.Warn("damaged content is not fetched again: no release of it is valid", zap.Stringer("content", id), zap.Error(err))
		default:
			n.log.Warn("damaged content could not be fetched again yet", zap.Stringer("content", id), zap.Error(err))
		}
		return false
	}
	n.log.Info("damaged content is whole again", zap.Stringer("content", id))
	return true
}
