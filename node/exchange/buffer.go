package exchange

import (
	"sync"
	"sync/atomic"

	"github.com/p2pnode/p2pnode/content"
)

// outSize holds what one Write takes at most: a batch of frames without payload,
// a block list, and a block or a part of something else.
const outSize = controlBatch*headerSize + headerSize + maxList + headerSize + maxPayload

// sizes of buffers. Most blocks are between 32 and 128 KiB.
var sizes = [...]int{4 << 10, 64 << 10, 128 << 10, content.MaxBlock, outSize}

// A buffer is lent out by buffers and comes back by free.
type buffer struct {
	b    []byte
	free func() // made once for the buffer's life; calling it twice is a mistake
	lent atomic.Bool
	// tokens get a token back when the buffer is freed; nil if none was taken.
	tokens [2]chan<- struct{}
}

// buffers lends buffers of a few sizes.
type buffers struct {
	pools [len(sizes)]sync.Pool
	made  atomic.Int64 // bytes of all that were allocated
}

// get returns a buffer of at least n bytes, n no more than outSize.
func (p *buffers) get(n int) *buffer {
	class := 0
	for sizes[class] < n {
		class++
	}
	b, ok := p.pools[class].Get().(*buffer)
	if !ok {
		b = &buffer{b: make([]byte, sizes[class])}
		p.made.Add(int64(sizes[class]))
		b.free = func() {
			if !b.lent.CompareAndSwap(true, false) {
				panic("exchange: a buffer was released twice")
			}
			tokens := b.tokens
			b.tokens = [2]chan<- struct{}{}
			p.pools[class].Put(b)
			for _, t := range tokens {
				if t != nil {
					t <- struct{}{} // has room: the token came from there
				}
			}
		}
	}
	b.lent.Store(true)
	return b
}
