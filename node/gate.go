package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/car"
	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/node/gateway"
	"github.com/p2pnode/p2pnode/node/trust"
)

// linger is how long a fetch goes on after its last reader left: a browser that
// skips about leaves and comes back with every skip.
const linger = 5 * time.Second

// A gate is a content that readers of the gateway have open while it comes. They
// share one fetch, which goes on while there is any of them and a little longer.
type gate struct {
	node    *Node
	id      content.ID
	known   []signedRelease
	comings chan struct{} // one token when a reader came or left

	mu      sync.Mutex
	readers int
	fetch   *fetch
	news    chan struct{} // closed when fetch or ended changes
	ended   bool
	content *store.Content // once ended without err
	err     error
}

// A gateTable has the gates that are open. Run owns what they do.
type gateTable struct {
	begin    chan *gate
	stopped  chan struct{}
	segments segmentTable
	linger   time.Duration
	readings atomic.Uint64 // so far

	mu   sync.Mutex
	byID map[content.ID]*gate
}

func newGateTable() *gateTable {
	return &gateTable{begin: make(chan *gate), stopped: make(chan struct{}), linger: linger, byID: make(map[content.ID]*gate)}
}

// Run brings what readers want until ctx ends.
func (t *gateTable) Run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	defer close(t.stopped)
	for {
		select {
		case <-ctx.Done():
			return nil
		case g := <-t.begin:
			all.Go(func() { t.run(ctx, g) })
		}
	}
}

// join counts a reader to a content, whose gate is begun if there is none.
func (t *gateTable) join(ctx context.Context, n *Node, id content.ID, known []signedRelease) (*gate, error) {
	t.mu.Lock()
	g, ok := t.byID[id]
	if !ok {
		g = &gate{node: n, id: id, known: known, comings: make(chan struct{}, 1), news: make(chan struct{})}
		t.byID[id] = g
	}
	g.come(1)
	t.mu.Unlock()
	if ok {
		return g, nil
	}
	select {
	case t.begin <- g:
		return g, nil
	case <-ctx.Done():
		t.drop(g, errDropped) // others may wait for it by now
		return nil, ctx.Err()
	case <-t.stopped:
		t.drop(g, context.Canceled)
		return nil, context.Canceled
	}
}

// errDropped says that who opened a gate left before anything was done for it.
var errDropped = errors.New("left before it began")

// open counts a reader to a content, and returns it once its manifest is here.
func (t *gateTable) open(ctx context.Context, n *Node, id content.ID, known []signedRelease) (*gate, *store.Content, error) {
	for {
		g, err := t.join(ctx, n, id, known)
		if err != nil {
			return nil, nil, err
		}
		c, err := g.wait(ctx)
		if err == nil {
			return g, c, nil
		}
		g.come(-1)
		if !errors.Is(err, errDropped) {
			return nil, nil, err
		}
	}
}

// drop ends a gate: who comes now makes another one.
func (t *gateTable) drop(g *gate, err error) {
	t.mu.Lock()
	delete(t.byID, g.id)
	t.mu.Unlock()
	g.end(nil, err)
}

// leave takes a gate out of the table if it has no readers.
func (t *gateTable) leave(g *gate) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.readers > 0 {
		return false
	}
	delete(t.byID, g.id)
	return true
}

// run fetches for a gate's readers until all is here or they have left.
func (t *gateTable) run(ctx context.Context, g *gate) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := g.node.fetch(ctx, wish{id: g.id, releases: g.known, patience: g.node.cfg.FirstSource, stream: true}, g.follow)
		t.mu.Lock()
		if t.byID[g.id] == g {
			delete(t.byID, g.id)
		}
		t.mu.Unlock()
		g.end(c, err)
	}()
	left := time.NewTimer(t.linger)
	defer left.Stop()
	for {
		select {
		case <-done:
			return
		case <-g.comings:
			left.Reset(t.linger)
		case <-left.C:
			if t.leave(g) {
				cancel()
				<-done
				return
			}
		}
	}
}

// come counts readers.
func (g *gate) come(n int) {
	g.mu.Lock()
	g.readers += n
	g.mu.Unlock()
	select {
	case g.comings <- struct{}{}:
	default:
	}
}

// follow is told the fetch that brings the content: its own, or that of a get.
func (g *gate) follow(f *fetch) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fetch = f
	close(g.news)
	g.news = make(chan struct{})
}

func (g *gate) end(c *store.Content, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return
	}
	g.ended, g.content, g.err = true, c, err
	close(g.news)
	g.news = make(chan struct{})
}

// state returns the fetch under way, if there is one, and a channel that is closed
// when anything of the rest is new.
func (g *gate) state() (f *fetch, news <-chan struct{}, ended bool, c *store.Content, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.fetch, g.news, g.ended, g.content, g.err
}

