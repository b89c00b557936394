package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/node/api"
)

// While the disk takes nothing
//
// A get that was under way when the disk of the store became full, read-only, or
// failed to sync ends its fetch and waits. Now and then it asks the store whether
// it would take what is missing (store.Ready), and if so fetches again, which goes
// on from what is verified. It reserves nothing meanwhile, so that of two that wait
// for the same room one can go on.
//
// A get that finds no room when it begins is refused: nothing was begun that could
// be waited for.

const (
	// The disk is tried after firstTry, and ever more rarely, down to lastTry: each
	// try writes as much as a block.
	firstTry = time.Second
	lastTry  = 8 * time.Second // a get is to go on within 10 s of the disk's recovery
)

// ofDisk reports whether an error is that of a disk which may take more later. What
// is gone doesn't come back by waiting.
func ofDisk(err error) bool {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrClosed) {
		return false
	}
	_, refused := errors.AsType[syscall.Errno](err)
	return refused || errors.Is(err, content.ErrNoSpace)
}

// awaitDisk waits until the store may take what is missing of the content, after
// it failed with why.
func (d *delivery) awaitDisk(ctx context.Context, why error) error {
	var done int64
	if c, ok := d.node.store.Get(d.id); ok {
		done = c.Progress()
	}
	d.mu.Lock()
	if done > d.stuckAt || d.nextTry == 0 { // it went on since the last time
		d.nextTry = firstTry
	}
	d.stuckAt = done
	d.mu.Unlock()
	log := d.node.log.With(zap.Stringer("content", d.id))
	log.Warn("get waits for the disk", zap.Error(why))
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if ctx.Err() == nil { // else it is why the get ended
			d.disk = nil
		}
	}()
	for {
		d.mu.Lock()
		d.disk = why
		pause := d.nextTry
		d.nextTry = min(2*pause, lastTry)
		d.mu.Unlock()
		if !sleep(ctx, pause) {
			return ctx.Err()
		}
		if why = d.node.store.Ready(d.id); why == nil {
			log.Info("get goes on: the disk takes writes")
			return nil
		}
	}
}

// diskText says what is wrong with the store's disk, and what to do about it.
func (n *Node) diskText(err error) (detail, next string) {
	errno, refused := errors.AsType[syscall.Errno](err)
	detail = err.Error()
	if refused {
		detail = fmt.Sprintf("%s: %v", n.store.Dir(), errno)
	}
	switch {
	case errors.Is(err, content.ErrNoSpace):
		next = "Free some space on the disk of " + n.store.Dir() + ", or let contents go (p2pnode content ls --sort size)"
	case errno == syscall.EROFS:
		next = "Mount the disk of " + n.store.Dir() + " for writing"
	default:
		next = "Check the disk of " + n.store.Dir()
	}
	return detail, next + "; it goes on by itself then"
}

// gets are the deliveries under way.
type gets struct {
	mu  sync.Mutex
	all map[*delivery]struct{}
}

func newGets() gets { return gets{all: make(map[*delivery]struct{})} }

func (g *gets) add(d *delivery) (done func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all[d] = struct{}{}
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.all, d)
	}
}

// bring reports whether one of them is of a content.
func (g *gets) bring(id content.ID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for d := range g.all {
		d.mu.Lock()
		its := d.id
		d.mu.Unlock()
		if its == id {
			return true
		}
	}
	return false
}

// waiting warns of a get that waits for the disk, if one does.
func (g *gets) waiting() (api.Warning, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for d := range g.all {
		d.mu.Lock()
		err := d.disk
		d.mu.Unlock()
		if err == nil {
			continue
		}
		detail, next := d.node.diskText(err)
		return api.Warning{Code: "waiting-for-disk", Message: fmt.Sprintf("get %s is waiting for disk: %s", d.ref, detail), Next: next}, true
	}
	return api.Warning{}, false
}
