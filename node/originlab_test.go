package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/libp2p/go-libp2p/core/peer"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/discovery/rank"
	"github.com/p2pnode/p2pnode/node/flow"
	"github.com/p2pnode/p2pnode/node/origin"
)

// What tests of origins have in common. There is no network, so that they run in
// bubbles of synctest.

// A webLab is HTTP servers in memory.
type webLab struct {
	conns   chan net.Conn
	closed  chan struct{}
	server  *http.Server
	serving chan error

	mu    sync.Mutex
	asked []webRequest
}

type webRequest struct {
	at   time.Time
	host string
	part string // the Range
}

// newWebLab serves h, whatever name is dialled; with certificates over TLS.
func newWebLab(h http.HandlerFunc, certs ...tls.Certificate) *webLab {
	l := &webLab{conns: make(chan net.Conn), closed: make(chan struct{}), serving: make(chan error, 1)}
	l.server = &http.Server{
		ErrorLog: log.New(io.Discard, "", 0),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			l.mu.Lock()
			l.asked = append(l.asked, webRequest{time.Now(), r.Host, r.Header.Get("Range")})
			l.mu.Unlock()
			h(w, r)
		}),
	}
	var listen net.Listener = l
	if len(certs) > 0 {
		listen = tls.NewListener(l, &tls.Config{Certificates: certs})
	}
	go func() { l.serving <- l.server.Serve(listen) }()
	return l
}

func (l *webLab) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *webLab) Close() error   { close(l.closed); return nil }
func (l *webLab) Addr() net.Addr { return &net.TCPAddr{} }

// stop ends the servers and waits for them.
func (l *webLab) stop() {
	l.server.Close()
	<-l.serving
}

func (l *webLab) requests() []webRequest {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.asked)
}

func (l *webLab) client(t *testing.T) *origin.Client {
	t.Helper()
	c, err := origin.New(origin.Config{Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		here, there := net.Pipe()
		select {
		case l.conns <- there:
			return here, nil
		case <-l.closed:
			return nil, net.ErrClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A webContent is a content with origins, as published.
type webContent struct {
	encoded content.Encoded
	blocks  [][]content.Block
	nodes   [][]byte
	files   [][]byte // by index in the manifest
	layout  *content.Layout
	bytes   []byte // of all files
}

// newWebContent publishes files of random bytes; a single one if there is one.
func newWebContent(t *testing.T, sizes []int, origins ...content.Origin) *webContent {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	path := dir
	for i, n := range sizes {
		path = sample(t, filepath.Join(dir, string(rune('a'+i))), n, uint64(i+77))
	}
	if len(sizes) > 1 {
		path = dir
	}
	made, err := publish(t.Context(), newTestStage(t), []string{path}, publishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m := *made.Manifest
	m.Origins = origins
	w := &webContent{blocks: made.Blocks, layout: content.NewLayout(&m)}
	if w.encoded, err = m.Encode(); err != nil {
		t.Fatal(err)
	}
	for _, b := range made.Blocks {
		node, err := content.EncodeBlocks(b)
		if err != nil {
			t.Fatal(err)
		}
		w.nodes = append(w.nodes, node)
	}
	next := 0
	for _, f := range m.Files {
		var b []byte
		if !f.Mode.IsDir() {
			b = sampleBytes(sizes[next], uint64(next+77))
			next++
		}
		w.files = append(w.files, b)
		w.bytes = append(w.bytes, b...)
	}
	return w
}

// begin returns the content in a new store that knows its lists; the caller
// closes the store.
func (w *webContent) begin(t *testing.T, lists bool) (*store.Store, *store.Content) {
	t.Helper()
	s, err := store.Open(store.Config{Dir: t.TempDir()}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Begin(w.encoded)
	if err != nil {
		t.Fatal(err)
	}
	if lists {
		w.setLists(t, c)
	}
	return s, c
}

func (w *webContent) setLists(t *testing.T, c *store.Content) {
	t.Helper()
	for i, node := range w.nodes {
		if err := c.SetBlocks(i, node); err != nil {
			t.Fatal(err)
		}
	}
}

// check fails unless all of the content is here and right.
func (w *webContent) check(t *testing.T, c *store.Content) {
	t.Helper()
	if !c.Complete() {
		t.Error("not complete")
		return
	}
	at := 0
	var buf []byte
	for i, blocks := range w.blocks {
		for n, b := range blocks {
			var err error
			if buf, err = c.ReadBlock(i, n, buf); err != nil || !bytes.Equal(buf, w.bytes[at:at+int(b.Size)]) {
				t.Fatalf("block %d of chunk %d: %v", n, i, err)
			}
			at += int(b.Size)
		}
	}
}

// A webFlow is a flow with origins.
type webFlow struct {
	*flow.Flow
	origins *origins
	ring    *flow.Ring
	cancel  context.CancelFunc
	group   sync.WaitGroup
	ended   error
	joined  atomic.Bool
}

func startWebFlow(t *testing.T, client *origin.Client, c *store.Content) *webFlow {
	t.Helper()
	w := &webFlow{ring: flow.NewRing(0)}
	w.origins = newOrigins(client, c, func() { w.joined.Store(true) }, zap.NewNop())
	w.Flow = flow.New(flow.Config{Target: c, Rank: rank.Rank, Outcome: outcome, Log: zap.NewNop(), Ring: w.ring, Workers: 2, Seed: 1})
	ctx, cancel := context.WithCancel(t.Context())
	w.cancel = cancel
	w.group.Go(func() {
		if err := w.origins.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	for _, s := range w.origins.Sources() {
		w.Flow.Add(s)
	}
	w.group.Go(func() { w.ended = w.Flow.Run(ctx) })
	return w
}

// stop ends the flow and returns what it ended with.
func (w *webFlow) stop() error {
	w.cancel()
	w.group.Wait()
	return w.ended
}

func (w *webFlow) share(l bandwidth.Link) flow.Share {
	return w.Status().Shares[l-1]
}

// A memPeer is a peer that has all of a content.
type memPeer struct {
	*webContent
	done chan struct{}
}

func (m *memPeer) Peer() peer.ID         { return "peer" }
func (m *memPeer) Link() bandwidth.Link  { return bandwidth.WAN }
func (m *memPeer) Done() <-chan struct{} { return m.done }

func (m *memPeer) Follow(_ content.ID, chunks int, f func(*roaring.Bitmap)) (func(), error) {
	all := roaring.New()
	all.AddRange(0, uint64(chunks))
	f(all)
	return func() {}, nil
}

func (m *memPeer) Request(_ content.ID, chunk int, want uint64, list bool, sink flow.Sink) (func(uint64), error) {
	if chunk >= len(m.blocks) {
		return nil, errors.New("no such chunk")
	}
	go func() {
		if list {
			if err := sink.List(bytes.Clone(m.nodes[chunk])); err != nil {
				sink.End(err)
				return
			}
		}
		at := m.layout.Chunk(chunk)
		for i, b := range m.blocks[chunk] {
			if want>>i&1 != 0 {
				time.Sleep(time.Millisecond) // the link's
				sink.Block(i, m.bytes[at:at+int64(b.Size)], func() {})
			}
			at += int64(b.Size)
		}
		sink.End(nil)
	}()
	return func(uint64) {}, nil
}
