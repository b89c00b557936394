package store

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"
)

// Dir returns the store's folder.
func (s *Store) Dir() string { return s.cfg.Dir }

// Free returns how many bytes of the store's disk are free to this process.
func (s *Store) Free() (int64, error) {
	free, _, err := s.cfg.Space(s.cfg.Dir)
	if err != nil {
		return 0, fmt.Errorf("ask for free space of %s: %w", s.cfg.Dir, err)
	}
	return int64(free), nil
}

// Stats counts what became of contents since the store was opened.
type Stats struct {
	Evicted, EvictedBytes atomic.Int64 // contents that made room
	Damaged, Healed       atomic.Int64 // blocks that went bad on the disk, and those brought again
	Scrubbed              atomic.Int64 // bytes read again by the scrub
}

// Stats returns the store's counts, which go on.
func (s *Store) Stats() *Stats { return &s.stats }

// Added returns when the content was begun or published here; the zero time if
// that can't be told.
func (c *Content) Added() time.Time {
	info, err := c.store.disk.Lstat(filepath.Join(c.dir, rootName))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime().UTC()
}
