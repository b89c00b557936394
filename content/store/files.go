package store

import (
	"container/list"
	"sync"

	"github.com/p2pnode/p2pnode/content/store/disk"
)

// Limits of open files. A content may have a million files, and a process a
// thousand descriptors (Go raises the soft limit to the hard one, often 4,096).
const (
	maxIdle = 128 // kept open in case they are used again

	// A written file stays open until it is synced: if its pages can't be
	// written, only those who had it open are sure to be told. Beyond this,
	// whoever writes to one more syncs first.
	maxDirty = 512
)

// Files of a content's folder beside those of its manifest.
const (
	journalFile = -1
	listsFile   = -2
)

// A slot names a file that can be open.
type slot struct {
	content *Content
	file    int  // index in the manifest, or journalFile or listsFile
	write   bool // open for writing too: so are all files of a partial content
}

// A handle is an open file. It is not closed while pinned or dirty.
type handle struct {
	disk.File
	slot  slot
	pins  int
	dirty bool          // written since it was last taken to be synced
	past  bool          // the slot isn't its any more: it is closed once it is neither
	idle  *list.Element // nil while pinned or dirty

	// writing is held to write. The kernel lets one write into a file at a time
	// anyway, and has the others spin for their turn: 16 % of a get's CPU.
	writing sync.Mutex
}

// write puts data at an offset of the file.
func (h *handle) write(data []byte, offset int64) error {
	h.writing.Lock()
	defer h.writing.Unlock()
	_, err := h.WriteAt(data, offset)
	return err
}

// fileTable has the files that are open.
type fileTable struct {
	mu    sync.Mutex
	open  map[slot]*handle
	idle  list.List // of *handle, the one used last in front
	dirty map[*Content]map[*handle]struct{}
	dirt  int // handles in dirty, and those taken from it until they are synced
}

func newFileTable() *fileTable {
	return &fileTable{open: make(map[slot]*handle), dirty: make(map[*Content]map[*handle]struct{})}
}

// pin returns the file of a slot if it is open, and else nil. The caller unpins
// it.
func (t *fileTable) pin(s slot) *handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	h, ok := t.open[s]
	if !ok {
		return nil
	}
	t.hold(h)
	return h
}

// add makes f the file of a slot, unless another got there first; then f is
// closed. It returns the file of the slot, pinned.
func (t *fileTable) add(s slot, f disk.File) *handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	h, ok := t.open[s]
	if ok {
		f.Close() // nothing was written to it
	} else {
		h = &handle{File: f, slot: s}
		t.open[s] = h
	}
	t.hold(h)
	return h
}

func (t *fileTable) hold(h *handle) {
	h.pins++
	if h.idle != nil {
		t.idle.Remove(h.idle)
		h.idle = nil
	}
}

func (t *fileTable) unpin(h *handle) {
	t.mu.Lock()
	h.pins--
	last := t.rest(h)
	t.mu.Unlock()
	if last != nil {
		last.Close()
	}
}

// rest lets a handle that is neither pinned nor dirty idle, and returns the one
// to be closed for it.
func (t *fileTable) rest(h *handle) (last *handle) {
	if h.pins > 0 || h.dirty || h.idle != nil {
		return nil
	}
	if h.past {
		return h
	}
	h.idle = t.idle.PushFront(h)
	if t.idle.Len() <= maxIdle {
		return nil
	}
	last = t.idle.Remove(t.idle.Back()).(*handle)
	last.idle = nil
	delete(t.open, last.slot)
	return last
}

// wrote notes that a pinned handle was written to.
func (t *fileTable) wrote(h *handle) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h.dirty {
		return
	}
	h.dirty = true
	of := t.dirty[h.slot.content]
	if of == nil {
		of = make(map[*handle]struct{})
		t.dirty[h.slot.content] = of
	}
	of[h] = struct{}{}
	t.dirt++
}

// crowded reports whether enough files wait to be synced.
func (t *fileTable) crowded() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.dirt >= maxDirty
}

// takeDirty returns the dirty handles of c, pinned, and calls them clean: what is
// written to them from now on is not the caller's, who syncs them and says so.
func (t *fileTable) takeDirty(c *Content) []*handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	of := t.dirty[c]
	delete(t.dirty, c)
	taken := make([]*handle, 0, len(of))
	for h := range of {
		h.dirty = false
		h.pins++
		taken = append(taken, h)
	}
	return taken
}

// synced ends what takeDirty began for a handle.
func (t *fileTable) synced(h *handle) {
	t.mu.Lock()
	t.dirt--
	t.mu.Unlock()
	t.unpin(h)
}

// close closes the file of a slot, which nobody has pinned.
func (t *fileTable) close(s slot) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	h, ok := t.open[s]
	if !ok {
		return nil
	}
	return t.forget(h)
}

// reopen has whoever is next find what is under the names of c's files now. What is
// in use is closed when it isn't any more.
func (t *fileTable) reopen(c *Content) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s, h := range t.open {
		switch {
		case s.content != c:
		case h.idle != nil:
			t.forget(h)
		case s.file != journalFile && s.file != listsFile:
			t.detach(h)
		}
	}
}

// unpinLast is unpin, and no one else is given the handle.
func (t *fileTable) unpinLast(h *handle) {
	t.mu.Lock()
	t.detach(h)
	t.mu.Unlock()
	t.unpin(h)
}

// detach takes its slot from a handle that is in use.
func (t *fileTable) detach(h *handle) {
	h.past = true
	if t.open[h.slot] == h {
		delete(t.open, h.slot)
	}
}

// drop closes all files of c, of which nobody has any pinned.
func (t *fileTable) drop(c *Content) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for h := range t.dirty[c] { // even those that lost their slot
		t.forget(h) // of no interest any more
	}
	for s, h := range t.open {
		if s.content == c {
			t.forget(h)
		}
	}
}

func (t *fileTable) forget(h *handle) error {
	if t.open[h.slot] == h {
		delete(t.open, h.slot)
	}
	if h.idle != nil {
		t.idle.Remove(h.idle)
	}
	if h.dirty {
		delete(t.dirty[h.slot.content], h)
		t.dirt--
	}
	if len(t.dirty[h.slot.content]) == 0 {
		delete(t.dirty, h.slot.content)
	}
	return h.Close()
}
