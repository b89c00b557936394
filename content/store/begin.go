package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/disk"
)

// Prefixes of folders that are being made and removed.
const (
	newPrefix = ".new-"
	oldPrefix = ".old-"
)

// Begin returns the content with this manifest: the one that is here, or a new
// one that has nothing yet. It keeps no room for what is to come: see Receive. The
// error wraps content.ErrNoSpace if the disk's floor is reached already; then
// nothing was written.
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
		c.touch()
		return c, nil
	}
	if err := s.Room(0); err != nil {
		return nil, err
	}
	if err := s.settleAside(enc.ID); err != nil {
		return nil, err
	}
	if err := s.begin(enc, m); err != nil {
		return nil, err
	}
	was := s.mend.mended(enc.ID)
	was.mended = true
	return s.adopt(enc.ID, was)
}

// begin makes the folder of a new content, or repairs that of one that couldn't
// be loaded.
func (s *Store) begin(enc content.Encoded, m *content.Manifest) error {
	if _, err := s.disk.Lstat(s.folder(enc.ID)); err == nil {
		return s.repair(s.folder(enc.ID), enc)
	}
	dir, err := disk.MakeTemp(s.disk, s.root(), newPrefix)
	if err != nil {
		return err
	}
	err = errors.Join(s.writeEncoded(dir, enc), s.disk.Mkdir(filepath.Join(dir, filesName)))
	if err == nil {
		if len(m.Chunks) == 0 {
			err = s.writeAllLists(dir, nil) // complete as it is
		} else {
			err = disk.Write(s.disk, dir, journalName, []byte(journalMagic))
		}
	}
	if err == nil {
		err = s.install(dir, enc.ID)
	}
	if err != nil {
		s.discard(dir)
	}
	return err
}

// install makes a folder that is ready, and synced but for its own entries, that
// of a content. After an error it is nothing any more.
func (s *Store) install(dir string, id content.ID) error {
	if err := s.disk.SyncFolder(dir); err != nil {
		return err
	}
	if err := s.disk.Rename(dir, s.folder(id)); err != nil {
		return err
	}
	err := s.disk.SyncFolder(s.root())
	if err != nil {
		old := filepath.Join(s.root(), oldPrefix+rand.Text())
		err = errors.Join(err, s.disk.Rename(s.folder(id), old))
		s.mend.discardLater(old)
	}
	return err
}

// adopt loads the folder of a content. If it can't be loaded now, Run tries again, unless it is
// damaged or not ours.
func (s *Store) adopt(id content.ID, was past) (*Content, error) {
	var c *Content
	err := s.settleAside(id)
	if err == nil {
		c, err = s.load(id, was)
	}
	if errors.Is(err, content.ErrCorrupt) || errors.Is(err, content.ErrFormat) || errors.Is(err, ErrNewer) || errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		s.mend.broken(id, was)
		return nil, err
	}
	s.mend.mended(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.contents[id] = c
	s.blocks.wakeUp()
	return c, nil
}

// writeEncoded writes a manifest into a new folder.
func (s *Store) writeEncoded(dir string, enc content.Encoded) error {
	if err := disk.Write(s.disk, dir, rootName, enc.Root); err != nil {
		return err
	}
	if len(enc.Segments) == 0 {
		return nil
	}
	segments := filepath.Join(dir, segmentsName)
	if err := s.disk.Mkdir(segments); err != nil {
		return err
	}
	for i, b := range enc.Segments {
		if err := disk.Write(s.disk, segments, strconv.Itoa(i), b); err != nil {
			return err
		}
	}
	return s.disk.SyncFolder(segments)
}

// repair writes a manifest into the folder of a content whose own was damaged.
// What else is there is looked at when it is loaded.
func (s *Store) repair(dir string, enc content.Encoded) error {
	if err := s.checkVersions(dir); err != nil {
		return err
	}
	// It may have been made just before a crash.
	if err := s.disk.SyncFolder(s.root()); err != nil {
		return err
	}
	for i, b := range append([][]byte{enc.Root}, enc.Segments...) {
		folder, name := dir, rootName
		if i > 0 {
			folder, name = filepath.Join(dir, segmentsName), strconv.Itoa(i-1)
			if err := disk.MakeFolder(s.disk, folder); err != nil {
				return err
			}
		}
		if err := disk.ReplaceBytes(s.disk, folder, name, b); err != nil {
			return err
		}
	}
	return nil
}

// checkVersions returns ErrNewer if a content's folder has a file of a later
// version than ours.
func (s *Store) checkVersions(dir string) error {
	for name, magic := range map[string]string{
		journalName: journalMagic, listsName: listsMagic, releasesName: releaseMagic, stateName: stateMagic,
		referencesName: referencesMagic,
	} {
		f, err := s.disk.Open(filepath.Join(dir, name), os.O_RDONLY)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		head := make([]byte, magicSize)
		n, err := f.ReadAt(head, 0)
		f.Close()
		if isNewer(head[:n], magic) {
			return fmt.Errorf("%s: %w", filepath.Join(dir, name), ErrNewer)
		}
		if err != nil && !isDamage(err) {
			return err
		}
	}
	return nil
}
