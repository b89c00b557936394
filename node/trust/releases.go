package trust

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/p2pnode/p2pnode/content"
)

// Limits of the memory of releases.
const (
	maxNames      = 4096 // names whose sequence is remembered
	maxNameLength = 128
)

const releasesFile = "releases"

// seen is the newest release of a name that was taken.
type seen struct {
	_        struct{} `cbor:",toarray"`
	Name     string
	Sequence uint64
	Content  content.Hash
}

// sequences remembers the newest release of each name, on disk before it is used,
// so that no one can give this node an older one again.
type sequences struct {
	dir folder

	mu    sync.Mutex
	names map[string]seen
}

func (s *sequences) load() error {
	var all []seen
	if err := s.dir.readSealed(releasesFile, &all); err != nil {
		return err
	}
	s.names = make(map[string]seen, len(all))
	for _, r := range all {
		s.names[r.Name] = r
	}
	return nil
}

// Seen returns the newest release of name that was accepted; false if none was.
func (id *Identity) Seen(name string) (sequence uint64, c content.ID, ok bool) {
	id.releases.mu.Lock()
	defer id.releases.mu.Unlock()
	r, ok := id.releases.names[name]
	return r.Sequence, content.ID(r.Content), ok
}

// Accept remembers a release whose envelope was verified. It fails with
// ErrRollback if a newer one was accepted before, and with ErrEquivocation if
// another content was accepted with the same number. Accepting the same again is
// fine. Once it returns nil, the release is on disk and may be used.
func (id *Identity) Accept(name string, sequence uint64, c content.ID) error {
	return id.releases.accept(seen{Name: name, Sequence: sequence, Content: content.Hash(c)})
}

func (s *sequences) accept(r seen) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, known := s.names[r.Name]
	switch {
	case len(r.Name) == 0 || len(r.Name) > maxNameLength:
		return fmt.Errorf("release name of %d bytes, want 1 to %d", len(r.Name), maxNameLength)
	case known && r.Sequence < old.Sequence:
		return fmt.Errorf("release %d of %s: %w (%d)", r.Sequence, r.Name, ErrRollback, old.Sequence)
	case known && r.Sequence == old.Sequence && r.Content != old.Content:
		return fmt.Errorf("release %d of %s: %w", r.Sequence, r.Name, ErrEquivocation)
	case known && r.Sequence == old.Sequence:
		return nil
	case !known && len(s.names) >= maxNames:
		return fmt.Errorf("release %s: names of more than %d releases to remember", r.Name, maxNames)
	}
	names := maps.Clone(s.names)
	names[r.Name] = r
	all := slices.SortedFunc(maps.Values(names), func(a, b seen) int { return strings.Compare(a.Name, b.Name) })
	if err := s.dir.writeSealed(releasesFile, all); err != nil {
		return fmt.Errorf("remember release %d of %s: %w", r.Sequence, r.Name, err)
	}
	s.names = names
	return nil
}
