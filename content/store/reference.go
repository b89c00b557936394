package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/disk"
)

// # Contents in place
//
// A content may stand on files that are the user's and stay where they are
// (Reference): they are read and never written, and cost no room. What it takes
// to know a file again is in the references file of the content's folder: a magic
// word and, as in a journal, a record of kind 'F' for each file that has bytes:
//
//	file      4 bytes  index in the manifest
//	modified  8 bytes  nanoseconds since 1970
//	inode     8 bytes  or file index on Windows; 0 if the system has none
//	path               absolute, the rest
//
// The device is left out, as its number may be another after the next start.
//
// A file that is not what it was (another time, length or inode, or gone) is
// noticed when it is opened, by Verify, and by Run within a minute. Every block is
// hashed each time it is read, since a file may be written to with nothing of this
// to show for it. What changed counts no more and can be fetched: then the file
// becomes one of the content's own (own), with what is still right in the old one,
// and the user's is left alone. A file that is there is the content's own, whatever
// the references file says. If the user's file comes back as it was, Verify finds
// that out; Reference makes all of it new.
const (
	referencesName  = "references"
	referencesMagic = "p2pnref\x01"
	kindFile        = 'F'
	fileHead        = 4 + 8 + 8

	// maxPlace bounds the bytes of a path: what Linux takes, and more than Windows
	// does.
	maxPlace = 32 << 10

	// ownPrefix begins the names of files that are becoming the content's own.
	ownPrefix = "own-"

	// lookEvery is how often Run looks whether the user's files are what they were.
	lookEvery = time.Minute
)

// A Source says where a file of a content is, and what it was like when its blocks
// were hashed. That of a folder or an empty file says nothing.
type Source struct {
	Path string // absolute
	Info fs.FileInfo
}

// A reference is a file of the user's that a content stands on.
type reference struct {
	path     string
	size     int64
	modified int64 // nanoseconds since 1970
	inode    uint64
	gone     error // why it can't be used, when last tried; guarded by Content.mu
}

// Reference makes a content complete that stands on the user's own files, one
// source for each file of the manifest. That their bytes are those of the blocks is
// what the caller has made sure of; the error wraps content.ErrChanged if a file is
// not what its source says. If the content is here already, complete and on its own
// files, these stay. Else what is here is replaced, and its releases and its pin
// are kept.
func (s *Store) Reference(enc content.Encoded, blocks [][]content.Block, sources []Source) (_ *Content, err error) {
	dir, err := disk.MakeTemp(s.disk, s.root(), newPrefix)
	if err != nil {
		return nil, fmt.Errorf("reference content %v: %w", enc.ID, ifNoSpace(err))
	}
	defer func() {
		if err != nil {
			s.discard(dir)
			err = fmt.Errorf("reference content %v: %w", enc.ID, ifNoSpace(err))
		}
	}()
	m, err := content.Decode(enc.ID, enc.Root, enc.Segments)
	if err != nil {
		return nil, err
	}
	nodes, err := encodeLists(m, blocks)
	if err != nil {
		return nil, err
	}
	records, err := encodeReferences(m, sources)
	if err != nil {
		return nil, err
	}
	err = errors.Join(s.disk.Mkdir(filepath.Join(dir, filesName)), s.writeEncoded(dir, enc), s.writeAllLists(dir, nodes),
		disk.Write(s.disk, dir, referencesName, records))
	if err != nil {
		return nil, err
	}
	return s.place(dir, enc.ID, (*Content).standsAlone)
}

