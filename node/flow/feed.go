package flow

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/libp2p/go-libp2p/core/peer"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/discovery"
)

// A feed is a source at work: it carries out what the core wants of it, on a
// goroutine of its own, so that a source that blocks holds up nobody else.
type feed struct {
	flow *Flow
	id   sourceID
	src  Source
	peer peer.ID
	link bandwidth.Link
	last bool   // see Publisher
	site string // see Sited
	stop context.CancelFunc
	wake chan struct{} // one token while there are orders

	mu     sync.Mutex
	orders []func() // at most an ask and a few cancels per open request
	open   map[requestID]func(keep uint64)
}

func newFeed(f *Flow, id sourceID, src Source) *feed {
	p, ok := src.(Publisher)
	at, _ := src.(Sited)
	d := &feed{
		flow: f, id: id, src: src, peer: src.Peer(), link: src.Link(), last: ok && p.Publishes(),
		wake: make(chan struct{}, 1), open: map[requestID]func(uint64){},
	}
	if at != nil {
		d.site = at.Site()
	}
	return d
}

// run works until the source is gone or ctx ends.
func (d *feed) run(ctx context.Context) {
	defer d.flow.inbox.put(left{d.id})
	stop, err := d.src.Follow(d.flow.id, d.flow.chunks, func(m *roaring.Bitmap) {
		d.flow.inbox.put(have{d.id, m})
	})
	if err != nil {
		d.flow.cfg.Log.Debug("source not followed", zap.String("peer", discovery.PeerName(d.peer)), zap.Stringer("content", d.flow.id), zap.Error(err))
		return
	}
	defer stop()
	defer d.cancelAll()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.src.Done():
			return
		case <-d.wake:
		}
		d.mu.Lock()
		orders := d.orders
		d.orders = nil
		d.mu.Unlock()
		for _, do := range orders {
			do()
		}
	}
}

func (d *feed) order(do func()) {
	d.mu.Lock()
	d.orders = append(d.orders, do)
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (d *feed) ask(a ask) {
	s := &sink{feed: d, ask: a, want: a.Want}
	narrow, err := d.src.Request(d.flow.id, a.Chunk, a.Want, a.List, s)
	if err != nil {
		d.flow.inbox.put(ended{d.id, a.Request, d.flow.cfg.Outcome(err)})
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !s.over {
		d.open[a.Request] = narrow
	}
}

func (d *feed) narrow(r requestID, keep uint64) {
	d.mu.Lock()
	narrow := d.open[r]
	d.mu.Unlock()
	if narrow != nil {
		narrow(keep)
	}
}

func (d *feed) cancelAll() {
	d.mu.Lock()
	all := slices.Collect(maps.Values(d.open))
	d.mu.Unlock()
	for _, narrow := range all {
		narrow(0)
	}
}

func (d *feed) judged(chunk int, block uint8, bytes uint32, v Verdict) judged {
	return judged{Source: d.id, Peer: d.peer, Link: d.link, Chunk: chunk, Block: block, Bytes: bytes, Verdict: v}
}

// A sink takes what a request brings, on the reader of its source.
type sink struct {
	feed *feed
	ask  ask
	want uint64 // that did not come yet; of a list not known, all ones
	list bool   // came
	over bool   // End came; guarded by feed.mu
}

var errOver = errors.New("flow: is over")

// List implements Sink.
func (s *sink) List(node []byte) error {
	f, chunk := s.feed.flow, s.ask.Chunk
	f.gate.RLock() // the target is in use until here is done
	defer f.gate.RUnlock()
	if f.over {
		return errOver
	}
	err := f.cfg.Target.SetBlocks(chunk, node)
	ev := list{Source: s.feed.id, Request: s.ask.Request, Chunk: chunk}
	switch {
	case errors.Is(err, content.ErrCorrupt) || errors.Is(err, content.ErrFormat):
		ev.Bad = true
		f.inbox.put(ev)
		return err
	case err != nil:
		f.fatal(err)
		return err
	}
	blocks, ok := f.cfg.Target.Blocks(chunk)
	if !ok {
		err := fmt.Errorf("block list of chunk %d: kept, and not there", chunk)
		f.fatal(err)
		return err
	}
	s.list = true
	s.want &= allBlocks(uint8(len(blocks)))
	ev.Blocks = uint8(len(blocks))
	f.inbox.put(ev)
	return nil
}

// Block implements Sink.
func (s *sink) Block(index int, data []byte, release func()) {
	f, chunk, bytes := s.feed.flow, s.ask.Chunk, uint32(len(data))
	if index < 0 || index >= content.MaxBlocks || s.want>>index&1 == 0 || s.ask.List && !s.list {
		release() // nobody asked for it
		block := uint8(min(max(index, 0), content.MaxBlocks-1))
		f.inbox.put(s.arrived(block, bytes), s.feed.judged(chunk, block, bytes, Corrupt))
		return
	}
	s.want &^= 1 << index
	f.inbox.put(s.arrived(uint8(index), bytes))
	if !f.queue.add(job{s.feed, chunk, uint8(index), data, release}) {
		release()
	}
}

// Unwanted implements Sink.
func (s *sink) Unwanted(bytes int) {
	s.feed.flow.unwanted[share(s.feed.link)].Add(int64(bytes))
}

func (s *sink) arrived(block uint8, bytes uint32) arrived {
	return arrived{Source: s.feed.id, Request: s.ask.Request, Chunk: s.ask.Chunk, Block: block, Bytes: bytes}
}

// End implements Sink.
func (s *sink) End(err error) {
	d := s.feed
	d.mu.Lock()
	s.over = true
	delete(d.open, s.ask.Request)
	d.mu.Unlock()
	o := Sent
	if err != nil {
		o = d.flow.cfg.Outcome(err)
	}
	d.flow.inbox.put(ended{d.id, s.ask.Request, o})
}
