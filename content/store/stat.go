package store

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Free returns how many bytes of the store's disk are free to this process.
func (s *Store) Free() (int64, error) {
	free, _, err := s.cfg.Space(s.cfg.Dir)
	if err != nil {
		return 0, fmt.Errorf("ask for free space of %s: %w", s.cfg.Dir, err)
	}
	return int64(free), nil
}

// Added returns when the content was begun or published here; the zero time if
// that can't be told.
func (c *Content) Added() time.Time {
	info, err := os.Stat(filepath.Join(c.dir, rootName))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime().UTC()
}
