package flow

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/content"
)

// An original is a content with its bytes.
type original struct {
	id       content.ID
	manifest *content.Manifest
	nodes    [][]byte
	lists    [][]content.Block
	data     [][][]byte // chunk, block
}

func newOriginal(t testing.TB, chunks int) *original {
	t.Helper()
	rng := rand.New(rand.NewPCG(7, 7))
	o := &original{id: content.ID{9}, manifest: &content.Manifest{}}
	for range chunks {
		var list []content.Block
		var data [][]byte
		var size uint32
		for range 4 + rng.IntN(5) {
			b := make([]byte, 4<<10+rng.IntN(8<<10))
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			list = append(list, content.Block{Hash: content.Sum(b), Size: uint32(len(b))})
			data = append(data, b)
			size += uint32(len(b))
		}
		node, err := content.EncodeBlocks(list)
		if err != nil {
			t.Fatal(err)
		}
		o.nodes = append(o.nodes, node)
		o.lists = append(o.lists, list)
		o.data = append(o.data, data)
		o.manifest.Chunks = append(o.manifest.Chunks, content.Chunk{Hash: content.Sum(node), Size: size})
	}
	return o
}

// A memTarget is a Target in memory.
type memTarget struct {
	*original
	write func(chunk, block int) error // fails a write, if set

	mu       sync.Mutex
	known    []bool
	verified []uint64
	writes   map[[2]int]int // right bytes taken, fresh or not
	closed   bool
}

func newTarget(o *original) *memTarget {
	return &memTarget{original: o, known: make([]bool, len(o.nodes)), verified: make([]uint64, len(o.nodes)), writes: map[[2]int]int{}}
}

var errClosed = errors.New("target is used after Run returned")

func (m *memTarget) ID() content.ID              { return m.id }
func (m *memTarget) Manifest() *content.Manifest { return m.manifest }

func (m *memTarget) Have() *roaring.Bitmap {
	m.mu.Lock()
	defer m.mu.Unlock()
	whole := roaring.New()
	for i, v := range m.verified {
		if v == allBlocks(uint8(len(m.lists[i]))) {
			whole.Add(uint32(i))
		}
	}
	return whole
}

func (m *memTarget) Verified(chunk int) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.verified[chunk]
}

func (m *memTarget) Blocks(chunk int) ([]content.Block, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lists[chunk], m.known[chunk]
}

func (m *memTarget) SetBlocks(chunk int, node []byte) error {
	if _, err := content.DecodeBlocks(m.manifest.Chunks[chunk].Hash, node); err != nil {
		return fmt.Errorf("chunk %d: %w", chunk, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errClosed
	}
	m.known[chunk] = true
	return nil
}

func (m *memTarget) WriteBlock(chunk, block int, data []byte) (bool, error) {
	if m.write != nil {
		if err := m.write(chunk, block); err != nil {
			return false, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return false, errClosed
	case !m.known[chunk] || block >= len(m.lists[chunk]):
		return false, content.ErrNotFound
	case content.Sum(data) != m.lists[chunk][block].Hash:
		return false, fmt.Errorf("chunk %d block %d: %w", chunk, block, content.ErrCorrupt)
	}
	m.writes[[2]int{chunk, block}]++
	fresh := m.verified[chunk]>>block&1 == 0
	m.verified[chunk] |= 1 << block
	return fresh, nil
}

func (m *memTarget) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
}

func (m *memTarget) complete() bool {
	return m.Have().GetCardinality() == uint64(len(m.lists))
}

// A memSource is a Source in memory, on a goroutine of its own.
type memSource struct {
	*original
	peer   peer.ID
	link   bandwidth.Link
	rate   float64                             // bytes per second
	change func(chunk, block int, data []byte) // what it does to a block before it is sent
	badly  bool                                // sends lists that aren't

	done  chan struct{}
	asked chan memRequest
	group sync.WaitGroup

	mu       sync.Mutex
	has      *roaring.Bitmap
	follow   func(*roaring.Bitmap)
	followed int
	sent     map[[2]int]int
	lent     int // blocks not released
}

type memRequest struct {
	chunk     int
	want      uint64
	list      bool
	sink      Sink
	keep      *atomic.Uint64
	cancelled chan struct{}
}

func newMemSource(o *original, name string, rate float64) *memSource {
	m := &memSource{
		original: o, peer: peer.ID(name), link: bandwidth.LAN, rate: rate,
		done: make(chan struct{}), asked: make(chan memRequest, 2*maxOpen),
		has: roaring.New(), sent: map[[2]int]int{},
	}
	m.has.AddRange(0, uint64(len(o.nodes)))
	m.group.Go(m.run)
	return m
}

// leave ends it like a connection: what is open ends with an error.
func (m *memSource) leave() {
	close(m.done)
	m.group.Wait()
}

func (m *memSource) Peer() peer.ID         { return m.peer }
func (m *memSource) Link() bandwidth.Link  { return m.link }
func (m *memSource) Done() <-chan struct{} { return m.done }

func (m *memSource) Follow(_ content.ID, chunks int, f func(*roaring.Bitmap)) (func(), error) {
	m.mu.Lock()
	m.follow = f
	m.followed++
	has := m.has.Clone()
	m.mu.Unlock()
	f(has)
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.follow = nil
		m.followed--
	}, nil
}

func (m *memSource) grow(chunk int) {
	m.mu.Lock()
	m.has.Add(uint32(chunk))
	f, has := m.follow, m.has.Clone()
	m.mu.Unlock()
	if f != nil {
		f(has)
	}
}

var errGone = errors.New("gone")

func (m *memSource) Request(_ content.ID, chunk int, want uint64, list bool, sink Sink) (func(uint64), error) {
	select {
	case <-m.done:
		return nil, errGone
	default:
	}
	r := memRequest{chunk, want, list, sink, new(atomic.Uint64), make(chan struct{})}
	r.keep.Store(math.MaxUint64)
	select {
	case m.asked <- r:
	default:
		return nil, errors.New("more is asked than a session takes")
	}
	return func(keep uint64) {
		if r.keep.And(keep) != 0 && keep == 0 {
			close(r.cancelled)
		}
	}, nil
}

func (m *memSource) run() {
	for {
		select {
		case <-m.done:
			for {
				select {
				case r := <-m.asked:
					r.sink.End(errGone)
				default:
					return
				}
			}
		case r := <-m.asked:
			r.sink.End(m.serve(r))
		}
	}
}

func (m *memSource) serve(r memRequest) error {
	m.mu.Lock()
	has := m.has.Contains(uint32(r.chunk))
	m.mu.Unlock()
	if !has {
		return content.ErrNotFound
	}
	if r.list {
		node := slices.Clone(m.nodes[r.chunk])
		if m.badly {
			node[len(node)-1] ^= 1
		}
		if err := r.sink.List(node); err != nil {
			return err
		}
	}
	for i, b := range m.data[r.chunk] {
		if r.want&r.keep.Load()>>i&1 == 0 {
			continue
		}
		if m.rate > 0 {
			select {
			case <-time.After(seconds(float64(len(b)) / m.rate)):
			case <-m.done:
				return errGone
			case <-r.cancelled:
				return context.Canceled
			}
		}
		data := slices.Clone(b)
		if m.change != nil {
			m.change(r.chunk, i, data)
		}
		m.mu.Lock()
		m.sent[[2]int{r.chunk, i}]++
		m.lent++
		m.mu.Unlock()
		r.sink.Block(i, data, func() {
			m.mu.Lock()
			m.lent--
			m.mu.Unlock()
			clear(data) // whoever still reads it finds nothing
		})
	}
	return nil
}
