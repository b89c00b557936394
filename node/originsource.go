package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/libp2p/go-libp2p/core/peer"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/discovery"
	"github.com/p2pnode/p2pnode/node/exchange"
	"github.com/p2pnode/p2pnode/node/flow"
	"github.com/p2pnode/p2pnode/node/origin"
)

// How an HTTP server becomes a source
//
// A manifest may name, for each of its files, addresses that have it (origins).
// Each server among them becomes a source of the flow, with a name of its own, so
// that the flow ranks, hedges and bans it like a peer. It has what a server of
// files has: no map of chunks, no block lists, and no idea what a block is. So it
// claims the chunks whose block list is known here already and whose bytes all
// lie in files that it has an address for, and a request for blocks becomes one
// for the ranges of files that hold them. Whoever begins a fetch gets the lists
// from peers first, in bulk, and tells (Learnt).
//
// A server that failed rests (node/origin): meanwhile the source claims nothing,
// and so the flow goes on with the others and calls for more of them.

const (
	// maxOriginHosts bounds the servers of a content that are asked: a flow has
	// room for 64 sources, and peers come first.
	maxOriginHosts = 8
	originWorkers  = 4   // parts of a server on their way at once
	originAsked    = 256 // requests that wait for one: more than a flow makes
	originHeld     = 32  // blocks given to the flow and not released, as with a peer

	// How often chunks are looked at whose lists nobody told of: a peer may have
	// given the list and left.
	leastLook = 5 * time.Second
	mostLook  = 2 * time.Minute
)

// origins are the HTTP servers that have files of a content.
type origins struct {
	sources []*originSource
	files   map[int][]string // addresses by file
	spoilt  *spoilt
}

// newOrigins returns the servers that c's manifest names, as sources. They work
// while Run does:
//
//	o := newOrigins(client, c, joined, log)
//	g.Go(func() error { return o.Run(ctx) })
//	for _, s := range o.Sources() {
//		flow.Add(s)
//	}
//	... // block lists arrive
//	o.Learnt()
//
// joined is called when a server gave bytes: until then nobody knows whether it
// is one at all.
func newOrigins(client *origin.Client, c *store.Content, joined func(), log *zap.Logger) *origins {
	o := &origins{files: make(map[int][]string), spoilt: newSpoilt()}
	joined = sync.OnceFunc(joined)
	m := c.Manifest()
	missing := roaring.New()
	missing.AddRange(0, uint64(len(m.Chunks)))
	missing.AndNot(c.Have())
	if len(m.Origins) == 0 || missing.IsEmpty() {
		return o
	}
	add := func(name string, files map[int][]string, chunks *roaring.Bitmap) {
		o.sources = append(o.sources, &originSource{
			client: client, content: c, joined: joined,
			name: discovery.PeerName(discovery.OriginPeer(name)), peer: discovery.OriginPeer(name), log: log,
			files: files, chunks: chunks, known: roaring.New(),
			done: make(chan struct{}), wake: make(chan struct{}, 1), learnt: make(chan struct{}, 1),
			asked: make(chan *originRequest, originAsked), held: make(chan struct{}, originHeld),
			buffers: sync.Pool{New: func() any { return new([content.MaxBlock]byte) }},
			follows: make(map[*originFollow]struct{}), spoilt: o.spoilt,
		})
	}
	var hosts []string
	byHost := make(map[string]map[int][]string)
	for _, from := range m.Origins {
		host := origin.Host(from.URL)
		if byHost[host] == nil {
			if len(hosts) == maxOriginHosts {
				continue
			}
			hosts = append(hosts, host)
			byHost[host] = make(map[int][]string)
		}
		byHost[host][from.File] = append(byHost[host][from.File], from.URL)
		o.files[from.File] = append(o.files[from.File], from.URL)
	}
	rest := covered(c, o.files, missing)
	for _, host := range hosts {
		if chunks := covered(c, byHost[host], missing); !chunks.IsEmpty() {
			add(host, byHost[host], chunks)
			rest.AndNot(chunks)
		}
	}
	if !rest.IsEmpty() { // chunks whose files are at several servers
		add("several", o.files, rest)
	}
	return o
}

// covered returns those of the chunks whose bytes all lie in these files.
func covered(c *store.Content, files map[int][]string, chunks *roaring.Bitmap) *roaring.Bitmap {
	out := roaring.New()
	for i := range roaring.Values(chunks) {
		inside := true
		for span := range chunkSpans(c, int(i)) {
			if inside = files[span.File] != nil; !inside {
				break
			}
		}
		if inside {
			out.Add(i)
		}
	}
	return out
}

func chunkSpans(c *store.Content, i int) func(func(content.Span) bool) {
	return c.Layout().Spans(c.Layout().Chunk(i), int64(c.Manifest().Chunks[i].Size))
}

// Sources returns a source for each server.
func (o *origins) Sources() []flow.Source {
	out := make([]flow.Source, len(o.sources))
	for i, s := range o.sources {
		out[i] = s
	}
	return out
}

