package store

import (
	"container/list"
	"sync"

	"github.com/p2pnode/p2pnode/content/store/disk"
)

// The system keeps in memory what is read and written, for as long as it sees fit:
// a node that seeds a large image would push everybody's files out of memory with
// bytes that it reads once. So it keeps book of the parts of files that it touched
// lately, and when they are more than its budget has the system forget the ones
// touched longest ago.
//
// What was written has a budget of its own, larger by pagesWritten: a copy of it is
// most often asked for as soon as it is whole. What isn't on the disk yet can't be
// forgotten; that is done after the sync. Of a part that is touched for the first
// time to be read, the system is asked to read the rest ahead: the next blocks of
// the chunk are wanted at once.
//
// Files of the user's are left alone: they may be in memory for the user's sake.
const (
	// pageUnit is what is counted and forgotten at once: an average chunk.
	pageUnit = 1 << 20

	mostPages    = 256 << 20
	pagesOfAll   = 16 // the default is this part of the memory, if that is less
	pagesWritten = 4

	// lateUnits bounds the parts of a file that wait for its sync.
	lateUnits = 4096
)

// A part is a unit of a file.
type part struct {
	content *Content
	file    int
	unit    int64
}

func (p part) offset() int64 { return p.unit * pageUnit }

// pages keeps book of what the system has in memory.
type pages struct {
	budget [2]int64 // bytes read and written; 0: no book is kept

	mu    sync.Mutex
	parts map[part]*list.Element // of touched
	order [2]list.List           // read and written, the one touched last in front
	size  [2]int64
	late  map[slot][]int64 // units to be forgotten after the sync
}

// touched is a part in the book.
type touched struct {
	part
	size int64
	kind int
}

const (
	wasRead = iota
	wasWritten
)

func newPages(budget int64) *pages {
	p := &pages{parts: make(map[part]*list.Element), late: make(map[slot][]int64)}
	if budget != NoLimit {
		p.budget = [2]int64{budget, budget * pagesWritten}
	}
	return p
}

// touch notes that size bytes of a file from offset on were read, or written. It
// reports whether one of its parts is new in the book, and returns those that make
// way.
func (p *pages) touch(c *Content, file int, length, offset, size int64, kind int) (fresh bool, gone []part) {
	if p.budget[kind] == 0 {
		return false, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for unit := offset / pageUnit; unit*pageUnit < offset+size; unit++ {
		key := part{c, file, unit}
		if e, ok := p.parts[key]; ok {
			p.order[e.Value.(*touched).kind].MoveToFront(e)
			continue
		}
		fresh = true
		t := &touched{key, min(pageUnit, length-unit*pageUnit), kind}
		p.parts[key] = p.order[kind].PushFront(t)
		p.size[kind] += t.size
	}
	for p.size[kind] > p.budget[kind] && p.order[kind].Len() > 1 {
		t := p.drop(p.order[kind].Back())
		gone = append(gone, t.part)
		if kind == wasWritten {
			s := slot{t.content, t.file, true}
			if late := p.late[s]; len(late) < lateUnits {
				p.late[s] = append(late, t.unit)
			}
		}
	}
	return fresh, gone
}

func (p *pages) drop(e *list.Element) *touched {
	t := e.Value.(*touched)
	p.order[t.kind].Remove(e)
	p.size[t.kind] -= t.size
	delete(p.parts, t.part)
	return t
}

// synced returns what of a file waited for its sync to be forgotten.
func (p *pages) synced(s slot) []int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	late := p.late[s]
	delete(p.late, s)
	return late
}

// forget takes a content out of the book.
func (p *pages) forget(c *Content) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, e := range p.parts {
		if key.content == c {
			p.drop(e)
		}
	}
	for s := range p.late {
		if s.content == c {
			delete(p.late, s)
		}
	}
}

// used keeps book of a range that was read or written through h, and does what
// follows from that.
func (c *Content) used(h *handle, file int, offset, size int64, kind int) {
	if h.slot.file != file { // the user's
		return
	}
	fresh, gone := c.store.pages.touch(c, file, c.manifest.Files[file].Size, offset, size, kind)
	if fresh && kind == wasRead {
		if f := disk.Unwrap(h.File); f != nil {
			end := (offset+size+pageUnit-1)/pageUnit*pageUnit - offset
			disk.Prefetch(f, offset, min(end, c.manifest.Files[file].Size-offset))
		}
	}
	for _, p := range gone {
		p.content.forgetPart(p)
	}
}

// forgetPart has the system forget a part of a file, which may not be open.
func (c *Content) forgetPart(p part) {
	if c.enter() != nil {
		return
	}
	defer c.busy.Done()
	h, err := c.pin(p.file, false)
	if err != nil {
		return
	}
	defer c.store.files.unpin(h)
	if f := disk.Unwrap(h.File); f != nil && h.slot.file == p.file {
		disk.Forget(f, p.offset(), pageUnit)
	}
}

// forgetLate has the system forget what of a file could not be before it was
// synced.
func (c *Content) forgetLate(h *handle) {
	f := disk.Unwrap(h.File)
	for _, unit := range c.store.pages.synced(h.slot) {
		if f != nil {
			disk.Forget(f, unit*pageUnit, pageUnit)
		}
	}
}
