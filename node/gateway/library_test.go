package gateway_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/ipfs/go-cid"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/car"
	"github.com/p2pnode/p2pnode/content/store/storetest"
	"github.com/p2pnode/p2pnode/node/gateway"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A shelf is a library in memory, whose contents may come block by block.
type shelf struct {
	fail error // of Open and Resolve, if set

	mu     sync.Mutex
	items  map[content.ID]*item
	names  map[string]content.ID
	open   int
	wanted [][]int // of all Want calls that had to wait
}

// An item is a sample of which of each chunk the first so many blocks are here.
type item struct {
	*storetest.Sample
	here    []int
	changed chan struct{}
	fail    error // of Want, if set
}

func newShelf(samples ...*storetest.Sample) *shelf {
	s := &shelf{items: map[content.ID]*item{}, names: map[string]content.ID{}}
	for _, x := range samples {
		here := make([]int, len(x.Blocks))
		for i, blocks := range x.Blocks {
			here[i] = len(blocks)
		}
		s.items[x.ID] = &item{Sample: x, here: here, changed: make(chan struct{})}
	}
	return s
}

// away makes chunks of a content be missing.
func (s *shelf) away(id content.ID, chunks ...int) {
	for _, i := range chunks {
		s.items[id].here[i] = 0
	}
}

// arrive makes chunks come, or Want fail.
func (s *shelf) arrive(id content.ID, err error, chunks ...int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.items[id]
	for _, i := range chunks {
		x.here[i] = len(x.Sample.Blocks[i])
	}
	x.fail = err
	close(x.changed)
	x.changed = make(chan struct{})
}

// begin makes the first blocks of a chunk come.
func (s *shelf) begin(id content.ID, chunk, blocks int) {
	s.mu.Lock()
	s.items[id].here[chunk] = blocks
	s.mu.Unlock()
	s.arrive(id, nil)
}

func (s *shelf) Resolve(_ context.Context, ref string) (content.ID, error) {
	if id, ok := s.names[ref]; ok {
		return id, nil
	}
	if s.fail != nil {
		return content.ID{}, s.fail
	}
	return content.ID{}, fmt.Errorf("%s: %w", ref, content.ErrNotFound)
}

func (s *shelf) Open(_ context.Context, id content.ID) (gateway.Content, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, ok := s.items[id]
	switch {
	case s.fail != nil:
		return nil, s.fail
	case !ok:
		return nil, fmt.Errorf("%v: %w", id, content.ErrNotFound)
	}
	s.open++
	return &opened{s, x}, nil
}

func (s *shelf) Holds(id content.ID) bool { return s.items[id] != nil }

func (s *shelf) Whole(id content.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.items[id]
	if x == nil {
		return false
	}
	for i, blocks := range x.Sample.Blocks {
		if x.here[i] < len(blocks) {
			return false
		}
	}
	return true
}

func (s *shelf) Block(_ context.Context, h content.Hash) ([]byte, error) {
	for id, x := range s.items {
		if content.Hash(id) == h {
			return x.Root, nil
		}
		for _, seg := range x.Segments {
			if content.Sum(seg) == h {
				return seg, nil
			}
		}
		for i, c := range x.Sample.Manifest.Chunks {
			if c.Hash == h {
				return x.Nodes[i], nil
			}
			for j, b := range x.Sample.Blocks[i] {
				if b.Hash == h {
					return x.Block(i, j), nil
				}
			}
		}
	}
	return nil, fmt.Errorf("%v: %w", h, content.ErrNotFound)
}

func (s *shelf) WriteCAR(w io.Writer, root cid.Cid, data []byte) error {
	out, err := car.NewWriter(w, root)
	if err == nil {
		err = out.Put(root, data)
	}
	if err == nil {
		err = out.Flush()
	}
	return err
}

// opened is a content that a request has open.
type opened struct {
	shelf *shelf
	item  *item
}

func (o *opened) ID() content.ID              { return o.item.ID }
func (o *opened) Manifest() *content.Manifest { return o.item.Sample.Manifest }
func (o *opened) Layout() *content.Layout     { return content.NewLayout(o.item.Sample.Manifest) }
func (o *opened) Encoded() content.Encoded    { return o.item.Encoded }
func (o *opened) Node(i int) ([]byte, bool) {
	last := o.Layout().Chunk(i) + int64(o.Manifest().Chunks[i].Size) - 1
	return o.item.Nodes[i], o.Want(context.TODO(), last, i) == nil
}

func (o *opened) Blocks(chunk int) ([]content.Block, bool) {
	return o.item.Sample.Blocks[chunk], true
}

func (o *opened) ReadBlock(chunk, block int, buf []byte) ([]byte, error) {
	o.shelf.mu.Lock()
	defer o.shelf.mu.Unlock()
	if block >= o.item.here[chunk] {
		return nil, content.ErrNotFound
	}
	return append(buf[:0], o.item.Block(chunk, block)...), nil
}

func (o *opened) Want(ctx context.Context, at int64, chunks ...int) error {
	end := o.Layout().Chunk(chunks[0])
	block := slices.IndexFunc(o.item.Sample.Blocks[chunks[0]], func(b content.Block) bool {
		end += int64(b.Size)
		return at < end
	})
	for waited := false; ; waited = true {
		o.shelf.mu.Lock()
		here, fail, changed := block < o.item.here[chunks[0]], o.item.fail, o.item.changed
		if !here && !waited {
			o.shelf.wanted = append(o.shelf.wanted, slices.Clone(chunks))
		}
		o.shelf.mu.Unlock()
		if here || fail != nil {
			return fail
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

func (o *opened) WriteCAR(ctx context.Context, w io.Writer) error {
	return car.Write(ctx, w, o, nil, nil)
}

func (o *opened) Close() error {
	o.shelf.mu.Lock()
	defer o.shelf.mu.Unlock()
	o.shelf.open--
	return nil
}

// ask sends one request to a gateway and returns the whole answer. Headers are
// given as "Name: value".
func ask(t testing.TB, g http.Handler, method, path string, headers ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	for _, h := range headers {
		var name, value string
		if _, err := fmt.Sscanf(h, "%s", &name); err != nil {
			t.Fatal(err)
		}
		value = h[min(len(h), len(name)+1):]
		r.Header.Add(name[:len(name)-1], value)
	}
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	return w.Result()
}

func body(t testing.TB, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func newGateway(s *shelf, change ...func(*gateway.Config)) *gateway.Gateway {
	var cfg gateway.Config
	for _, c := range change {
		c(&cfg)
	}
	return gateway.New(s, cfg, zap.NewNop())
}