// Learnt tells that more block lists are known. It doesn't wait.
func (o *origins) Learnt() {
	for _, s := range o.sources {
		poke(s.learnt)
	}
}

// Run works until ctx ends; the sources are done then.
func (o *origins) Run(ctx context.Context) error {
	var group sync.WaitGroup
	for _, s := range o.sources {
		group.Go(func() { s.run(ctx) })
	}
	group.Wait()
	return nil
}

// poke leaves a token in c, unless there is one.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// An originSource is an HTTP server as a flow asks it.
type originSource struct {
	client  *origin.Client
	content *store.Content
	joined  func()
	log     *zap.Logger
	name    string // for people
	peer    peer.ID
	files   map[int][]string // addresses by file
	chunks  *roaring.Bitmap  // that it could give
	done    chan struct{}
	wake    chan struct{} // one token when a server may rest
	learnt  chan struct{} // one token when more lists may be known
	asked   chan *originRequest
	held    chan struct{} // a token per block not released
	buffers sync.Pool     // of *[content.MaxBlock]byte
	spoilt  *spoilt

	mu      sync.Mutex
	known   *roaring.Bitmap // of chunks, those with a list
	claim   *roaring.Bitmap // what the followers were told; nil if nothing yet
	follows map[*originFollow]struct{}
	stopped bool // nothing can be asked any more
}

type originFollow struct{ tell func(*roaring.Bitmap) }

// Peer implements flow.Source.
func (s *originSource) Peer() peer.ID { return s.peer }

// Link implements flow.Source.
func (s *originSource) Link() bandwidth.Link { return bandwidth.Origin }

// Done implements flow.Source.
func (s *originSource) Done() <-chan struct{} { return s.done }

// Follow implements flow.Source.
func (s *originSource) Follow(id content.ID, _ int, f func(*roaring.Bitmap)) (stop func(), err error) {
	if id != s.content.ID() {
		return nil, fmt.Errorf("follow %s: %w", id, content.ErrNotFound)
	}
	follow := &originFollow{f}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.follows[follow] = struct{}{}
	if s.claim != nil {
		f(s.claim.Clone())
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.follows, follow)
	}, nil
}

// run works until ctx ends.
func (s *originSource) run(ctx context.Context) {
	var group sync.WaitGroup
	for range originWorkers {
		group.Go(func() { s.work(ctx) })
	}
	s.watch(ctx)
	group.Wait()
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	close(s.done)
	for {
		select {
		case r := <-s.asked:
			r.sink.End(exchange.ErrGone)
		default:
			return
		}
	}
}

// watch keeps the claim right.
func (s *originSource) watch(ctx context.Context) {
	look := leastLook
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if s.learn(ctx) {
			look = leastLook
		}
		until := s.reclaim()
		wait := look
		if !until.IsZero() {
			wait = min(wait, time.Until(until)+time.Millisecond)
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-s.learnt:
			look = leastLook
		case <-s.wake:
		case <-timer.C:
			look = min(2*look, mostLook)
		}
	}
}

// learn looks for chunks whose list is known by now; it reports whether there are.
func (s *originSource) learn(ctx context.Context) bool {
	s.mu.Lock()
	unknown := roaring.AndNot(s.chunks, s.known)
	s.mu.Unlock()
	fresh := roaring.New()
	for i := range roaring.Values(unknown) {
		if ctx.Err() != nil {
			return false
		}
		if _, ok := s.content.Blocks(int(i)); ok {
			fresh.Add(i)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known.Or(fresh)
	return !fresh.IsEmpty()
}

// reclaim tells the followers what can be asked now, if that has changed. It
// returns when a server or address will have rested, zero if none rests.
func (s *originSource) reclaim() (until time.Time) {
	resting := make(map[int]bool) // files
	for file, urls := range s.files {
		asleep := 0
		for _, u := range urls {
			t := s.client.Resting(u)
			if t.IsZero() {
				continue
			}
			asleep++
			if until.IsZero() || t.Before(until) {
				until = t
			}
		}
		if asleep == len(urls) {
			resting[file] = true
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	claim := s.known.Clone()
	if len(resting) > 0 {
		for i := range roaring.Values(s.known) {
			for span := range chunkSpans(s.content, int(i)) {
				if resting[span.File] {
					claim.Remove(i)
				}
			}
		}
	}
	if s.claim != nil && s.claim.Equals(claim) {
		return until
	}
	s.claim = claim
	for f := range s.follows {
		f.tell(claim.Clone())
	}
	return until
}

// An originRequest is what a flow asked for.
type originRequest struct {
	chunk  int
	want   uint64
	list   bool
	sink   flow.Sink
	ctx    context.Context // ends when it is cancelled
	cancel context.CancelFunc
}

// Request implements flow.Source. The list is the one that is known here. What a server
// is sending isn't narrowed.
func (s *originSource) Request(id content.ID, chunk int, want uint64, list bool, sink flow.Sink) (func(uint64), error) {
	if id != s.content.ID() || chunk < 0 || !s.chunks.Contains(uint32(chunk)) {
		return nil, fmt.Errorf("request chunk %d of %s from %s: %w", chunk, id, s.name, content.ErrNotFound)
	}
	r := &originRequest{chunk: chunk, want: want, list: list, sink: sink}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		r.cancel()
		return nil, fmt.Errorf("request chunk %d from %s: %w", chunk, s.name, exchange.ErrGone)
	}
	select {
	case s.asked <- r:
		return func(keep uint64) {
			if keep == 0 {
				r.cancel()
			}
		}, nil
	default:
		r.cancel()
		return nil, fmt.Errorf("request chunk %d from %s: %w", chunk, s.name, exchange.ErrBusy)
	}
}

func (s *originSource) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-s.asked:
			s.serve(ctx, r)
		}
	}
}

