package dht

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ipfs/go-libdht/kad/key/bitstr"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	ma "github.com/multiformats/go-multiaddr"
	mh "github.com/multiformats/go-multihash"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
)

const (
	// keysTimeout bounds an access to the list of keys on disk.
	keysTimeout = 30 * time.Second
	// settle is the time from the provider's first measure of the network until
	// it surely has queued the keys it found on disk.
	settle = 250 * time.Millisecond
	// renewHere is how often a server without others renews its own records.
	renewHere = recordLife / 3
	// moveEvery is the least time between two rounds that tell a new address:
	// a round costs about 0.8 kB per key, and a laptop in a train has many.
	moveEvery = 10 * time.Minute
)

// Announce notes the keys on disk and returns. They are told to the DHT as soon
// as it is in reach, and again every two hours until Withdraw.
func (d *DHT) Announce(keys ...content.Hash) error {
	for batch := range slices.Chunk(keys, batchKeys) {
		if err := d.announce(batch); err != nil {
			return fmt.Errorf("announce %d keys: %w", len(keys), err)
		}
	}
	return nil
}

func (d *DHT) announce(keys []content.Hash) error {
	ctx, cancel := context.WithTimeout(context.Background(), keysTimeout)
	defer cancel()
	d.mu.Lock()
	defer d.mu.Unlock()
	added, err := d.keys.Put(ctx, multihashes(keys)...)
	if err != nil {
		return err
	}
	for _, m := range added {
		if err := d.noteHere(ctx, m); err != nil {
			return err
		}
	}
	if d.live {
		return d.prov.StartProviding(true, added...)
	}
	select {
	case <-d.online:
		d.late = append(d.late, added...)
	default: // the provider finds them on disk when it comes online
	}
	return nil
}

// Withdraw stops announcing the keys. What was told runs out by itself.
func (d *DHT) Withdraw(keys ...content.Hash) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for batch := range slices.Chunk(keys, batchKeys) {
		gone := multihashes(batch)
		if err := d.prov.StopProviding(gone...); err != nil {
			return fmt.Errorf("withdraw %d keys: %w", len(keys), err)
		}
		d.late = slices.DeleteFunc(d.late, func(m mh.Multihash) bool {
			return slices.ContainsFunc(gone, func(g mh.Multihash) bool { return slices.Equal(g, m) })
		})
	}
	return nil
}

// Retain withdraws every key but those to keep, also such as were announced before
// a restart and that nobody remembers.
func (d *DHT) Retain(ctx context.Context, keep func(content.Hash) bool) error {
	var withdrawn error
	d.forAll(ctx, func(_ context.Context, ms []mh.Multihash) error {
		var gone []content.Hash
		for _, m := range ms {
			// All keys here are SHA-256 digests with two bytes before them.
			if key := content.Hash(m[len(m)-content.HashSize:]); !keep(key) {
				gone = append(gone, key)
			}
		}
		withdrawn = errors.Join(withdrawn, d.Withdraw(gone...))
		return nil
	})
	return withdrawn
}

func multihashes(keys []content.Hash) []mh.Multihash {
	ms := make([]mh.Multihash, len(keys))
	for i, k := range keys {
		ms[i] = k.Multihash()
	}
	return ms
}

// Run keeps what is announced true until ctx ends: it goes live once a server
// is in reach, and tells everyone anew when this node's addresses changed.
func (d *DHT) Run(ctx context.Context) error {
	renew := time.NewTicker(renewHere)
	defer renew.Stop()
	move := time.NewTimer(0)
	if !move.Stop() {
		<-move.C
	}
	defer move.Stop()
	online := d.online
	told := d.kad.FilteredAddrs()
	var toldAt time.Time
	moved, err := d.host.EventBus().Subscribe(new(event.EvtLocalAddressesUpdated), eventbus.Name("dht"))
	if err != nil {
		return fmt.Errorf("watch this node's addresses: %w", err)
	}
	defer moved.Close()

	d.noteAll(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-online:
			online = nil
			if err := d.goLive(ctx); err != nil {
				return nil
			}
			d.log.Info("announcing in the DHT")
			told, toldAt = d.kad.FilteredAddrs(), time.Now()
		case <-renew.C:
			if !d.reached.Load() {
				d.noteAll(ctx)
			}
		case <-moved.Out():
			move.Reset(time.Until(toldAt.Add(moveEvery)))
		case <-move.C:
			now := d.kad.FilteredAddrs()
			if online != nil || sameAddrs(told, now) {
				continue // nobody was told the old ones, or they are back
			}
			told, toldAt = now, time.Now()
			d.log.Info("announcing new addresses in the DHT")
			d.forAll(ctx, func(_ context.Context, ms []mh.Multihash) error {
				return d.prov.StartProviding(true, ms...)
			})
		}
	}
}

// goLive waits until the provider has queued what it found in the keystore, and
// hands it what came since. It returns an error only if ctx ended.
func (d *DHT) goLive(ctx context.Context) error {
	tick := time.NewTicker(settle)
	defer tick.Stop()
	for measured := false; ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if measured {
			break // one tick ago: it is through with the keystore
		}
		st, err := d.prov.Stats(ctx)
		measured = err == nil && st.Schedule.AvgPrefixLength >= 0
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live = true
	late := d.late
	d.late = nil
	if err := d.prov.StartProviding(true, late...); err != nil {
		d.log.Warn("keys wait for the next round", zap.Int("keys", len(late)), zap.Error(err))
	}
	return nil
}

// forAll calls f with all announced keys, a part of the keyspace at a time.
func (d *DHT) forAll(ctx context.Context, f func(context.Context, []mh.Multihash) error) {
	const bits = 6
	for part := range 1 << bits {
		ms, err := d.keys.Get(ctx, bitstr.Key(fmt.Sprintf("%0*b", bits, part)))
		if err == nil && len(ms) > 0 {
			err = f(ctx, ms)
		}
		if err != nil && ctx.Err() == nil {
			d.log.Warn("announced keys can't be told", zap.Error(err))
			return
		}
	}
}

// noteAll calls noteHere with all announced keys.
func (d *DHT) noteAll(ctx context.Context) {
	if !d.cfg.Server {
		return
	}
	d.forAll(ctx, func(ctx context.Context, ms []mh.Multihash) error {
		for _, m := range ms {
			if err := d.noteHere(ctx, m); err != nil {
				return err
			}
		}
		return nil
	})
}

func sameAddrs(a, b []ma.Multiaddr) bool {
	if len(a) != len(b) {
		return false
	}
	return !slices.ContainsFunc(a, func(x ma.Multiaddr) bool { return !ma.Contains(b, x) })
}
