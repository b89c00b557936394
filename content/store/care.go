package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content/store/disk"
)

// A state file has what is remembered of a content beside its bytes: a magic word
// and one record (journal.go), of kind 'S':
//
//	flags     1 byte   1: pinned, 2: damaged and not healed yet
//	used      8 bytes  when it was last used, seconds since 1970
//	scrubbed  8 bytes  when it was last read again as a whole, the same; 0: never
//	cursor    4 bytes  the chunk that the scrub under way reads next
//
// Numbers are little-endian; what follows is for later versions. Without the file
// a content isn't pinned, and was last used when it was added. With a damaged one
// it is pinned: what somebody wants kept is kept, and whoever wonders sees it.
const (
	stateMagic  = "p2pnsta\x01"
	kindState   = 'S'
	stateLength = 1 + 8 + 8 + 4

	statePinned  = 1
	stateDamaged = 2

	// useEvery is how often the time of the last use is written while it changes. A
	// crash loses no more than that of it.
	useEvery = time.Hour

	// readLease is how long a content counts as being read after a block of it was,
	// or was copied to another.
	readLease = 10 * time.Second
)

// care is what is remembered of a content beside its bytes.
type care struct {
	used   atomic.Int64 // last use but for ReadBlock, seconds since 1970
	read   atomic.Int64 // last ReadBlock, the same
	copied atomic.Int64 // last block that Reuse took for another content, the same: no use of this one

	writing sync.Mutex // held to write the state file; before Content.mu

	// Guarded by Content.mu.
	pinned  bool
	damaged bool
	scrub   scrubbed
	// When scrub was last to be written; not before it is at rest again, or for long.
	scrubSaved time.Time
	broken     map[int]uint64 // blocks that were lost since the store was opened, and aren't here again
	unsaved    bool           // what is above is not in the file
	saved      int64          // used, as it is in the file; without one, when it was added
	holds      int            // Hold without its release
}

// scrubbed says how far a content has been read again.
type scrubbed struct {
	at     int64  // when all of it was, seconds since 1970; 0: never
	cursor uint32 // chunk that comes next
}

// A state is what a state file says.
type state struct {
	pinned, damaged bool
	used            int64 // seconds since 1970
	scrub           scrubbed
}

func (s state) encode() []byte {
	payload := make([]byte, 1, stateLength)
	if s.pinned {
		payload[0] |= statePinned
	}
	if s.damaged {
		payload[0] |= stateDamaged
	}
	payload = binary.LittleEndian.AppendUint64(payload, uint64(s.used))
	payload = binary.LittleEndian.AppendUint64(payload, uint64(s.scrub.at))
	payload = binary.LittleEndian.AppendUint32(payload, s.scrub.cursor)
	return appendRecord([]byte(stateMagic), kindState, payload)
}

// errState says that a state file says nothing.
var errState = errors.New("not the state of a content")

// readState reads the state file in a content's folder. The error wraps
// fs.ErrNotExist if there is none, and errState if it is damaged.
func (s *Store) readState(dir string) (read state, err error) {
	f, err := s.disk.Open(filepath.Join(dir, stateName), os.O_RDONLY)
	if err != nil {
		return read, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return read, err
	}
	known := false
	_, err = readJournal(f, info.Size(), stateMagic, func(r record) error {
		if known || r.kind != kindState || len(r.payload) < stateLength {
			return nil
		}
		known = true
		read.pinned = r.payload[0]&statePinned != 0
		read.damaged = r.payload[0]&stateDamaged != 0
		read.used = int64(binary.LittleEndian.Uint64(r.payload[1:]))
		read.scrub.at = int64(binary.LittleEndian.Uint64(r.payload[9:]))
		read.scrub.cursor = binary.LittleEndian.Uint32(r.payload[17:])
		return nil
	})
	if err != nil && !errors.Is(err, errJournal) && !isDamage(err) {
		return read, err
	}
	if !known {
		return read, errors.Join(errState, err)
	}
	return read, nil
}

