package node

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

const (
	maxBook      = 256 // members remembered; the longest unseen go first
	maxBookAddrs = 8   // addresses kept of one
	maxBookBytes = 1 << 20
)

// A peerbook remembers members met before, so that a node that restarts finds
// the enterprise without being told again. It is a hint: losing it costs a
// bootstrap, and admission decides about whoever it leads to.
//
// On disk it is a JSON array of {id, addrs, seen}, rewritten as a whole.
type peerbook struct {
	file string

	mu      sync.Mutex
	entries map[peer.ID]bookEntry
	dirty   bool
}

type bookEntry struct {
	ID    peer.ID   `json:"id"`
	Addrs []string  `json:"addrs"`
	Seen  time.Time `json:"seen"`
}

// openBook reads the book; a missing or damaged one is an empty one.
func openBook(file string) *peerbook {
	b := &peerbook{file: file, entries: make(map[peer.ID]bookEntry)}
	f, err := os.Stat(file)
	if err != nil || f.Size() > maxBookBytes {
		return b
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return b
	}
	var all []bookEntry
	if json.Unmarshal(raw, &all) != nil {
		return b
	}
	for _, e := range all[:min(len(all), maxBook)] {
		b.entries[e.ID] = e
	}
	return b
}

// met notes that a member was reached under addrs at a time.
func (b *peerbook) met(id peer.ID, addrs []ma.Multiaddr, now time.Time) {
	if len(addrs) == 0 {
		return
	}
	e := bookEntry{ID: id, Seen: now.UTC().Truncate(time.Second)}
	for _, a := range addrs[:min(len(addrs), maxBookAddrs)] {
		e.Addrs = append(e.Addrs, a.String())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entries[id] = e
	b.dirty = true
	if len(b.entries) > maxBook {
		oldest := e
		for _, o := range b.entries {
			if o.Seen.Before(oldest.Seen) {
				oldest = o
			}
		}
		delete(b.entries, oldest.ID)
	}
}

// forget drops a member that is none any more.
func (b *peerbook) forget(id peer.ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.entries[id]; ok {
		delete(b.entries, id)
		b.dirty = true
	}
}

// peers returns whom the book knows, the latest seen first.
func (b *peerbook) peers() []peer.AddrInfo {
	b.mu.Lock()
	all := make([]bookEntry, 0, len(b.entries))
	for _, e := range b.entries {
		all = append(all, e)
	}
	b.mu.Unlock()
	slices.SortFunc(all, func(x, y bookEntry) int {
		return cmp.Or(y.Seen.Compare(x.Seen), cmp.Compare(x.ID, y.ID))
	})
	infos := make([]peer.AddrInfo, 0, len(all))
	for _, e := range all {
		info := peer.AddrInfo{ID: e.ID}
		for _, s := range e.Addrs {
			if a, err := ma.NewMultiaddr(s); err == nil {
				info.Addrs = append(info.Addrs, a)
			}
		}
		if len(info.Addrs) > 0 {
			infos = append(infos, info)
		}
	}
	return infos
}

// save writes the book if it changed.
func (b *peerbook) save() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.dirty {
		return nil
	}
	all := make([]bookEntry, 0, len(b.entries))
	for _, e := range b.entries {
		all = append(all, e)
	}
	slices.SortFunc(all, func(x, y bookEntry) int { return cmp.Compare(x.ID, y.ID) })
	raw, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		return fmt.Errorf("write peer book: %w", err)
	}
	tmp := b.file + ".tmp"
	if err := os.MkdirAll(filepath.Dir(b.file), 0o700); err != nil {
		return fmt.Errorf("write peer book: %w", err)
	}
	if err := os.WriteFile(tmp, raw, 0o600); err != nil {
		return fmt.Errorf("write peer book: %w", err)
	}
	if err := os.Rename(tmp, b.file); err != nil {
		return fmt.Errorf("write peer book: %w", err)
	}
	b.dirty = false
	return nil
}
