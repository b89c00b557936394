package exchange

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
)

const prefix = protocol.ID("/p2pnode/test")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come, on a machine that may be
// busy with other tests.
const patience = time.Minute

// newHost returns a host on TCP, TLS and yamux.
func newHost(t testing.TB) host.Host {
	t.Helper()
	mux := *yamux.DefaultTransport
	mux.MaxMessageSize = 256 << 10 // as node/trust sets it
	return newHostOn(t, "/ip4/127.0.0.1/tcp/0", libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Security(libp2ptls.ID, libp2ptls.New), libp2p.Muxer(yamux.ID, &mux))
}

func newHostOn(t testing.TB, listen string, transport ...libp2p.Option) host.Host {
	t.Helper()
	h, err := libp2p.New(append(transport,
		libp2p.ListenAddrStrings(listen),
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.DisableRelay(),
		libp2p.DisableMetrics(),
		libp2p.DisableIdentifyAddressDiscovery(),
	)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func connect(t testing.TB, a, b host.Host) {
	t.Helper()
	eventually(t, "connected", func() bool {
		return a.Connect(t.Context(), peer.AddrInfo{ID: b.ID(), Addrs: b.Addrs()}) == nil
	})
}

// newExchange runs an exchange on h until the test ends.
func newExchange(t testing.TB, h host.Host, library Library, config Config) *Exchange {
	t.Helper()
	x, err := New(h, prefix, library, config, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- x.Run(ctx) }()
	<-x.running
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("Run doesn't return")
		}
	})
	return x
}

// pair is a node that has and one that fetches, and the session of the latter.
func pair(t testing.TB, library Library, config Config) (having, fetching *Exchange, s *Session) {
	t.Helper()
	a, b := newHost(t), newHost(t)
	connect(t, b, a)
	having = newExchange(t, a, library, config)
	fetching = newExchange(t, b, newMemory(), config)
	return having, fetching, open(t, fetching, a.ID())
}

func open(t testing.TB, x *Exchange, p peer.ID) *Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := x.Session(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// memory is a Library in memory.
type memory struct {
	mu       sync.Mutex
	contents map[content.ID]*holding
	names    map[string][][]byte
}

func newMemory(hs ...*holding) *memory {
	m := &memory{contents: make(map[content.ID]*holding), names: make(map[string][][]byte)}
	for _, h := range hs {
		m.contents[h.encoded.ID] = h
	}
	return m
}

func (m *memory) put(h *holding) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.contents[h.encoded.ID] = h
}

func (m *memory) Holding(id content.ID) (Holding, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h, ok := m.contents[id]
	return h, ok
}

func (m *memory) Named(name string) [][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.names[name]
}

// holding is a content of one file in memory.
type holding struct {
	encoded  content.Encoded
	releases [][]byte
	data     []byte
	offsets  []int // of chunks
	nodes    [][]byte
	blocks   [][]content.Block
	before   func(chunk, block int) // called before a block is read, if set

	mu       sync.Mutex
	verified []uint64
	have     *roaring.Bitmap
	changed  chan struct{}
}

// newHolding makes a content of size pseudo-random bytes in blocks of the given
// size, 16 to a chunk, all of it held.
func newHolding(t testing.TB, size, block int) *holding {
	t.Helper()
	h := &holding{data: make([]byte, size), have: roaring.New(), changed: make(chan struct{})}
	seed := [32]byte{byte(size), byte(size >> 8), byte(size >> 16), byte(size >> 24), byte(block >> 8)}
	rand.NewChaCha8(seed).Read(h.data)
	m := content.Manifest{
		Type:  "media",
		Files: []content.File{{Path: "sample", Size: int64(size), Mode: 0o644, ModTime: time.Unix(1, 0).UTC()}},
	}
	for at := 0; at < size; {
		h.offsets = append(h.offsets, at)
		var blocks []content.Block
		start := at
		for len(blocks) < 16 && at < size {
			n := min(block, size-at)
			blocks = append(blocks, content.Block{Hash: content.Sum(h.data[at : at+n]), Size: uint32(n)})
			at += n
		}
		node, err := content.EncodeBlocks(blocks)
		if err != nil {
			t.Fatal(err)
		}
		h.nodes = append(h.nodes, node)
		h.blocks = append(h.blocks, blocks)
		h.verified = append(h.verified, 1<<len(blocks)-1)
		h.have.Add(uint32(len(h.nodes) - 1))
		m.Chunks = append(m.Chunks, content.Chunk{Hash: content.Sum(node), Size: uint32(at - start)})
	}
	var err error
	if h.encoded, err = m.Encode(); err != nil {
		t.Fatal(err)
	}
	return h
}

