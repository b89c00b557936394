package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/disk"
)

// A content that is published while it is here in part, or on files of the user's,
// takes the place of what is here. The old folder is put aside under a name that
// says whose it was, the new one gets its name, and once that is on the disk the old
// one goes. So whatever happens one of both is there: a folder that is aside while
// its name is free gets it back, and is else removed.
const asidePrefix = ".aside-"

func (s *Store) aside(id content.ID) string {
	return filepath.Join(s.root(), asidePrefix+id.String())
}

// place makes a folder that is ready, and synced but for its own entries, that of a
// complete content, unless the one that is here is good enough; then it is removed.
// Releases and the pin of the content that makes way are kept.
func (s *Store) place(dir string, id content.ID, enough func(here *Content) bool) (*Content, error) {
	s.folders.Lock()
	defer s.folders.Unlock()
	if err := s.usable(); err != nil {
		return nil, err
	}
	c, ok := s.Get(id)
	if ok && enough(c) {
		s.discard(dir)
		return c, nil
	}
	if err := s.settleAside(id); err != nil {
		return nil, err
	}
	if err := s.checkVersions(s.folder(id)); err != nil {
		return nil, err
	}
	_, err := s.disk.Lstat(s.folder(id))
	if c == nil && errors.Is(err, fs.ErrNotExist) {
		err = s.install(dir, id)
	} else if err == nil || c != nil {
		err = s.replace(dir, id, c)
	}
	if err != nil {
		return nil, err
	}
	made, err := s.adopt(id, past{})
	if err != nil {
		return nil, err
	}
	made.fresh.markAll(time.Now()) // the caller has just read it all
	return made, nil
}

// replace installs a folder in place of the one that is here: that of c, unless that
// is nil since it couldn't be loaded. After an error the old one is loaded anew, or
// Run loads whichever of the two has the name then.
func (s *Store) replace(dir string, id content.ID, c *Content) error {
	was := s.mend.mended(id)
	if c != nil {
		was = s.unlist(c, fmt.Errorf("content %v is published anew: %w", id, content.ErrNotFound))
	}
	aside, err := s.swap(dir, id, c)
	if err != nil {
		_, back := s.adopt(id, was)
		return errors.Join(err, back)
	}
	if err = s.disk.SyncFolder(s.root()); err == nil && aside {
		_, err = s.retire(s.aside(id))
	}
	if err != nil {
		s.mend.broken(id, past{})
	}
	return err
}

// swap gives a folder the name of the one that is here, which is aside then, unless
// somebody removed it.
func (s *Store) swap(dir string, id content.ID, c *Content) (aside bool, err error) {
	if err := s.inherit(dir, id, c); err != nil {
		return false, err
	}
	if err := s.disk.SyncFolder(dir); err != nil {
		return false, err
	}
	switch err := s.disk.Rename(s.folder(id), s.aside(id)); {
	case err == nil:
		aside = true
	case !errors.Is(err, fs.ErrNotExist):
		return false, err
	}
	return aside, s.disk.Rename(dir, s.folder(id))
}

// inherit writes the releases and the pin of a content, c unless it couldn't be
// loaded, into the folder that is to take its place.
func (s *Store) inherit(dir string, id content.ID, c *Content) error {
	var releases [][]byte
	var pinned bool
	if c != nil {
		releases, pinned = c.Releases(), c.Pinned()
	} else {
		var err error
		if releases, err = s.readReleases(s.folder(id)); err != nil && !isDamage(err) {
			return err
		}
		kept, err := s.readState(s.folder(id))
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errState) {
			return err
		}
		pinned = kept.pinned || errors.Is(err, errState)
	}
	var err error
	if len(releases) > 0 {
		err = disk.Write(s.disk, dir, releasesName, encodeReleases(releases))
	}
	if err == nil && pinned {
		err = disk.Write(s.disk, dir, stateName, state{pinned: true, used: time.Now().Unix()}.encode())
	}
	return err
}

// settleAside ends what a crash or a failing disk left of a replacement. It is called
// with folders held, or before anybody knows the store.
func (s *Store) settleAside(id content.ID) error {
	aside := s.aside(id)
	if _, err := s.disk.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	switch _, err := s.disk.Lstat(s.folder(id)); {
	case errors.Is(err, fs.ErrNotExist):
		err := s.disk.Rename(aside, s.folder(id))
		return errors.Join(err, s.disk.SyncFolder(s.root()))
	case err != nil:
		return err
	}
	if err := s.disk.SyncFolder(s.root()); err != nil {
		return err
	}
	_, err := s.retire(aside)
	return err
}

// retire takes its name from a folder, and removes it once that is on the disk: half
// of it must not be found there. It reports whether the name is free.
func (s *Store) retire(name string) (moved bool, err error) {
	old := filepath.Join(s.root(), oldPrefix+rand.Text())
	if err := s.disk.Rename(name, old); err != nil {
		return false, err
	}
	if err := s.disk.SyncFolder(s.root()); err != nil {
		s.mend.discardLater(old)
		return true, err
	}
	s.discard(old)
	return true, nil
}