// loadCare takes what the state file says.
func (c *Content) loadCare() error {
	now := time.Now().Unix()
	c.care.saved = min(now, c.Added().Unix())
	c.care.used.Store(c.care.saved)
	read, err := c.store.readState(c.dir)
	switch {
	case errors.Is(err, errState):
		c.care.pinned = true
		c.store.logger.Error("state of a content lost, it is pinned until it is unpinned",
			zap.Stringer("content", c.id), zap.Error(err))
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	c.care.pinned, c.care.damaged = read.pinned, read.damaged
	// A clock that was set back makes nothing last used in the future.
	c.care.saved = min(now, read.used)
	c.care.used.Store(c.care.saved)
	c.care.scrub.at = min(now, read.scrub.at)
	if int64(read.scrub.cursor) < int64(len(c.manifest.Chunks)) { // else from the start
		c.care.scrub.cursor = read.scrub.cursor
	}
	return nil
}

// saveCare writes the state file.
func (c *Content) saveCare() error {
	c.care.writing.Lock()
	defer c.care.writing.Unlock()
	return c.saveCareLocked()
}

// saveCareLocked is saveCare, with writing held.
func (c *Content) saveCareLocked() error {
	used := c.LastUsed().Unix()
	c.mu.Lock()
	now := state{c.care.pinned, c.care.damaged, used, c.care.scrub}
	c.care.unsaved = false
	c.mu.Unlock()
	err := disk.ReplaceBytes(c.store.disk, c.dir, stateName, now.encode())
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.care.unsaved = true
		return fmt.Errorf("keep state of %v: %w", c.id, ifNoSpace(err))
	}
	c.care.saved = used
	return nil
}

// keepUse writes the state file if the content was used since, and the file says
// nothing that is newer than before. It is a hint for later: failing is no error.
func (c *Content) keepUse(before time.Time) {
	c.mu.Lock()
	saved, unsaved := c.care.saved, c.care.unsaved
	c.mu.Unlock()
	if !unsaved && (saved >= before.Unix() || c.LastUsed().Unix() <= saved) {
		return
	}
	if err := c.saveCare(); err != nil {
		c.store.logger.Warn("last use of a content is not kept", zap.Stringer("content", c.id), zap.Error(err))
	}
}

// Pin says whether the content is to be kept whatever else needs room. It survives
// restarts.
func (c *Content) Pin(pinned bool) error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.busy.Done()
	c.care.writing.Lock() // to the end: who finds it pinned must not be told before it is kept
	defer c.care.writing.Unlock()
	c.mu.Lock()
	was, unsaved := c.care.pinned, c.care.unsaved
	c.care.pinned = pinned
	c.mu.Unlock()
	if was == pinned && !unsaved {
		return c.settle() // it may have been found after a crash
	}
	err := c.saveCareLocked()
	if err != nil {
		c.mu.Lock()
		c.care.pinned = was
		c.mu.Unlock()
	}
	return err
}

// Pinned reports whether the content is pinned.
func (c *Content) Pinned() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.care.pinned
}

// Damaged reports whether blocks of the content went bad on the disk and weren't
// fetched again yet.
func (c *Content) Damaged() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.care.damaged || len(c.lost) > 0
}

// LastUsed returns when the content was last read, exported, published or begun
// here, to the second.
func (c *Content) LastUsed() time.Time {
	return time.Unix(max(c.care.used.Load(), c.care.read.Load()), 0).UTC()
}

// touch notes that the content is used.
func (c *Content) touch() { c.care.used.Store(time.Now().Unix()) }

// Hold keeps the content from being evicted until release is called, which may
// happen more than once: for what reads it, or is going to, for a while.
func (c *Content) Hold() (release func()) {
	c.touch()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.care.holds++
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.care.holds--
	})
}

// beingRead reports whether somebody holds the content, or has just read of it.
func (c *Content) beingRead(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := max(c.care.read.Load(), c.care.copied.Load())
	return c.care.holds > 0 || now.Sub(time.Unix(last, 0)) < readLease
}
