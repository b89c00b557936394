package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/disk"
)

// Names in a content's folder.
const (
	rootName     = "root"
	segmentsName = "segments"
	filesName    = "files"
	journalName  = "journal"
	listsName    = "blocks"
	releasesName = "releases"
	stateName    = "state"
)

// A Content is what the store holds of one content: some of its blocks, or all.
// Its methods may be called by many at once. Once it was removed they fail with
// content.ErrNotFound, and once the store was closed with fs.ErrClosed. After a
// failed sync nothing is taken any more, until the store has loaded the content
// anew (Run): then they fail with that, and Store.Get returns another.
type Content struct {
	store    *Store
	id       content.ID
	dir      string
	manifest *content.Manifest
	layout   *content.Layout
	size     int64 // of all files
	cost     int64 // what they take of the disk

	// Lock order: owning, sync, log, making, mu; then those of the store's tables.

	sync sync.Mutex // held by who makes things durable or changes what is on disk for it

	// Held to append to the journal or to put another file in its place; held for
	// reading to read a list, and to count a block.
	log     sync.RWMutex
	logSize int64 // bytes of the journal that count; the next record goes there

	// Held while a file is made, until its folders are noted in partial, so that
	// nobody syncs what is written to it without them.
	making sync.Mutex

	mu        sync.Mutex
	end       error          // why nothing can be done with it any more
	failed    error          // the sync that went wrong: nothing is written any more
	partial   *partial       // nil once complete on disk
	lost      map[int]uint64 // blocks that count no more, until partial says so
	doubts    int            // how often blocks came to be lost
	unsettled bool           // the folder's entries may not be on the disk
	renamed   int            // how often the journal was replaced, so that nobody settles what came later
	crashed   bool           // nor those of files, since it was not closed
	changed   chan struct{}  // nil until somebody waits; so is grown
	grown     chan struct{}
	releases  [][]byte

	inPlace    bool               // it stands on files of the user's, or did; never changes
	owning     sync.Mutex         // held by who makes a file of the content's own; before sync
	references map[int]*reference // by file of the manifest: the user's that stands for it

	busy sync.WaitGroup // of calls that use the folder; added to under mu while end is nil

	care  care
	fresh freshness
}

// partial is what a content has to remember until it is complete.
type partial struct {
	verified []uint64    // per chunk, a bit per block
	lists    []listPlace // per chunk
	have     *roaring.Bitmap
	bytes    int64 // verified

	// Not noted in the journal yet: blocks, bytes of them, and folders with new
	// entries. A block's file was marked as written to before it stands here.
	pending map[int]uint64
	written int64
	folders map[string]struct{}

	// The journal or the lists were damaged. There may be blocks that it no longer
	// knows of, so a list that comes in is held against what is there.
	unsure bool
}

// A listPlace says where in the journal a chunk's list is.
type listPlace struct {
	at     int64
	length uint32
	count  uint8 // blocks; 0 if the list is not known
}

func newPartial(chunks int) *partial {
	return &partial{
		verified: make([]uint64, chunks),
		lists:    make([]listPlace, chunks),
		have:     roaring.New(),
		pending:  make(map[int]uint64),
		folders:  make(map[string]struct{}),
	}
}

// hold counts blocks of a chunk that had none before.
func (p *partial) hold(chunk int, mask uint64, blocks []content.Block) {
	p.verified[chunk] = mask
	for i, b := range blocks {
		if mask&(1<<i) != 0 {
			p.bytes += int64(b.Size)
		}
	}
	if mask == all(len(blocks)) {
		p.have.Add(uint32(chunk))
	}
}

// all is the mask of a chunk with n blocks, 1 to 64, when it has them.
func all(n int) uint64 { return ^uint64(0) >> (content.MaxBlocks - n) }

// ID returns the content's id.
func (c *Content) ID() content.ID { return c.id }

// Manifest returns the manifest. It is shared: nobody may change it.
func (c *Content) Manifest() *content.Manifest { return c.manifest }

// Layout returns where the content's bytes lie in its files.
func (c *Content) Layout() *content.Layout { return c.layout }

