package store

import (
	"encoding/binary"
	"sync"

	"github.com/p2pnode/p2pnode/content"
)

// An index tells where a chunk is held, whole and verified. It is a hint: who
// looks up checks what is found. It is built from the contents, in memory. Where
// blocks are held is for the blockIndex to tell.
//
// The key is the beginning of the chunk's hash: 24 bytes an entry, and two hashes
// that begin alike, which somebody would have to compute on purpose, hide one of
// the two. So do two contents with the same chunk; one place is enough.
type index struct {
	mu     sync.RWMutex
	places map[uint64]place
}

type place struct {
	content *Content
	chunk   uint32
}

func newIndex() *index { return &index{places: make(map[uint64]place)} }

func indexKey(h content.Hash) uint64 { return binary.LittleEndian.Uint64(h[:]) }

func (x *index) add(c *Content, chunk int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.put(c, chunk)
}

func (x *index) put(c *Content, chunk int) {
	key := indexKey(c.manifest.Chunks[chunk].Hash)
	if _, ok := x.places[key]; !ok {
		x.places[key] = place{c, uint32(chunk)}
	}
}

// addAll adds the chunks that c has.
func (x *index) addAll(c *Content) {
	have := c.Have()
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := have.Iterator(); i.HasNext(); {
		x.put(c, int(i.Next()))
	}
}

// rebuild forgets what a content had, and adds again what it has yet, if it is
// one of contents, and what it hid of the others. Who looks for what others have
// isn't kept waiting: of a million chunks, 50 ms pass outside of the lock.
func (x *index) rebuild(lost *Content, contents []*Content) {
	open := make(map[uint64]struct{})
	x.mu.Lock()
	for _, c := range lost.manifest.Chunks {
		key := indexKey(c.Hash)
		if x.places[key].content == lost {
			delete(x.places, key)
			open[key] = struct{}{}
		}
	}
	x.mu.Unlock()
	if len(open) == 0 {
		return
	}
	for _, c := range contents {
		for chunk, m := range c.manifest.Chunks {
			if _, ok := open[indexKey(m.Hash)]; ok && c.holds(chunk) {
				x.add(c, chunk)
			}
		}
	}
}

func (x *index) find(h content.Hash) (place, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	p, ok := x.places[indexKey(h)]
	if !ok || p.content.manifest.Chunks[p.chunk].Hash != h {
		return place{}, false
	}
	return p, true
}
