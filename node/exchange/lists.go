package exchange

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/p2pnode/p2pnode/content"
)

// MaxLists is the most block lists that one call of Lists asks for: 650 kB of them
// on average, 4 MiB at most.
const MaxLists = 1024

const (
	listsSize = content.HashSize + 4 + 4 // payload of what asks for lists

	// A frame of lists has entries of chunk (4 bytes), length (2 bytes) and node.
	// They fill a frame to this, so that a thousand small lists are no thousand
	// writes; one more may go beyond it.
	entryHead = 4 + 2
	maxEntry  = 4 << 10 // bytes of a node; one of content.MaxBlocks has 2.6 kB
	listsFull = 64 << 10
)

// A List is the encoded block list of a chunk.
type List struct {
	Chunk int
	Node  []byte
}

// Lists returns the block lists that the peer knows of count chunks from first on,
// at most MaxLists of them, in their order, unchecked. A peer may know lists of
// chunks that it doesn't have. If it knows nothing of the content the error is
// content.ErrNotFound.
func (s *Session) Lists(ctx context.Context, id content.ID, first, count int) ([]List, error) {
	if first < 0 || count < 1 || count > MaxLists || first > MaxChunks-count {
		return nil, fmt.Errorf("ask for %d block lists from %d on: the most is %d of %d", count, first, MaxLists, MaxChunks)
	}
	c := &listsCall{call: newCall(s), next: first, beyond: first + count}
	err := s.call(ctx, c, &c.call, func(b []byte, callID uint32) []byte {
		b = header{length: listsSize, kind: kindLists, id: callID}.append(b)
		b = append(b, id[:]...)
		b = binary.BigEndian.AppendUint32(b, uint32(first))
		return binary.BigEndian.AppendUint32(b, uint32(count))
	})
	if err != nil {
		return nil, fmt.Errorf("ask %s for block lists of %s: %w", s.peer, id, err)
	}
	return c.lists, nil
}

type listsCall struct {
	call
	next, beyond int // chunks that may still come
	lists        []List
}

func (c *listsCall) expect(h header) error {
	if h.kind == kindEntries || h.kind == kindEnd {
		return nil
	}
	return c.unexpected(h)
}

func (c *listsCall) take(h header, b *buffer) (last bool, err error) {
	defer b.free()
	for rest := b.b[:h.length]; len(rest) > 0; {
		if len(rest) < entryHead {
			return false, fmt.Errorf("block lists end in %d odd bytes", len(rest))
		}
		chunk := int(binary.BigEndian.Uint32(rest))
		n := int(binary.BigEndian.Uint16(rest[4:]))
		rest = rest[entryHead:]
		switch {
		case chunk < c.next || chunk >= c.beyond:
			return false, fmt.Errorf("block list of chunk %d, where %d to %d were to come", chunk, c.next, c.beyond-1)
		case n == 0 || n > maxEntry || n > len(rest):
			return false, fmt.Errorf("block list of %d bytes, with %d in the frame", n, len(rest))
		}
		c.next = chunk + 1
		c.lists = append(c.lists, List{chunk, append([]byte(nil), rest[:n]...)})
		rest = rest[n:]
	}
	return false, nil
}

// listing answers with block lists.
type listing struct {
	id        uint32
	content   content.ID
	next, end int
	library   Library
	holding   Holding // nil before the first step
}

func parseLists(b []byte) (id content.ID, first, end int, err error) {
	first64 := uint64(binary.BigEndian.Uint32(b[content.HashSize:]))
	count := uint64(binary.BigEndian.Uint32(b[content.HashSize+4:]))
	if count == 0 || count > MaxLists || first64+count > MaxChunks {
		return id, 0, 0, fmt.Errorf("%w: %d block lists from %d on", errFrame, count, first64)
	}
	return content.ID(b[:content.HashSize]), int(first64), int(first64 + count), nil
}

func (l *listing) step(o *outbox) (done bool, code uint8) {
	if l.holding == nil {
		holding, ok := l.library.Holding(l.content)
		if !ok {
			return true, codeNotFound
		}
		l.holding = holding
	}
	start := len(o.b)
	o.add(header{kind: kindEntries, id: l.id})
	body := len(o.b)
	for ; l.next < l.end && len(o.b)-body < listsFull; l.next++ {
		node, ok := l.holding.Node(l.next)
		if !ok || len(node) == 0 || len(node) > maxEntry {
			continue
		}
		o.b = binary.BigEndian.AppendUint32(o.b, uint32(l.next))
		o.b = binary.BigEndian.AppendUint16(o.b, uint16(len(node)))
		o.b = append(o.b, node...)
	}
	if n := len(o.b) - body; n > 0 {
		binary.BigEndian.PutUint32(o.b[start:], uint32(n))
	} else {
		o.b = o.b[:start]
	}
	return l.next >= l.end, codeDone
}
