package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/disk"
)

// Limits of the releases kept with a content.
const (
	MaxReleases = 64
	MaxRelease  = 64 << 10 // bytes of an envelope
)

// Releases returns the envelopes kept with the content, the one added last at the
// end. They are shared: nobody may change them.
func (c *Content) Releases() [][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.releases
}

// AddRelease keeps a signed release with the content. What it says, and who
// signed it, is for others to check. One that is kept already is no error; beyond
// MaxReleases the one added first goes.
func (c *Content) AddRelease(envelope []byte) error {
	if len(envelope) == 0 || len(envelope) > MaxRelease {
		return fmt.Errorf("%w: an envelope of %d bytes (want 1 to %d)", content.ErrFormat, len(envelope), MaxRelease)
	}
	if err := c.enter(); err != nil {
		return err
	}
	defer c.busy.Done()
	c.sync.Lock()
	defer c.sync.Unlock()
	kept := c.Releases()
	if slices.ContainsFunc(kept, func(k []byte) bool { return bytes.Equal(k, envelope) }) {
		return c.settle() // it may have been found after a crash
	}
	kept = append(slices.Clone(kept), bytes.Clone(envelope))
	kept = kept[max(0, len(kept)-MaxReleases):]
	if err := disk.ReplaceBytes(c.store.disk, c.dir, releasesName, encodeReleases(kept)); err != nil {
		return fmt.Errorf("keep release of %v: %w", c.id, ifNoSpace(err))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.releases = kept
	return nil
}

// encodeReleases returns a releases file.
func encodeReleases(kept [][]byte) []byte {
	b := []byte(releaseMagic)
	for _, k := range kept {
		b = appendRecord(b, kindRelease, k)
	}
	return b
}

// readReleases reads the releases kept in a content's folder. Damaged ones are
// gone; peers have them.
func (s *Store) readReleases(dir string) (kept [][]byte, err error) {
	f, err := s.disk.Open(filepath.Join(dir, releasesName), os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	_, err = readJournal(f, info.Size(), releaseMagic, func(r record) error {
		if r.kind == kindRelease && len(r.payload) <= MaxRelease && len(kept) < MaxReleases {
			kept = append(kept, bytes.Clone(r.payload))
		}
		return nil
	})
	if errors.Is(err, errJournal) {
		return nil, nil
	}
	return kept, err
}
