package disktest

import (
	"io"
	"io/fs"
	"math/bits"
	"os"
	"slices"
	"syscall"
	"time"
)

// Sizes of what a disk writes as a whole, and of what a file is kept in memory by.
const (
	sector = 512
	page   = 4096
)

// file is a node's bytes.
type file struct {
	data     []byte   // as they are read
	borrowed bool     // data is base, and copied before it is written to
	base     []byte   // as a crash leaves them if no effect survives; never written to
	effects  []effect // since base, the oldest first; never changed, but appended to
	pages    []uint64 // a bit per page that takes room
	open     int      // handles
}

// An effect is what a write did, or a change of the size.
type effect struct {
	seq   int
	at    int64  // of data; of a change of the size, the new one
	data  []byte // nil for a change of the size
	state state
}

// A state says how likely an effect survives a crash.
type state uint8

const (
	fresh  state = iota // perhaps: synced by the next Sync
	doubt               // perhaps: a Sync failed, and no other will see to it
	synced              // surely; in the list for what is in doubt below it
)

// apply does an effect to bytes.
func (e effect) apply(data []byte) []byte {
	if e.data == nil {
		return resize(data, e.at)
	}
	data = resize(data, max(int64(len(data)), e.at+int64(len(e.data))))
	copy(data[e.at:], e.data)
	return data
}

// resize cuts data, or fills up with zeros.
func resize(data []byte, size int64) []byte {
	if n := int64(len(data)); size > n {
		data = slices.Grow(data, int(size-n))[:size]
		clear(data[n:])
	}
	return data[:size]
}

func (f *FS) affect(n *node, e effect) {
	f.seq++
	e.seq = f.seq
	n.effects = append(n.effects, e)
	if n.borrowed {
		n.data, n.borrowed = slices.Clone(n.data), false
	}
	n.data = e.apply(n.data)
	n.modTime = time.Now()
}

func (f *FS) write(n *node, at int64, data []byte) {
	if len(data) == 0 {
		return
	}
	f.affect(n, effect{at: at, data: slices.Clone(data)})
	for p := at / page; p*page < at+int64(len(data)); p++ {
		for int(p/64) >= len(n.pages) {
			n.pages = append(n.pages, 0)
		}
		n.pages[p/64] |= 1 << (p % 64)
	}
}

func (f *FS) truncate(n *node, size int64) {
	f.affect(n, effect{at: size})
	for p := (size + page - 1) / page; int(p/64) < len(n.pages); p++ {
		n.pages[p/64] &^= 1 << (p % 64)
	}
}

func (n *node) allocated() (size int64) {
	for _, p := range n.pages {
		size += page * int64(bits.OnesCount64(p))
	}
	return size
}

// room returns how many of size bytes at an offset fit on a disk with so much
// free.
func (n *node) room(at, size, free int64) int64 {
	for p := at / page; p*page < at+size; p++ {
		if int(p/64) < len(n.pages) && n.pages[p/64]>>(p%64)&1 != 0 {
			continue
		}
		if free -= page; free < 0 {
			return max(0, p*page-at)
		}
	}
	return size
}

// sync makes what is fresh durable.
func (n *node) sync() {
	if !slices.ContainsFunc(n.effects, func(e effect) bool { return e.state == doubt }) {
		n.base, n.effects = slices.Clone(n.data), nil
		return
	}
	n.effects = slices.Clone(n.effects)
	for i := range n.effects {
		if n.effects[i].state == fresh {
			n.effects[i].state = synced
		}
	}
}

// unsynced is what a Sync that fails leaves.
func (n *node) unsynced(drop func(n int) bool) {
	var left []effect
	for _, e := range n.effects {
		if e.state == fresh {
			if drop != nil && drop(len(n.effects)) {
				continue
			}
			e.state = doubt
		}
		left = append(left, e)
	}
	n.effects = left
	if drop == nil {
		return
	}
	n.data = slices.Clone(n.base)
	for _, e := range left {
		n.data = e.apply(n.data)
	}
}

// A handle is an open file.
type handle struct {
	fs     *FS
	node   *node
	name   string
	boot   int
	access int
	at     int64
	closed bool
}

func (h *handle) Name() string { return h.name }

// begin begins an operation on the file. It is called with mu held.
func (h *handle) begin(op Op) error {
	op.Name = h.name
	switch {
	case h.closed || h.boot != h.fs.boots:
		return fs.ErrClosed
	case h.access == os.O_RDONLY && (op.Kind == Write || op.Kind == Truncate), h.access == os.O_WRONLY && op.Kind == Read:
		return syscall.EBADF
	}
	return h.fs.begin(op)
}

func (h *handle) ReadAt(b []byte, at int64) (n int, err error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	return h.readAt(b, at)
}

func (h *handle) readAt(b []byte, at int64) (n int, err error) {
	if err := h.begin(Op{Kind: Read, At: at, Size: len(b)}); err != nil {
		return 0, fail("read", h.name, err)
	}
	if at < int64(len(h.node.data)) {
		n = copy(b, h.node.data[at:])
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (h *handle) Read(b []byte) (n int, err error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if len(b) == 0 {
		return 0, nil
	}
	n, err = h.readAt(b, h.at)
	h.at += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

func (h *handle) WriteAt(b []byte, at int64) (n int, err error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	return h.writeAt(b, at)
}

func (h *handle) writeAt(b []byte, at int64) (n int, err error) {
	n, err = len(b), h.begin(Op{Kind: Write, At: at, Size: len(b)})
	if err != nil {
		n = 0
		if s, ok := err.(*Short); ok {
			n, err = min(s.Bytes, len(b)), s.Err
		}
	} else if f := h.fs; f.capacity > 0 {
		if n = int(h.node.room(at, int64(len(b)), f.free())); n < len(b) {
			err = syscall.ENOSPC
		}
	}
	h.fs.write(h.node, at, b[:n])
	if err != nil {
		return n, fail("write", h.name, err)
	}
	return n, nil
}

func (h *handle) Write(b []byte) (n int, err error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	n, err = h.writeAt(b, h.at)
	h.at += int64(n)
	return n, err
}

func (h *handle) Truncate(size int64) error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.begin(Op{Kind: Truncate, At: size}); err != nil {
		return fail("truncate", h.name, err)
	}
	h.fs.truncate(h.node, size)
	return nil
}

func (h *handle) Sync() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.begin(Op{Kind: Sync}); err != nil {
		if err != fs.ErrClosed {
			h.node.unsynced(h.fs.drop)
		}
		return fail("sync", h.name, err)
	}
	h.node.sync()
	if h.fs.semantics == Windows {
		h.fs.settle(nil)
	}
	return nil
}

func (h *handle) Stat() (fs.FileInfo, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.begin(Op{Kind: Stat}); err != nil {
		return nil, fail("stat", h.name, err)
	}
	return h.node.info(h.name), nil
}

func (h *handle) Close() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	err := h.begin(Op{Kind: Close})
	if err != fs.ErrClosed {
		h.closed = true
		h.node.open--
	}
	if err != nil {
		return fail("close", h.name, err)
	}
	return nil
}
