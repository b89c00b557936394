package node

import (
	"cmp"
	"context"
	"io/fs"
	"os"
	"slices"
	"sync"
)

const (
	// maxSeedCache bounds what is remembered of seeds between gets: 12 MB, for the
	// blocks of 64 GiB. A file counts as a few blocks more than it has.
	maxSeedCache = 1 << 20
	seedFileCost = 16

	// What a get may hash of seeds that aren't remembered: a link to another site
	// brings a byte in the time that takes for some 64, and so much is worth it for
	// what is missing. Less than leastSeeds is soon done, and what is more than
	// mostSeeds takes minutes, unless the content itself is as large.
	seedWorth  = 64
	leastSeeds = 1 << 30
	mostSeeds  = 32 << 30
)

// seedBudget returns how many bytes of seeds are hashed for a content.
func seedBudget(missing int64) int64 {
	return max(leastSeeds, min(seedWorth*missing, mostSeeds), 4*missing)
}

// A seedCache remembers what was read of seeds, while the node runs: they are the
// same files with every get. A file is known again by its path, size, times and, as
// far as the system tells, by its place on the disk. One that changed with nothing
// of this to show for it costs what it could have saved: every block is hashed when
// it is used.
type seedCache struct {
	limit int // blocks

	reading chan struct{} // holds one while somebody reads seeds: others find what that one read

	mu    sync.Mutex
	files map[string]*seedList
	cost  int
	turn  int64 // of the reading that is under way, or was last
}

// A seedList is what is remembered of a file: its blocks, in order.
type seedList struct {
	stamp seedStamp
	keys  []uint64
	sizes []uint32
	turn  int64 // when it was used last
}

// A seedStamp tells a file from what it was.
type seedStamp struct {
	info    fs.FileInfo
	changed int64 // when it was, by the system, in nanoseconds; 0 if it doesn't tell
}

func newSeedCache(limit int) *seedCache {
	return &seedCache{limit: limit, reading: make(chan struct{}, 1), files: make(map[string]*seedList)}
}

func seedStampOf(info fs.FileInfo) seedStamp { return seedStamp{info, changeTime(info)} }

func (s seedStamp) is(o seedStamp) bool {
	return s.info.Size() == o.info.Size() && s.info.ModTime().Equal(o.info.ModTime()) && s.changed == o.changed && os.SameFile(s.info, o.info)
}

// begin waits until nobody else reads seeds.
func (c *seedCache) begin(ctx context.Context) (done func(), err error) {
	select {
	case c.reading <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn++
	return func() { <-c.reading }, nil
}

// get returns the blocks of a file, if they are known. A nil cache knows none.
func (c *seedCache) get(name string, stamp seedStamp) (*seedList, bool) {
	if c == nil {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	l, ok := c.files[name]
	if !ok || !l.stamp.is(stamp) {
		return nil, false
	}
	l.turn = c.turn
	return l, true
}

// put remembers a file. What was not used for longest makes room; what was used in
// this turn doesn't, or seeds that don't fit would push out each other.
func (c *seedCache) put(name string, l *seedList) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(name)
	need := l.cost()
	if need > c.limit {
		return
	}
	if c.cost+need > c.limit {
		var old []string
		for name, l := range c.files {
			if l.turn < c.turn {
				old = append(old, name)
			}
		}
		slices.SortFunc(old, func(a, b string) int {
			return cmp.Or(cmp.Compare(c.files[a].turn, c.files[b].turn), cmp.Compare(a, b))
		})
		for _, name := range old {
			if c.cost+need <= c.limit {
				break
			}
			c.drop(name)
		}
	}
	if c.cost+need > c.limit {
		return
	}
	l.turn = c.turn
	c.files[name] = l
	c.cost += need
}

// drop forgets a file. It is called with mu held.
func (c *seedCache) drop(name string) {
	if l, ok := c.files[name]; ok {
		c.cost -= l.cost()
		delete(c.files, name)
	}
}

func (l *seedList) cost() int { return len(l.keys) + seedFileCost }
