package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/node/exchange"
)

const (
	// A manifest is asked of one holder, and of one more each time this passes:
	// it may be megabytes, and a few copies of it are what hedging may cost.
	hedgeManifest = 2 * time.Second
	maxManifests  = 4 // asked for at once
	// A peer that claims no chunk of a content may hold its manifest all the
	// same; it is asked after those that claim some had this long.
	askAnyway = time.Second
	// anyChunks bounds the map of a content whose manifest isn't here yet: no
	// manifest lists more chunks, at 36 bytes each.
	anyChunks = content.MaxManifest / 36
)

// A holding is what a holder gave of a content before its chunks.
type holding struct {
	encoded  content.Encoded
	releases []signedRelease
}

// await waits for a manifest that somebody gives and a publisher signed for.
func (f *fetch) await(ctx context.Context, start time.Time, patience *time.Timer) (holding, error) {
	more := time.NewTicker(hedgeManifest)
	defer more.Stop()
	f.slots <- struct{}{}
	for given := 1; ; {
		select {
		case <-ctx.Done():
			return holding{}, ctx.Err()
		case h := <-f.manifest:
			return h, nil
		case <-more.C:
			if given < maxManifests {
				given++
				f.slots <- struct{}{}
			}
		case <-patience.C:
			if f.crew.found() { // it is on its way to this site
				patience.Reset(f.patience)
				continue
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.refused != nil {
				return holding{}, f.refused
			}
			return holding{}, f.unfound(start)
		}
	}
}

// ask asks a peer for the manifest once it says that it holds some of the
// content, which it notes in claimed. It reports whether one is here by now, whoever's.
func (f *fetch) ask(ctx context.Context, x *exchange.Session, claimed *atomic.Pointer[roaring.Bitmap]) bool {
	holds := make(chan struct{})
	var once sync.Once
	select {
	case <-f.settled:
		return true
	default:
	}
	stop, err := x.Follow(f.id, anyChunks, func(have *roaring.Bitmap) {
		claimed.Store(have)
		if !have.IsEmpty() {
			once.Do(func() { close(holds) })
		}
	})
	if err != nil {
		return false
	}
	defer stop()
	if f.guess(ctx, x) {
		return true
	}
	for {
		select {
		case <-f.settled:
			return true
		case <-ctx.Done():
			return false
		case <-x.Done():
			return false
		case <-holds:
		case <-time.After(askAnyway): // held without a whole chunk, or of no chunk at all
		}
		select {
		case <-f.settled:
			return true
		case <-ctx.Done():
			return false
		case <-x.Done():
			return false
		case <-f.slots:
		}
		h, err := f.askManifest(ctx, x)
		if err == nil {
			select {
			case f.manifest <- h:
			case <-f.settled:
			case <-ctx.Done():
				return false
			}
			continue
		}
		f.slots <- struct{}{} // room for all that were ever given
		f.mu.Lock()
		if errors.Is(err, errNoRelease) {
			f.refused = err
		}
		f.mu.Unlock()
		f.node.log.Info("no manifest", zap.Stringer("peer", x.Peer()), zap.Stringer("content", f.id), zap.Error(err))
		if !sleep(ctx, askAgain) {
			return false
		}
	}
}

// guess asks a peer at another site that may publish for the manifest before it says
// what it holds: most likely it is the one who has it, and that saves a round trip. One
// is asked so at a time. It reports whether it had the manifest.
func (f *fetch) guess(ctx context.Context, x *exchange.Session) bool {
	if f.node.link(x.Peer()) == bandwidth.LAN || !f.node.mayPublish(x.Peer()) {
		return false
	}
	select {
	case f.guesses <- struct{}{}:
		defer func() { <-f.guesses }()
	default:
		return false
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-f.settled: // by another one's
			cancel()
		case <-ctx.Done():
		}
	}()
	h, err := f.askManifest(ctx, x)
	if err != nil {
		return false
	}
	select {
	case f.manifest <- h:
	case <-f.settled:
	case <-ctx.Done():
		return false
	}
	select {
	case <-f.settled:
		return true
	case <-ctx.Done():
		return false
	}
}

func (f *fetch) askManifest(ctx context.Context, x *exchange.Session) (holding, error) {
	enc, envelopes, err := x.Manifest(ctx, f.id)
	if err != nil {
		return holding{}, err
	}
	releases := f.node.releases(envelopes, func(r signedRelease) bool { return r.Content == f.id })
	if len(releases) == 0 {
		releases = f.releases
	}
	if len(releases) == 0 {
		return holding{}, fmt.Errorf("%s from %s: %w", f.id, f.node.call(x.Peer()), errNoRelease)
	}
	return holding{enc, releases}, nil
}
