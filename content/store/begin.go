package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/dustin/go-humanize"
	"github.com/shirou/gopsutil/v4/disk"

	"github.com/p2pnode/p2pnode/content"
)

// Prefixes of folders that are being made and removed.
const (
	newPrefix = ".new-"
	oldPrefix = ".old-"
)

// Begin returns the content with this manifest: the one that is here, or a new
// one that has nothing yet. The error wraps content.ErrNoSpace if what is missing
// doesn't fit; then nothing was written.
func (s *Store) Begin(enc content.Encoded) (_ *Content, err error) {
	m, err := content.Decode(enc.ID, enc.Root, enc.Segments)
	if err != nil {
		return nil, fmt.Errorf("begin content: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("begin content %v: %w", enc.ID, ifNoSpace(err))
		}
	}()
	s.folders.Lock()
	defer s.folders.Unlock()
	if err := s.usable(); err != nil {
		return nil, err
	}
	if c, ok := s.Get(enc.ID); ok {
		if c.Complete() {
			return c, nil
		}
		if err := s.Room(0); err != nil {
			return nil, err
		}
		return c, nil
	}
	if err := s.Room(m.Size()); err != nil {
		return nil, err
	}
	if err := s.begin(enc, m); err != nil {
		return nil, err
	}
	return s.adopt(enc.ID)
}

// begin makes the folder of a new content, or repairs that of one that couldn't
// be loaded.
func (s *Store) begin(enc content.Encoded, m *content.Manifest) error {
	if _, err := os.Lstat(s.folder(enc.ID)); err == nil {
		return repair(s.folder(enc.ID), enc)
	}
	dir, err := os.MkdirTemp(s.root(), newPrefix)
	if err != nil {
		return err
	}
	err = errors.Join(writeEncoded(dir, enc), os.Mkdir(filepath.Join(dir, filesName), folderMode))
	if err == nil {
		if len(m.Chunks) == 0 {
			err = writeAllLists(dir, nil) // complete as it is
		} else {
			err = write(dir, journalName, []byte(journalMagic))
		}
	}
	if err == nil {
		err = s.install(dir, enc.ID)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	return nil
}

// install makes a folder that is ready, and synced but for its own entries, that
// of a content.
func (s *Store) install(dir string, id content.ID) error {
	if err := syncFolder(dir); err != nil {
		return err
	}
	if err := rename(dir, s.folder(id)); err != nil {
		return err
	}
	return syncFolder(s.root())
}

// adopt loads a folder that was just made.
func (s *Store) adopt(id content.ID) (*Content, error) {
	c, err := s.load(id)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.contents[id] = c
	return c, nil
}

// writeEncoded writes a manifest into a new folder.
func writeEncoded(dir string, enc content.Encoded) error {
	if err := write(dir, rootName, enc.Root); err != nil {
		return err
	}
	if len(enc.Segments) == 0 {
		return nil
	}
	segments := filepath.Join(dir, segmentsName)
	if err := os.Mkdir(segments, folderMode); err != nil {
		return err
	}
	for i, b := range enc.Segments {
		if err := write(segments, strconv.Itoa(i), b); err != nil {
			return err
		}
	}
	return syncFolder(segments)
}

// repair writes a manifest into the folder of a content whose own was damaged.
// What else is there is looked at when it is loaded.
func repair(dir string, enc content.Encoded) error {
	for i, b := range append([][]byte{enc.Root}, enc.Segments...) {
		folder, name := dir, rootName
		if i > 0 {
			folder, name = filepath.Join(dir, segmentsName), strconv.Itoa(i-1)
			if err := makeFolder(folder); err != nil {
				return err
			}
		}
		err := replace(folder, name, func(w io.Writer) error {
			_, err := w.Write(b)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// missing returns how many bytes are yet to come.
func (c *Content) missing() int64 { return c.size - c.Progress() }

// Room returns an error that wraps content.ErrNoSpace if size bytes more, beside
// what the contents under way still need, leave less than the floor.
func (s *Store) Room(size int64) error {
	for _, c := range s.List() {
		size += c.missing()
	}
	free, total, err := s.cfg.Space(s.cfg.Dir)
	if err != nil {
		return fmt.Errorf("find out how much space is free: %w", err)
	}
	floor := s.floor(total)
	if free >= floor && uint64(size) <= free-floor {
		return nil
	}
	return fmt.Errorf("%w: %s needed at %s, %s free, of which %s are kept free: free some, or remove contents (p2pnode content rm ID), and try again",
		content.ErrNoSpace, humanize.IBytes(uint64(size)), s.cfg.Dir, humanize.IBytes(free), humanize.IBytes(floor))
}

func (s *Store) floor(total uint64) uint64 {
	const most = 5 << 30
	switch s.cfg.Floor {
	case NoFloor:
		return 0
	case 0:
		return min(total/10, most)
	}
	return uint64(s.cfg.Floor)
}

func diskSpace(dir string) (free, total uint64, err error) {
	u, err := disk.Usage(dir)
	if err != nil {
		return 0, 0, err
	}
	return u.Free, u.Total, nil
}
