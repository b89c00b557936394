package node

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

const (
	maxBook      = 256 // members remembered; the longest unseen go first
	maxBookAddrs = 8   // addresses kept of one
	maxBookLine  = 4 << 10
)

// A peerbook remembers members met before, so that a node that restarts finds
// the enterprise without being told again. It is a hint: losing it costs a
// bootstrap, and admission decides about whoever it leads to.
//
// On disk it is text, rewritten as a whole, a line for each member: when it was
// seen (seconds since 1970), its peer id, its addresses.
type peerbook struct {
	file string

	mu      sync.Mutex
	entries map[peer.ID]bookEntry
	dirty   bool
}

type bookEntry struct {
	peer.AddrInfo
	seen int64 // seconds since 1970
}

// openBook reads the book; a missing or damaged one is an empty one.
func openBook(file string) *peerbook {
	b := &peerbook{file: file, entries: make(map[peer.ID]bookEntry)}
	f, err := os.Open(file)
	if err != nil {
		return b
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxBookLine)
	for n := 0; n < maxBook && lines.Scan(); n++ {
		if e, ok := parseBookLine(lines.Text()); ok {
			b.entries[e.ID] = e
		}
	}
	return b
}

func parseBookLine(line string) (bookEntry, bool) {
	when, rest, _ := strings.Cut(line, " ")
	who, rest, _ := strings.Cut(rest, " ")
	seen, err := strconv.ParseInt(when, 10, 64)
	if err != nil {
		return bookEntry{}, false
	}
	id, err := peer.Decode(who)
	if err != nil {
		return bookEntry{}, false
	}
	e := bookEntry{seen: seen}
	e.ID = id
	for text := range strings.SplitSeq(rest, " ") {
		if a, err := ma.NewMultiaddr(text); err == nil && len(e.Addrs) < maxBookAddrs {
			e.Addrs = append(e.Addrs, a)
		}
	}
	return e, len(e.Addrs) > 0
}

func (e bookEntry) line() string {
	words := []string{strconv.FormatInt(e.seen, 10), e.ID.String()}
	for _, a := range e.Addrs {
		words = append(words, a.String())
	}
	return strings.Join(words, " ")
}

// met notes that a member was reached under addrs at a time.
func (b *peerbook) met(id peer.ID, addrs []ma.Multiaddr, now time.Time) {
	e := bookEntry{seen: now.Unix()}
	e.ID, e.Addrs = id, slices.Clone(addrs[:min(len(addrs), maxBookAddrs)])
	if len(e.Addrs) == 0 || len(e.line()) >= maxBookLine {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entries[id] = e
	b.dirty = true
	if len(b.entries) <= maxBook {
		return
	}
	oldest := e
	for _, o := range b.entries {
		if o.seen < oldest.seen {
			oldest = o
		}
	}
	delete(b.entries, oldest.ID)
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
	defer b.mu.Unlock()
	var infos []peer.AddrInfo
	for _, e := range b.sorted() {
		infos = append(infos, e.AddrInfo)
	}
	return infos
}

// sorted returns the entries, the latest seen first. Callers hold mu.
func (b *peerbook) sorted() []bookEntry {
	all := make([]bookEntry, 0, len(b.entries))
	for _, e := range b.entries {
		all = append(all, e)
	}
	slices.SortFunc(all, func(x, y bookEntry) int {
		return cmp.Or(cmp.Compare(y.seen, x.seen), cmp.Compare(x.ID, y.ID))
	})
	return all
}

// save writes the book if it changed.
func (b *peerbook) save() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.dirty {
		return nil
	}
	var text bytes.Buffer
	for _, e := range b.sorted() {
		fmt.Fprintln(&text, e.line())
	}
	tmp := b.file + ".tmp"
	if err := os.MkdirAll(filepath.Dir(b.file), 0o700); err != nil {
		return fmt.Errorf("write peer book: %w", err)
	}
	if err := os.WriteFile(tmp, text.Bytes(), 0o600); err != nil {
		return fmt.Errorf("write peer book: %w", err)
	}
	if err := os.Rename(tmp, b.file); err != nil {
		return fmt.Errorf("write peer book: %w", err)
	}
	b.dirty = false
	return nil
}
