package node

import (
	"context"
	"sync"

	"github.com/p2pnode/p2pnode/content"
)

// uses knows which contents gets are writing out and readers of the gateway have
// open, so that a get --move takes a content away from none of them: it waits until
// it is the only one, and whoever comes after that waits until it is done.
type uses struct {
	mu sync.Mutex
	of map[content.ID]*use
}

// A use is what is done with one content.
type use struct {
	users   int           // the one that moves it apart
	moving  bool          // somebody is to move it
	leaving bool          // and has it alone
	changed chan struct{} // closed, and made anew, with every change
}

func newUses() *uses { return &uses{of: make(map[content.ID]*use)} }

// at returns the use of a content. It is called with mu held.
func (u *uses) at(id content.ID) *use {
	x, ok := u.of[id]
	if !ok {
		x = &use{changed: make(chan struct{})}
		u.of[id] = x
	}
	return x
}

// tell wakes those who wait, and forgets a use that is over. It is called with mu
// held.
func (u *uses) tell(id content.ID, x *use) {
	close(x.changed)
	x.changed = make(chan struct{})
	if x.users == 0 && !x.moving {
		delete(u.of, id)
	}
}

// enter notes that somebody uses a content, until leave is called. While it is being
// moved away, it waits.
func (u *uses) enter(ctx context.Context, id content.ID) (leave func(), err error) {
	for {
		u.mu.Lock()
		x := u.at(id)
		if !x.leaving {
			x.users++
			u.mu.Unlock()
			return sync.OnceFunc(func() {
				u.mu.Lock()
				defer u.mu.Unlock()
				x.users--
				u.tell(id, x)
			}), nil
		}
		changed := x.changed
		u.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// move notes that somebody is to move a content, until leave is called; ok is false
// if somebody else is.
func (u *uses) move(id content.ID) (leave func(), ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	x := u.at(id)
	if x.moving {
		return nil, false
	}
	x.moving = true
	return sync.OnceFunc(func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		x.moving, x.leaving = false, false
		u.tell(id, x)
	}), true
}

// alone waits until nobody else uses a content that the caller is to move, and keeps
// others from it from then on.
func (u *uses) alone(ctx context.Context, id content.ID) error {
	for {
		u.mu.Lock()
		x := u.at(id)
		if x.users == 0 {
			x.leaving = true
			u.mu.Unlock()
			return nil
		}
		changed := x.changed
		u.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