// encodeReferences returns the references file of a content.
func encodeReferences(m *content.Manifest, sources []Source) ([]byte, error) {
	if len(sources) != len(m.Files) {
		return nil, fmt.Errorf("%w: %d sources for %d files", content.ErrFormat, len(sources), len(m.Files))
	}
	records := []byte(referencesMagic)
	for i, f := range m.Files {
		if f.Size == 0 {
			continue
		}
		src := sources[i]
		if !filepath.IsAbs(src.Path) || len(src.Path) > maxPlace || src.Info == nil {
			return nil, fmt.Errorf("%w: %q can't be where %q is", content.ErrPath, src.Path, f.Path)
		}
		r := reference{path: src.Path, size: f.Size, modified: src.Info.ModTime().UnixNano()}
		file, info, err := r.openAny()
		if err != nil {
			return nil, err
		}
		r.inode = inode(file, info)
		err = r.compare(file, info)
		if err == nil && !os.SameFile(info, src.Info) {
			err = r.changed("another file took its place")
		}
		if err := errors.Join(err, file.Close()); err != nil {
			return nil, err
		}
		var head [fileHead]byte
		binary.LittleEndian.PutUint32(head[:], uint32(i))
		binary.LittleEndian.PutUint64(head[4:], uint64(r.modified))
		binary.LittleEndian.PutUint64(head[12:], r.inode)
		records = appendRecord(records, kindFile, head[:], []byte(r.path))
	}
	return records, nil
}

