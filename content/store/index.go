package store

import (
	"encoding/binary"
	"sync"

	"github.com/p2pnode/p2pnode/content"
)

// An index tells where a chunk is held, whole and verified. It is a hint: who
// looks up checks what is found. It is built from the contents, in memory.
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

// rebuild forgets everything, and adds the chunks of contents. What they hid of
// each other is found again: so a content that lost something is taken out.
func (x *index) rebuild(contents []*Content) {
	x.mu.Lock()
	clear(x.places)
	x.mu.Unlock()
	for _, c := range contents {
		x.addAll(c)
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