// Encoded returns the manifest as it is carried. It is made anew each time, a
// millisecond for 10 GB, rather than held in memory beside the manifest.
func (c *Content) Encoded() content.Encoded {
	enc, err := c.manifest.Encode()
	if err != nil || enc.ID != c.id {
		panic(fmt.Sprintf("content %v was decoded and can't be encoded: %v", c.id, err)) // Decode takes what Encode writes
	}
	return enc
}

// enter begins a call that uses the folder; it ends with busy.Done.
func (c *Content) enter() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.end != nil {
		return c.end
	}
	c.busy.Add(1)
	return nil
}

// ended returns why nothing can be done with the content any more, if so. Long
// calls ask now and then.
func (c *Content) ended() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.end
}

// Err returns why the content can't be used any more: it was removed, or is loaded
// anew after a sync that failed. It returns nil while it can.
func (c *Content) Err() error { return c.ended() }

// fail ends all writing, after a sync failed: what is in the journal counts still,
// and what isn't, pending among it, no more.
func (c *Content) fail(err error, pending map[int]uint64) {
	c.mu.Lock()
	if c.failed == nil {
		c.failed = fmt.Errorf("content %v takes nothing until its disk works again: %w", c.id, err)
	}
	c.doubt(pending)
	if c.partial != nil {
		c.doubt(c.partial.pending)
	}
	c.tell()
	c.mu.Unlock()
	c.store.index.rebuild(c, c.store.List())
}

// doubt makes blocks count no more, in memory. It is called with mu held.
func (c *Content) doubt(blocks map[int]uint64) {
	if c.lost == nil {
		c.lost = make(map[int]uint64)
	}
	c.doubts++
	for chunk, mask := range blocks {
		if mask != 0 {
			c.lost[chunk] |= mask
		}
	}
}

// enterWriting is enter for calls that write to the files or to the journal.
func (c *Content) enterWriting() error {
	if err := c.enter(); err != nil {
		return err
	}
	if err := c.failure(); err != nil {
		c.busy.Done()
		return err
	}
	return nil
}

// failure returns the sync that went wrong, if one did.
func (c *Content) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

// shut ends all use of the content and waits for the calls under way.
func (c *Content) shut(err error) {
	c.mu.Lock()
	c.end = err
	c.tell()
	c.mu.Unlock()
	c.busy.Wait()
}

// Changed returns a channel that is closed once Have may return something else
// than at the time of the call, or the content can't be used any more.
func (c *Content) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.end != nil {
		return over // tell may come yet, and closes what it finds
	}
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	return c.changed
}

// over is closed: what has ended changes no more, and nobody waits for it.
var over = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Grown is Changed for who reads blocks and not only chunks: its channel is closed
// too once another block is verified.
func (c *Content) Grown() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.end != nil {
		return over
	}
	if c.grown == nil {
		c.grown = make(chan struct{})
	}
	return c.grown
}

// tell wakes those who wait for a change. It is called with mu held.
func (c *Content) tell() {
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
	c.tellGrown()
}

// tellGrown wakes those who wait for a block. It is called with mu held.
func (c *Content) tellGrown() {
	if c.grown != nil {
		close(c.grown)
		c.grown = nil
	}
}

// Have returns which chunks are here, whole and verified. It is the caller's.
func (c *Content) Have() *roaring.Bitmap {
	c.mu.Lock()
	defer c.mu.Unlock()
	var have *roaring.Bitmap
	if c.partial == nil {
		have = roaring.New()
		have.AddRange(0, uint64(len(c.manifest.Chunks)))
	} else {
		have = c.partial.have.Clone()
	}
	for chunk := range c.lost {
		have.Remove(uint32(chunk))
	}
	return have
}

// holds reports whether a chunk is here, whole and verified.
func (c *Content) holds(chunk int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.end == nil && c.lost[chunk] == 0 && (c.partial == nil || c.partial.have.Contains(uint32(chunk)))
}

// Complete reports whether every chunk is here, whole and verified.
func (c *Content) Complete() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.lost) == 0 && c.whole()
}

// whole reports whether no block was missing when partial last heard of it. It
// is called with mu held.
func (c *Content) whole() bool { return c.partial == nil || c.partial.bytes == c.size }

// Progress returns how many bytes are verified.
func (c *Content) Progress() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.partial == nil {
		return c.size
	}
	return c.partial.bytes
}