// only makes h hold just the named chunks.
func (h *holding) only(chunks ...int) *holding {
	h.have.Clear()
	clear(h.verified)
	for _, c := range chunks {
		h.add(c)
	}
	return h
}

func (h *holding) add(chunk int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.verified[chunk] = 1<<len(h.blocks[chunk]) - 1
	h.have.Add(uint32(chunk))
	h.tell()
}

func (h *holding) drop(chunk int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.verified[chunk] = 0
	h.have.Remove(uint32(chunk))
	h.tell()
}

func (h *holding) tell() {
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *holding) Encoded() content.Encoded { return h.encoded }
func (h *holding) Releases() [][]byte       { return h.releases }

func (h *holding) Have() *roaring.Bitmap {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.have.Clone()
}

func (h *holding) Changed() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.changed
}

func (h *holding) Verified(chunk int) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.verified[chunk]
}

func (h *holding) Node(chunk int) ([]byte, bool) {
	if chunk >= len(h.nodes) {
		return nil, false
	}
	return h.nodes[chunk], true
}

func (h *holding) Blocks(chunk int) ([]content.Block, bool) {
	if chunk >= len(h.blocks) {
		return nil, false
	}
	return h.blocks[chunk], true
}

func (h *holding) ReadBlock(chunk, block int, buf []byte) ([]byte, error) {
	if h.before != nil {
		h.before(chunk, block)
	}
	if h.Verified(chunk)>>block&1 == 0 {
		return nil, fmt.Errorf("block %d of chunk %d: %w", block, chunk, content.ErrNotFound)
	}
	return append(buf[:0], h.block(chunk, block)...), nil
}

// block returns the bytes that a block has.
func (h *holding) block(chunk, block int) []byte {
	at := h.offsets[chunk]
	for _, b := range h.blocks[chunk][:block] {
		at += int(b.Size)
	}
	return h.data[at : at+int(h.blocks[chunk][block].Size)]
}

// basket is a Sink that checks what it gets against a holding.
type basket struct {
	h     *holding
	chunk int
	hold  chan struct{} // releases wait for it to be closed; nil: at once

	mu      sync.Mutex
	list    []byte
	listErr error
	got     uint64
	late    int // bytes
	wrong   []string
	ended   chan struct{}
	err     error
}

func newBasket(h *holding, chunk int) *basket {
	return &basket{h: h, chunk: chunk, ended: make(chan struct{})}
}

func (b *basket) List(node []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.list != nil || b.got != 0 {
		b.wrong = append(b.wrong, "a list that doesn't come first")
	}
	b.list = node
	return b.listErr
}

func (b *basket) Block(index int, data []byte, release func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.got>>index&1 != 0 {
		b.wrong = append(b.wrong, fmt.Sprintf("block %d twice", index))
	}
	b.got |= 1 << index
	if b.h != nil && !bytes.Equal(data, b.h.block(b.chunk, index)) {
		b.wrong = append(b.wrong, fmt.Sprintf("block %d differs", index))
	}
	select {
	case <-b.ended:
		b.wrong = append(b.wrong, "a block after the end")
	default:
	}
	if b.hold == nil {
		release()
		return
	}
	go func() {
		<-b.hold
		release()
	}()
}

func (b *basket) Unwanted(bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.ended:
	default:
		b.wrong = append(b.wrong, "an unwanted block before the end")
	}
	b.late += bytes
}

func (b *basket) End(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
	close(b.ended) // panics the second time
}

// wait returns what End was told.
func (b *basket) wait(t testing.TB) error {
	t.Helper()
	select {
	case <-b.ended:
	case <-time.After(patience):
		t.Fatal("request doesn't end")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range b.wrong {
		t.Error(w)
	}
	return b.err
}

// fetch asks for a chunk's blocks and returns where they go. If h is nil the
// content doesn't matter, and nothing is compared.
func fetch(t testing.TB, s *Session, h *holding, chunk int, want uint64, list bool) *basket {
	t.Helper()
	b := newBasket(h, chunk)
	r := Request{Chunk: chunk, Want: want, List: list, Sink: b}
	if h != nil {
		r.Content = h.encoded.ID
	}
	if _, err := s.Request(r); err != nil {
		t.Fatal(err)
	}
	return b
}

// counter is a Sink that only counts.
type counter struct {
	asked  <-chan struct{}
	bytes  atomic.Int64
	failed atomic.Pointer[error]
}

func (c *counter) List([]byte) error { return nil }

func (c *counter) Block(_ int, data []byte, release func()) {
	c.bytes.Add(int64(len(data)))
	release()
}

func (c *counter) Unwanted(int) {}

func (c *counter) End(err error) {
	if err != nil {
		c.failed.Store(&err)
	}
	<-c.asked
}