// wait returns the content once there is a manifest, or why there is none.
func (g *gate) wait(ctx context.Context) (*store.Content, error) {
	for {
		f, news, ended, c, err := g.state()
		if ended {
			return c, err
		}
		var settled <-chan struct{}
		if f != nil {
			settled = f.settled
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-settled:
			return f.target, nil
		case <-news:
		}
	}
}

// A front is where contents are served over HTTP: on the local API, and on an
// address of its own if there is one.
type front struct {
	gateway *gateway.Gateway
	door    net.Listener // nil if it has no address
}

func openFront(n *Node) (f front, err error) {
	f.gateway = gateway.New(gatehouse{n}, gateway.Config{}, n.log.Named("gateway"))
	if n.cfg.Gateway != "" {
		f.door, err = gateway.Listen(n.cfg.Gateway, n.cfg.GatewayAny)
	}
	return f, err
}

// Close closes the address; after Serve it does nothing.
func (f front) Close() error {
	if f.door == nil {
		return nil
	}
	if err := f.door.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// address returns where the gateway listens; empty if it doesn't.
func (f front) address() string {
	if f.door == nil {
		return ""
	}
	return f.door.Addr().String()
}

func (n *Node) serveGateway(ctx context.Context) error {
	return n.gateway.Serve(ctx, n.door, n.cfg.GatewayAny)
}

// A gatehouse is what the gateway has of this node (gateway.Library).
type gatehouse struct{ *Node }

// Resolve implements gateway.Library.
func (n gatehouse) Resolve(ctx context.Context, text string) (content.ID, error) {
	r, err := parseRef(text)
	if err != nil {
		return content.ID{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, n.cfg.FirstSource)
	defer cancel()
	found, err := n.resolve(ctx, r, false, func(func() []string) {})
	if err != nil {
		return content.ID{}, n.explainGate(err)
	}
	return found.Content, nil
}

// Open implements gateway.Library.
func (n gatehouse) Open(ctx context.Context, id content.ID) (gateway.Content, error) {
	leave, err := n.uses.enter(ctx, id)
	if err != nil {
		return nil, err
	}
	r, err := n.open(ctx, id)
	if err != nil {
		leave()
		return nil, err
	}
	r.leave = leave
	return r, nil
}

func (n gatehouse) open(ctx context.Context, id content.ID) (*reading, error) {
	known := n.stillValid(n.catalogue.of(id))
	if c, ok := n.store.Get(id); ok && c.Complete() && len(known) > 0 {
		return &reading{Content: c, release: c.Hold()}, nil
	}
	g, c, err := n.gates.open(ctx, n.Node, id, known)
	if err != nil {
		if n.Holds(id) && len(known) == 0 && errors.Is(err, content.ErrNotFound) {
			return nil, &gateway.Error{Status: http.StatusGone, Next: "Ask the publisher for a new release: p2pnode add --name N on the publisher's node", Err: fmt.Errorf("%s is here, but who published it may not publish now: %w", id.Short(), err)}
		}
		return nil, n.explainGate(err)
	}
	return &reading{Content: c, gate: g, id: n.gates.readings.Add(1), release: c.Hold()}, nil
}

// explainGate makes of an error what the gateway can answer.
func (n gatehouse) explainGate(err error) error {
	if errors.Is(err, errNoRelease) || errors.Is(err, trust.ErrRollback) || errors.Is(err, trust.ErrEquivocation) {
		return &gateway.Error{Status: http.StatusForbidden, Next: "Ask the publisher for a release: p2pnode add --name N on the publisher's node", Err: err}
	}
	return err
}

// Holds implements gateway.Library.
func (n gatehouse) Holds(id content.ID) bool { _, ok := n.store.Get(id); return ok }

// Whole implements gateway.Library.
func (n gatehouse) Whole(id content.ID) bool {
	c, ok := n.store.Get(id)
	return ok && c.Complete()
}

// Block implements gateway.Library.
func (n gatehouse) Block(_ context.Context, h content.Hash) ([]byte, error) {
	if c, ok := n.store.Get(content.ID(h)); ok {
		return c.Encoded().Root, nil
	}
	if c, i, ok := n.store.Find(h); ok {
		if node, ok := c.Node(i); ok {
			return node, nil
		}
	}
	if c, chunk, i, ok := n.store.FindBlock(h); ok {
		return c.ReadBlock(chunk, i, nil)
	}
	if b, ok := n.gates.segments.find(n.store.List(), h); ok {
		return b, nil
	}
	return nil, fmt.Errorf("%v: %w: it isn't here", h, content.ErrNotFound)
}

// WriteCAR implements gateway.Library.
func (n gatehouse) WriteCAR(w io.Writer, root cid.Cid, data []byte) error {
	out, err := car.NewWriter(w, root)
	if err != nil {
		return err
	}
	if err := out.Put(root, data); err != nil {
		return err
	}
	return out.Flush()
}

// A reading is a content that a reader of the gateway has open.
type reading struct {
	*store.Content
	gate    *gate  // nil if all was here
	id      uint64 // of the reader, at the flow
	release func() // lets it be evicted again
	leave   func() // lets it be moved away

	mu     sync.Mutex
	wanted []int  // the last that was
	told   *fetch // that knows
}

// Want implements gateway.Content.
func (r *reading) Want(ctx context.Context, at int64, chunks ...int) error {
	return r.wait(ctx, chunks, func() bool { return r.hasAt(chunks[0], at) })
}

// wait has chunks brought first, and waits for what is wanted of the first.
func (r *reading) wait(ctx context.Context, chunks []int, here func() bool) error {
	if r.gate == nil {
		if !here() {
			return fmt.Errorf("chunk %d of %v was here: %w", chunks[0], r.ID(), content.ErrCorrupt)
		}
		return nil
	}
	for {
		f, news, ended, _, err := r.gate.state()
		if !ended {
			r.prefer(f, chunks)
		}
		if here() {
			return nil
		}
		grown := r.Grown()
		gone := r.Err()
		switch {
		case here():
			return nil
		case gone != nil: // what comes comes to another one: whoever asks again gets that
			return gone
		case ended && err != nil:
			return err
		case ended:
			return fmt.Errorf("chunk %d of %v: %w", chunks[0], r.ID(), content.ErrNotFound)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-grown:
		case <-news:
		}
	}
}

// prefer tells the fetch what is wanted of what isn't here, once for each fetch and
// want.
func (r *reading) prefer(f *fetch, chunks []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.told == f && slices.Equal(r.wanted, chunks) {
		return
	}
	r.told, r.wanted = f, chunks
	if missing := slices.DeleteFunc(slices.Clone(chunks), r.has); len(missing) > 0 {
		f.prefer(r.id, missing)
	}
}

// has reports whether a chunk is here, whole and verified.
func (r *reading) has(chunk int) bool {
	blocks, ok := r.Blocks(chunk)
	return ok && bits.OnesCount64(r.Verified(chunk)) == len(blocks)
}

// hasAt reports whether the block of a chunk is here that holds byte at of the
// content.
func (r *reading) hasAt(chunk int, at int64) bool {
	blocks, _ := r.Blocks(chunk)
	end := r.Layout().Chunk(chunk)
	for i, b := range blocks {
		if end += int64(b.Size); at < end {
			return r.Verified(chunk)>>i&1 != 0
		}
	}
	return false
}

// WriteCAR implements gateway.Content.
func (r *reading) WriteCAR(ctx context.Context, w io.Writer) error {
	return car.Write(ctx, w, patient{r, ctx}, nil, nil)
}

// Close implements gateway.Content.
func (r *reading) Close() error {
	r.release()
	r.leave()
	if r.gate != nil {
		if f, _, _, _, _ := r.gate.state(); f != nil {
			f.prefer(r.id, nil)
		}
		r.gate.come(-1)
	}
	return nil
}

// patient is a reading that waits for each chunk: a car.Source.
type patient struct {
	*reading
	ctx context.Context // of the one call that it is made for
}

// carAhead is how many chunks are asked for before the one that is written.
const carAhead = 8

// Node implements car.Source.
func (p patient) Node(chunk int) ([]byte, bool) {
	wanted := make([]int, 0, carAhead)
	for i := chunk; i < min(chunk+carAhead, len(p.Manifest().Chunks)); i++ {
		wanted = append(wanted, i)
	}
	if p.wait(p.ctx, wanted, func() bool { return p.has(chunk) }) != nil {
		return nil, false
	}
	return p.reading.Node(chunk)
}

// A segmentTable knows the segments of contents with long manifests, by hash.
type segmentTable struct {
	mu   sync.Mutex
	byID map[content.ID][]content.Hash
}

// maxSegmented bounds the contents whose segments are remembered.
const maxSegmented = 1024

// find returns a segment of one of the contents.
func (t *segmentTable) find(contents []*store.Content, h content.Hash) ([]byte, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range contents {
		hashes, ok := t.byID[c.ID()]
		if !ok {
			if mayBeSplit(c.Manifest()) {
				hashes, _ = content.SegmentsOf(c.Encoded().Root)
			}
			if t.byID == nil || len(t.byID) >= maxSegmented {
				t.byID = make(map[content.ID][]content.Hash)
			}
			t.byID[c.ID()] = hashes
		}
		for i, s := range hashes {
			if s == h {
				return c.Encoded().Segments[i], true
			}
		}
	}
	return nil, false
}

// mayBeSplit reports whether a manifest is so long that it can have segments: a
// chunk takes 40 bytes at most, and a file 40 and its path.
func mayBeSplit(m *content.Manifest) bool {
	size := 40*len(m.Chunks) + 64<<10
	for _, f := range m.Files {
		size += 40 + len(f.Path)
	}
	return size > content.MaxNode
}
