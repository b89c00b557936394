package trust

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/p2pnode/p2pnode/content"
)

// Limits of the memory of releases.
const (
	maxNames      = 4096 // names whose sequence is remembered
	maxNameLength = 128
)

// A mark is the newest of a sequence that was taken. A kind that this program
// doesn't know is kept as it is, for the one that wrote it.
type mark struct {
	_        struct{} `cbor:",toarray"`
	Kind     markKind
	Name     string // within the kind
	Epoch    uint64 // counts above Sequence; 0 for releases
	Sequence uint64
	Hash     [32]byte // of what has this number
}

type markKind uint8

const (
	releaseMark markKind = 1 // the newest release of a name; Hash is its content
	sitesMark   markKind = 2 // the newest map of sites; Sequence is when it was signed
)

func (m mark) compare(o mark) int {
	return cmp.Or(cmp.Compare(m.Kind, o.Kind), strings.Compare(m.Name, o.Name))
}

// marks remembers how far each sequence got, on disk before it is used, so that no
// one can give this node an older one again.
type marks struct {
	memory *memory

	mu    sync.Mutex
	known map[markKey]mark
}

type markKey struct {
	kind markKind
	name string
}

func (m mark) key() markKey { return markKey{m.Kind, m.Name} }

func newMarks(v *memory, all []mark) (*marks, error) {
	m := &marks{memory: v, known: make(map[markKey]mark, len(all))}
	if !slices.IsSortedFunc(all, mark.compare) {
		return nil, fmt.Errorf("%w: its sequences are not in order", ErrDamaged)
	}
	for _, x := range all {
		m.known[x.key()] = x
	}
	return m, nil
}

// Seen returns the newest release of name that was accepted; false if none was.
func (id *Identity) Seen(name string) (sequence uint64, c content.ID, ok bool) {
	id.marks.mu.Lock()
	defer id.marks.mu.Unlock()
	r, ok := id.marks.known[markKey{releaseMark, name}]
	return r.Sequence, content.ID(r.Hash), ok
}

// Accept remembers a release whose envelope was verified. It fails with
// ErrRollback if a newer one was accepted before, and with ErrEquivocation if
// another content was accepted with the same number. Accepting the same again is
// fine. Once it returns nil, the release is on disk, twice, and may be used.
func (id *Identity) Accept(name string, sequence uint64, c content.ID) error {
	if len(name) == 0 || len(name) > maxNameLength {
		return fmt.Errorf("release name of %d bytes, want 1 to %d", len(name), maxNameLength)
	}
	if err := id.marks.accept(mark{Kind: releaseMark, Name: name, Sequence: sequence, Hash: content.Hash(c)}); err != nil {
		return fmt.Errorf("release %d of %s: %w", sequence, name, err)
	}
	return nil
}

// AcceptSites remembers a map of sites whose envelope was verified, by when it was
// signed. It fails if one that was signed later was accepted before, or another one that
// was signed in the same second.
func (id *Identity) AcceptSites(signed time.Time, hash content.Hash) error {
	err := id.marks.accept(mark{Kind: sitesMark, Sequence: uint64(max(signed.Unix(), 0)), Hash: hash})
	switch {
	case errors.Is(err, ErrRollback):
		return fmt.Errorf("signed on %s: this node had a newer map of sites before", stamp(signed))
	case errors.Is(err, ErrEquivocation):
		return fmt.Errorf("signed on %s: another map of sites was signed in the same second; sign it again", stamp(signed))
	}
	return err
}

func (m *marks) accept(x mark) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, known := m.known[x.key()]
	switch order := cmp.Or(cmp.Compare(x.Epoch, old.Epoch), cmp.Compare(x.Sequence, old.Sequence)); {
	case known && order < 0:
		return fmt.Errorf("%w (%d)", ErrRollback, old.Sequence)
	case known && order == 0 && x.Hash != old.Hash:
		return ErrEquivocation
	case known && order == 0:
		return nil
	case !known && len(m.known) >= maxNames:
		return fmt.Errorf("more than %d names to remember", maxNames)
	}
	err := m.memory.commit(func(next *state) error {
		all := slices.Clone(next.Marks)
		at, found := slices.BinarySearchFunc(all, x, mark.compare)
		if found {
			all[at] = x
		} else {
			all = slices.Insert(all, at, x)
		}
		next.Marks = all
		return nil
	})
	if err != nil {
		return fmt.Errorf("remember it: %w", err)
	}
	m.known[x.key()] = x
	return nil
}
