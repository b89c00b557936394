package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/disk"
)

// mend is what the disk refused, and Run tries again.
type mend struct {
	mu       sync.Mutex
	contents map[content.ID]past // whose folder couldn't be loaded
	litter   []string            // folders that couldn't be removed
	said     map[content.ID]string
}

// broken notes that a folder has to be loaded again.
func (m *mend) broken(id content.ID, was past) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.contents == nil {
		m.contents = make(map[content.ID]past)
	}
	was.mended = false
	m.contents[id] = was
}

// mended notes that it hasn't, and returns what was known of it.
func (m *mend) mended(id content.ID) past {
	m.mu.Lock()
	defer m.mu.Unlock()
	was := m.contents[id]
	delete(m.contents, id)
	return was
}

// forget notes that a content is gone, and its troubles with it.
func (m *mend) forget(id content.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.said, id)
}

// discardLater notes a folder to be removed once the name it has is on the disk.
func (m *mend) discardLater(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.litter = append(m.litter, name)
}

// discard removes a folder that is nothing any more, sooner or later. It never had
// the name of a content, or that it doesn't any more is on the disk.
func (s *Store) discard(name string) {
	err := s.disk.RemoveAll(name)
	if err == nil {
		return
	}
	s.logger.Warn("folder can't be removed yet", zap.String("name", name), zap.Error(err))
	s.mend.discardLater(name)
}

// tell notes what goes wrong with a content, or that nothing does any more, and
// logs when that changes. Which of many files is met first is no change.
func (s *Store) tell(id content.ID, what string, err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, content.ErrNotFound) {
		return // it was ended, or removed
	}
	s.mend.mu.Lock()
	_, was := s.mend.said[id]
	if err == nil {
		delete(s.mend.said, id)
	} else {
		if s.mend.said == nil {
			s.mend.said = make(map[content.ID]string)
		}
		s.mend.said[id] = err.Error()
	}
	s.mend.mu.Unlock()
	switch {
	case (err != nil) == was:
	case err == nil:
		s.logger.Info("the disk works again", zap.Stringer("content", id))
	default:
		s.logger.Error(what, zap.Stringer("content", id), zap.Error(err))
	}
}

// Trouble returns what the disk refuses at present: the error of each content that
// can't be read or made durable. It is empty once all is well again.
func (s *Store) Trouble() map[content.ID]string {
	s.mend.mu.Lock()
	defer s.mend.mu.Unlock()
	out := make(map[content.ID]string, len(s.mend.said))
	for id, text := range s.mend.said {
		out[id] = text
	}
	return out
}

// mendAll tries again what the disk refused.
func (s *Store) mendAll(ctx context.Context) {
	s.tidyUp()
	s.mend.mu.Lock()
	broken := slices.Collect(maps.Keys(s.mend.contents))
	s.mend.mu.Unlock()
	for _, id := range broken {
		if ctx.Err() != nil {
			return
		}
		s.tell(id, "content can't be read from disk", s.loadAgain(id))
	}
	for _, c := range s.List() {
		if c.failure() != nil && ctx.Err() == nil {
			s.tell(c.id, "content can't be made durable", s.reload(c))
		}
	}
}

// tidyUp removes folders that couldn't be removed.
func (s *Store) tidyUp() {
	s.mend.mu.Lock()
	litter := s.mend.litter
	s.mend.mu.Unlock()
	if len(litter) == 0 || s.disk.SyncFolder(s.root()) != nil {
		return
	}
	s.mend.mu.Lock()
	s.mend.litter = s.mend.litter[len(litter):]
	s.mend.mu.Unlock()
	for _, name := range litter {
		s.discard(name)
	}
}

// loadAgain loads a folder that couldn't be loaded.
func (s *Store) loadAgain(id content.ID) error {
	s.folders.Lock()
	defer s.folders.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	s.mend.mu.Lock()
	was, ok := s.mend.contents[id]
	s.mend.mu.Unlock()
	if !ok {
		return nil // removed, or begun anew
	}
	_, err := s.adopt(id, was)
	return err
}

// reload loads a content anew of which a sync failed: what isn't in its journal is
// hashed, and what is right is written again. While nothing can be written it is
// left as it is, and what is durable goes on being read.
func (s *Store) reload(c *Content) error {
	s.folders.Lock()
	defer s.folders.Unlock()
	if now, ok := s.Get(c.id); !ok || now != c {
		return nil
	}
	if err := s.probe(c.dir); err != nil {
		return fmt.Errorf("%w (now: %w)", c.failure(), ifNoSpace(err))
	}
	was := s.unlist(c, fmt.Errorf("loaded anew since: %w", c.failure()))
	_, err := s.adopt(c.id, was)
	return err
}

// probe finds out whether a folder takes a file.
func (s *Store) probe(dir string) error {
	const name = "probe"
	err := disk.ReplaceBytes(s.disk, dir, name, []byte(name))
	return errors.Join(err, disk.RemoveIfThere(s.disk, filepath.Join(dir, name)))
}

// Ready returns an error while a content can't take what it lacks: its last sync
// failed, it can't be loaded, or the disk refuses what is written or is too full.
// It writes as much as a block to find out, so it is for who waits, now and then.
func (s *Store) Ready(id content.ID) error {
	if err := s.usable(); err != nil {
		return err
	}
	s.mend.mu.Lock()
	_, broken := s.mend.contents[id]
	s.mend.mu.Unlock()
	if broken {
		return fmt.Errorf("content %v can't be read from disk yet: %s", id, s.Trouble()[id])
	}
	if c, ok := s.Get(id); ok {
		if err := c.failure(); err != nil {
			return err
		}
		room, err := c.Reserve()
		if err != nil {
			return err
		}
		room.Release()
	} else if err := s.Room(0); err != nil {
		return err
	}
	dir, err := disk.MakeTemp(s.disk, s.root(), newPrefix)
	if err == nil {
		err = disk.Write(s.disk, dir, "probe", make([]byte, content.MaxBlock))
		s.discard(dir)
	}
	if err != nil {
		return fmt.Errorf("try the disk: %w", ifNoSpace(err))
	}
	return nil
}

// Failed reports whether a sync failed, and nothing is taken before Run has loaded
// the content anew.
func (c *Content) Failed() bool { return c.failure() != nil }