// loadReferences reads the references file, if there is one. A file that a damaged
// one no longer names is a missing one.
func (c *Content) loadReferences() error {
	f, err := c.store.disk.Open(filepath.Join(c.dir, referencesName), os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	c.references = make(map[int]*reference)
	_, err = readJournal(f, info.Size(), referencesMagic, func(r record) error {
		if i, ref := readReference(r, c.manifest); ref != nil {
			c.references[i] = ref
		}
		return nil
	})
	if err != nil && !errors.Is(err, errJournal) && !isDamage(err) {
		return err
	}
	for i := range c.references {
		_, err := c.store.disk.LstatBelow(filepath.Join(c.dir, filesName), c.manifest.Files[i].Path)
		if err == nil {
			delete(c.references, i)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	c.inPlace = true
	c.fresh.exposed.Store(true)
	return c.sweepOwn()
}

// readReference returns what a record says; nil if it says nothing of a file that
// the content has.
func readReference(r record, m *content.Manifest) (int, *reference) {
	if r.kind != kindFile || len(r.payload) <= fileHead || len(r.payload) > fileHead+maxPlace {
		return 0, nil
	}
	i := binary.LittleEndian.Uint32(r.payload)
	if int64(i) >= int64(len(m.Files)) || m.Files[i].Size == 0 {
		return 0, nil
	}
	ref := &reference{
		size:     m.Files[i].Size,
		modified: int64(binary.LittleEndian.Uint64(r.payload[4:])),
		inode:    binary.LittleEndian.Uint64(r.payload[12:]),
		path:     string(r.payload[fileHead:]),
	}
	if !filepath.IsAbs(ref.path) || strings.ContainsRune(ref.path, 0) {
		return 0, nil
	}
	return int(i), ref
}

// sweepOwn removes what a crash left of files that were becoming the content's own.
func (c *Content) sweepOwn() error {
	entries, err := c.store.disk.ReadDir(c.dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ownPrefix) {
			err = errors.Join(err, c.store.disk.Remove(filepath.Join(c.dir, e.Name())))
		}
	}
	return err
}

// openAny opens what is at the reference's path.
func (r *reference) openAny() (*os.File, fs.FileInfo, error) {
	f, err := os.OpenFile(r.path, os.O_RDONLY|openAtOnce, 0)
	if err != nil {
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			return nil, nil, err // which says nothing of the file
		}
		return nil, nil, fmt.Errorf("%w: %w", content.ErrChanged, err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

// open opens the file if it is what it was. Else the error wraps content.ErrChanged.
func (r *reference) open() (*os.File, error) {
	f, info, err := r.openAny()
	if err != nil {
		return nil, err
	}
	if err := r.compare(f, info); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// compare returns what is different of a file.
func (r *reference) compare(f *os.File, info fs.FileInfo) error {
	switch {
	case !info.Mode().IsRegular():
		return r.changed("it is a file no more")
	case info.Size() != r.size:
		return r.changed(fmt.Sprintf("it has %d bytes, and had %d", info.Size(), r.size))
	case info.ModTime().UnixNano() != r.modified:
		return r.changed("it was written to at " + info.ModTime().Format(time.DateTime))
	case inode(f, info) != r.inode:
		return r.changed("another file took its place")
	}
	return nil
}

func (r *reference) changed(how string) error {
	return fmt.Errorf("%s: %w: %s", r.path, content.ErrChanged, how)
}

// InPlace reports whether the content stands on files of the user's.
func (c *Content) InPlace() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.references) > 0
}

// References returns on how many files of the user's the content stands, and what
// happened to those that can't be used.
func (c *Content) References() (files int, changed []error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.references {
		if r.gone != nil {
			changed = append(changed, r.gone)
		}
	}
	slices.SortFunc(changed, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return len(c.references), changed
}

// Occupies returns how many bytes the content takes of the store's disk (cost.go):
// for what is verified, and not in files of the user's.
func (c *Content) Occupies() int64 { return c.occupies() }

// borrowed returns how many verified bytes are in files of the user's. Of a chunk
// of which some blocks count, and which has files of both kinds, it is a guess.
func (c *Content) borrowed() (n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.references) == 0 {
		return 0
	}
	if c.partial == nil {
		for _, r := range c.references {
			n += r.size
		}
		return n
	}
	for chunk, mask := range c.partial.verified {
		if mask == 0 {
			continue
		}
		share := float64(bits.OnesCount64(mask)) / float64(c.partial.lists[chunk].count)
		for s := range c.layout.Spans(c.layout.Chunk(chunk), int64(c.manifest.Chunks[chunk].Size)) {
			if c.references[s.File] != nil {
				n += int64(share * float64(s.Size))
			}
		}
	}
	return n
}

// reference returns the file of the user's that stands for one of the content's;
// nil if that is its own.
func (c *Content) reference(file int) *reference {
	if !c.inPlace {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.references[file]
}

// openReference opens a file of the user's, and remembers whether it could.
func (c *Content) openReference(r *reference) (disk.File, error) {
	f, err := r.open()
	if err == nil || errors.Is(err, content.ErrChanged) {
		c.mu.Lock()
		before := r.gone
		r.gone = err
		c.mu.Unlock()
		if before == nil && err != nil {
			c.store.logger.Warn("a file that was added in place is not what it was: add it again, or have it fetched",
				zap.Stringer("content", c.id), zap.Error(err))
		}
	}
	if err != nil {
		return nil, err
	}
	return disk.Wrap(f), nil
}

// pinReference is pin for a file of the user's. It has a slot of its own, apart
// from that of the file that the content may have in its place later.
func (c *Content) pinReference(file int, r *reference) (*handle, error) {
	s := slot{c, listsFile - 1 - file, false}
	if h := c.store.files.pin(s); h != nil {
		return h, nil
	}
	f, err := c.openReference(r)
	if err != nil {
		return nil, err
	}
	return c.store.files.add(s, f), nil
}

// confirm returns an error if file i is the user's and not what it was: before it
// was copied it was.
func (c *Content) confirm(i int) error {
	r := c.reference(i)
	if r == nil {
		return nil
	}
	f, err := c.openReference(r)
	if err != nil {
		return err
	}
	return f.Close()
}

// lookAtReferences looks, now and then until ctx is done, whether the user's files
// are what they were. What somebody removed is closed by that, and its room is free.
func (s *Store) lookAtReferences(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		s.lookOnce()
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

func (s *Store) lookOnce() {
	for _, c := range s.List() {
		if !c.inPlace || c.enter() != nil {
			continue
		}
		c.look()
		c.busy.Done()
	}
}

// look looks at all files of the user's that the content stands on.
func (c *Content) look() {
	c.store.files.reopen(c)
	c.mu.Lock()
	files := maps.Clone(c.references)
	c.mu.Unlock()
	lost := make(map[int]uint64)
	var why error
	for i, r := range files {
		if c.ended() != nil {
			return
		}
		f, err := c.openReference(r)
		if err == nil {
			f.Close()
			continue
		}
		if errors.Is(err, content.ErrChanged) {
			why = err
			for chunk, mask := range c.blocksOf(i) {
				lost[chunk] |= mask
			}
		}
	}
	if why != nil {
		c.forsake(lost, why)
	}
}