// Verified returns which blocks of a chunk are here: bit i is block i.
func (c *Content) Verified(chunk int) uint64 {
	if chunk < 0 || chunk >= len(c.manifest.Chunks) {
		return 0
	}
	c.mu.Lock()
	p, lost := c.partial, c.lost[chunk]
	if p != nil {
		defer c.mu.Unlock()
		return p.verified[chunk] &^ lost
	}
	c.mu.Unlock()
	l, err := c.enterList(chunk)
	if err != nil {
		return 0
	}
	return all(len(l.blocks)) &^ lost
}

// has reports whether a block is here, and may be read.
func (c *Content) has(chunk, block int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	bit := uint64(1) << block
	return c.lost[chunk]&bit == 0 && (c.partial == nil || c.partial.verified[chunk]&bit != 0)
}

// isLost reports whether a block was found damaged, and the disk doesn't know yet.
func (c *Content) isLost(chunk, block int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost[chunk]&(1<<block) != 0
}

// pin opens one of the content's files; the caller unpins it. With create, it is
// made if it isn't there, with its final size, and sparse.
func (c *Content) pin(file int, create bool) (*handle, error) {
	c.mu.Lock()
	s := slot{c, file, c.partial != nil}
	theirs := c.references[file]
	c.mu.Unlock()
	switch {
	case theirs != nil && !create:
		return c.pinReference(file, theirs)
	case theirs != nil:
		if err := c.own(file); err != nil {
			return nil, err
		}
	}
	if h := c.store.files.pin(s); h != nil {
		return h, nil
	}
	f, err := c.open(s, create)
	if err != nil {
		return nil, err
	}
	return c.store.files.add(s, f), nil
}

func (c *Content) open(s slot, create bool) (disk.File, error) {
	flag := os.O_RDONLY
	if s.write {
		flag = os.O_RDWR
	}
	switch s.file {
	case journalFile:
		return c.store.disk.Open(filepath.Join(c.dir, journalName), flag)
	case listsFile:
		return c.store.disk.Open(filepath.Join(c.dir, listsName), flag)
	}
	f, err := c.openFile(s.file, flag)
	if create && errors.Is(err, fs.ErrNotExist) {
		return c.create(filepath.Join(c.dir, filesName), s.file)
	}
	if !s.write {
		if err == nil && shared(f) {
			c.fresh.exposed.Store(true)
		}
		return f, err
	}
	if err == nil {
		c.noteName(s.file)
	}
	if err == nil && !shared(f) {
		return f, nil
	}
	if errors.Is(err, fs.ErrPermission) { // the user's mode, if an export linked it
		f, err = c.openFile(s.file, os.O_RDONLY)
	}
	if err != nil {
		return nil, err
	}
	return c.unlink(s.file, f)
}

// openFile opens file i of the manifest.
func (c *Content) openFile(i, flag int) (disk.File, error) {
	if r := c.reference(i); r != nil {
		return c.openReference(r)
	}
	return c.store.disk.OpenBelow(filepath.Join(c.dir, filesName), c.manifest.Files[i].Path, flag)
}

// create makes a file and the folders it is in.
func (c *Content) create(dir string, file int) (disk.File, error) {
	c.making.Lock()
	defer c.making.Unlock()
	want := c.manifest.Files[file]
	folder := path.Dir(want.Path)
	if err := c.store.disk.MkdirAllBelow(dir, folder); err != nil {
		return nil, err
	}
	f, err := c.store.disk.OpenBelow(dir, want.Path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(want.Size); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.noteFolder(folder)
	return f, nil
}

// noteFolder notes that a folder, and those that it is in, have new entries. It is
// called with mu held.
func (c *Content) noteFolder(folder string) {
	if c.partial == nil {
		return
	}
	for ; folder != "."; folder = path.Dir(folder) {
		c.partial.folders[folder] = struct{}{}
	}
	c.partial.folders["."] = struct{}{}
}

// noteName notes that the name of a file that was there may not be on the disk: it
// was made just before a crash, perhaps.
func (c *Content) noteName(file int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.crashed {
		c.noteFolder(path.Dir(c.manifest.Files[file].Path))
	}
}