func (s *originSource) serve(ctx context.Context, r *originRequest) {
	defer r.cancel()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.ctx, cancel)()
	err := s.give(ctx, r)
	if ctx.Err() != nil {
		err = exchange.ErrCancelled
	}
	r.sink.End(err)
}

// give hands the sink what it wants.
func (s *originSource) give(ctx context.Context, r *originRequest) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	blocks, ok := s.content.Blocks(r.chunk)
	if !ok {
		return fmt.Errorf("chunk %d: no origin has block lists: %w", r.chunk, content.ErrNotFound)
	}
	if r.list {
		node, ok := s.content.Node(r.chunk)
		if !ok {
			return fmt.Errorf("chunk %d: no origin has block lists: %w", r.chunk, content.ErrNotFound)
		}
		if err := r.sink.List(bytes.Clone(node)); err != nil {
			return err
		}
	}
	for _, part := range blockRuns(s.content.Layout(), r.chunk, blocks, r.want) {
		if err := s.fetch(ctx, part, r.sink); err != nil {
			return err
		}
	}
	return nil
}

// A blockRun is blocks that lie one behind the other in one file.
type blockRun struct {
	content.Span
	first int // index of the first block in its chunk
	sizes []uint32
}

// blockRuns returns the fewest runs that have the wanted blocks of a chunk and
// nothing else.
func blockRuns(layout *content.Layout, chunk int, blocks []content.Block, want uint64) []blockRun {
	var runs []blockRun
	at := layout.Chunk(chunk)
	for i, b := range blocks {
		if want>>i&1 != 0 {
			for span := range layout.Spans(at, int64(b.Size)) { // one: a block is in one file
				if n := len(runs) - 1; n >= 0 && runs[n].first+len(runs[n].sizes) == i && runs[n].File == span.File {
					runs[n].Size += span.Size
					runs[n].sizes = append(runs[n].sizes, b.Size)
				} else {
					runs = append(runs, blockRun{span, i, []uint32{b.Size}})
				}
			}
		}
		at += int64(b.Size)
	}
	return runs
}

// fetch hands the sink the blocks of a run. If an address fails, the next one of
// the file goes on from there.
func (s *originSource) fetch(ctx context.Context, run blockRun, sink flow.Sink) error {
	failed := fmt.Errorf("file %d: %w", run.File, origin.ErrResting)
	for _, url := range s.files[run.File] {
		if !s.client.Resting(url).IsZero() {
			continue
		}
		err := s.stream(ctx, url, &run, sink)
		if err == nil {
			return nil
		}
		failed = err
		if errors.Is(err, content.ErrChanged) || errors.Is(err, content.ErrNotFound) {
			s.spoilt.note(url, err)
		}
		if until := s.client.Resting(url); !until.IsZero() {
			s.log.Info("origin failed", zap.String("peer", s.name), zap.Time("until", until), zap.Error(err))
			poke(s.wake)
		}
		if ctx.Err() != nil || len(run.sizes) == 0 {
			break
		}
	}
	return failed
}

// stream hands the sink the blocks of a run from one address, and takes those off
// the run that it has given.
func (s *originSource) stream(ctx context.Context, url string, run *blockRun, sink flow.Sink) error {
	whole := origin.Resource{URL: url, Size: s.content.Manifest().Files[run.File].Size}
	part, err := s.client.Range(ctx, whole, run.Offset, run.Size)
	if err != nil {
		return err
	}
	defer part.Close()
	for len(run.sizes) > 0 {
		select {
		case s.held <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		buffer := s.buffers.Get().(*[content.MaxBlock]byte)
		release := func() {
			s.buffers.Put(buffer)
			<-s.held
		}
		data := buffer[:run.sizes[0]]
		_, err := io.ReadFull(part, data)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			release()
			return err
		}
		index, size := run.first, int64(len(data))
		run.first, run.sizes = run.first+1, run.sizes[1:]
		run.Offset, run.Size = run.Offset+size, run.Size-size
		s.joined()
		s.spoilt.gave(s.peer, url)
		sink.Block(index, data, release)
	}
	if _, err := part.Read(make([]byte, 1)); err != io.EOF { // what followed the last byte
		return err
	}
	return nil
}
