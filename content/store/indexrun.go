package store

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"sort"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/disk"
)

// A run is a file of the block index: the blocks of some pieces of contents,
// sorted. It is written once, and never changed.
//
//	pages   4,096 bytes each: a checksum, and entries in order of their keys
//	rows    44 bytes each: a piece of a content, as its id (32 bytes), the first
//	        of its chunks and the first behind it, and how many entries it has
//	fence   8 bytes each: the first key of a page
//	foot    entries (8 bytes), rows (4 bytes), checksum (4 bytes), magic (8 bytes)
//
// An entry is the beginning of a block's hash (6 bytes), a row, and where in the
// content it is, as chunk<<6 | block. All pages but the last are full; what is
// left of that is zero. A page's checksum is the CRC-32C of its number and its
// other bytes, the foot's that of rows, fence, and the foot's own counts. Numbers
// are little-endian, but for the beginning of the hash, which stays as it is.
//
// Rows and fence are held in memory: 27 bytes for 1,000 blocks and 44 for a
// content. A key that is looked up is in one page, as a rule, and the fence says
// in which.
const (
	runMagic    = "p2pnidx\x01"
	runPage     = 4096
	entrySize   = keySize + 4 + 4
	pageEntries = (runPage - 4) / entrySize
	rowSize     = content.HashSize + 4 + 4 + 4
	footSize    = 8 + 4 + 4 + magicSize

	// The beginning of a hash that is kept. With 4,000,000 blocks one lookup in
	// 70,000,000 meets another block by chance. Who makes them meet on purpose, by
	// 2^48 hashes for a given block, costs us a look at one list more.
	keySize = 6

	blockBits = 6 // of a place: a chunk has at most 1<<blockBits blocks
)

// errRun says that a file is not a run, or a damaged one.
var errRun = errors.New("not a run of the block index")

// A runEntry says where a block is.
type runEntry struct {
	key   uint64 // of its hash: see blockKey
	row   uint32
	place uint32 // chunk<<blockBits | block
}

func (e runEntry) chunk() int { return int(e.place >> blockBits) }
func (e runEntry) block() int { return int(e.place & (1<<blockBits - 1)) }

func (e runEntry) compare(o runEntry) int {
	return cmp.Or(cmp.Compare(e.key, o.key), cmp.Compare(e.row, o.row), cmp.Compare(e.place, o.place))
}

// blockKey returns what is kept of a block's hash, in the order of hashes.
func blockKey(h content.Hash) uint64 { return keyOf(h[:]) }

func keyOf(b []byte) uint64 {
	return uint64(b[0])<<40 | uint64(b[1])<<32 | uint64(b[2])<<24 | uint64(b[3])<<16 | uint64(b[4])<<8 | uint64(b[5])
}

// A piece is a range of a content's chunks.
type piece struct {
	id       content.ID
	from, to uint32
}

// A row is a piece whose blocks are in a run.
type row struct {
	piece
	entries uint32
}

type runFile interface {
	io.ReaderAt
	io.Closer
}

// A run that is open.
type run struct {
	file    runFile
	name    string
	entries uint64
	rows    []row
	fence   []uint64

	// Guarded by the index, which is the first of its users.
	users int
	gone  bool // the last of them removes the file
}

// openRun opens a run. The error wraps errRun if there is a file and it is not
// right; its pages are looked at when they are read.
func openRun(d disk.FS, name string) (_ *run, err error) {
	f, err := d.Open(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	r := &run{file: f, name: name, users: 1}
	info, err := f.Stat()
	if err == nil {
		err = r.load(f, info.Size())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return r, nil
}

// load reads what is held in memory of a run of size bytes: no more than these.
func (r *run) load(f io.ReaderAt, size int64) error {
	var foot [footSize]byte
	if size < footSize {
		return fmt.Errorf("%w: %d bytes", errRun, size)
	}
	if _, err := f.ReadAt(foot[:], size-footSize); err != nil {
		return err
	}
	if string(foot[16:]) != runMagic {
		return fmt.Errorf("%w: ends with %q", errRun, foot[16:])
	}
	r.entries = binary.LittleEndian.Uint64(foot[:])
	rows := int64(binary.LittleEndian.Uint32(foot[8:]))
	if r.entries > uint64(size)/entrySize {
		return fmt.Errorf("%w: %d entries in %d bytes", errRun, r.entries, size)
	}
	pages := (int64(r.entries) + pageEntries - 1) / pageEntries
	if size != pages*(runPage+8)+rows*rowSize+footSize {
		return fmt.Errorf("%w: %d bytes for %d entries of %d pieces", errRun, size, r.entries, rows)
	}
	table := make([]byte, rows*rowSize+pages*8)
	if _, err := f.ReadAt(table, pages*runPage); err != nil {
		return err
	}
	if tableSum(table, foot[:]) != binary.LittleEndian.Uint32(foot[12:]) {
		return fmt.Errorf("%w: its table is damaged", errRun)
	}
	r.rows = make([]row, rows)
	for i := range r.rows {
		b := table[i*rowSize:]
		copy(r.rows[i].id[:], b)
		b = b[content.HashSize:]
		r.rows[i].from, r.rows[i].to = binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
		r.rows[i].entries = binary.LittleEndian.Uint32(b[8:])
	}
	r.fence = make([]uint64, pages)
	for i := range r.fence {
		r.fence[i] = binary.LittleEndian.Uint64(table[rows*rowSize+int64(i)*8:])
	}
	if !slices.IsSorted(r.fence) {
		return fmt.Errorf("%w: out of order", errRun)
	}
	return nil
}

// tableSum returns the checksum that belongs in a foot.
func tableSum(table, foot []byte) uint32 {
	return crc32.Update(crc32.Checksum(table, castagnoli), castagnoli, foot[:12])
}

// pageSum returns the checksum that page number n begins with.
func pageSum(n int, page []byte) uint32 {
	sum := crc32.Checksum(binary.LittleEndian.AppendUint32(nil, uint32(n)), castagnoli)
	return crc32.Update(sum, castagnoli, page[4:])
}

// A runPages is a part of a run's pages in memory.
type runPages struct {
	first, count int
	bytes        []byte
}

// read has p hold count pages from page first on, in a buffer of its own. Those
// behind the last are left out. The error wraps errRun if one is damaged.
func (r *run) read(p *runPages, first, count int) error {
	if p.first == first && p.count == count {
		return nil
	}
	p.count = 0
	count = min(count, len(r.fence)-first)
	p.bytes = slices.Grow(p.bytes[:0], count*runPage)[:count*runPage]
	if _, err := r.file.ReadAt(p.bytes, int64(first)*runPage); err == io.EOF {
		return fmt.Errorf("%w: it was cut", errRun)
	} else if err != nil {
		return err
	}
	for i := range count {
		page := p.bytes[i*runPage:][:runPage]
		if binary.LittleEndian.Uint32(page) != pageSum(first+i, page) {
			return fmt.Errorf("%w: page %d is damaged", errRun, first+i)
		}
	}
	p.first, p.count = first, count
	return nil
}

// entriesOf returns how many entries page n has.
func (r *run) entriesOf(n int) int {
	return int(min(pageEntries, r.entries-uint64(n)*pageEntries))
}

// entry returns entry i of page n, which p has.
func (p *runPages) entry(n, i int) runEntry {
	b := p.bytes[(n-p.first)*runPage+4+i*entrySize:][:entrySize]
	return runEntry{keyOf(b), binary.LittleEndian.Uint32(b[keySize:]), binary.LittleEndian.Uint32(b[keySize+4:])}
}

// find calls each for the entries with a key, until it returns false. The page
// that it ends with stays in p, for a key that is near.
func (r *run) find(p *runPages, key uint64, each func(runEntry) bool) error {
	// Entries with the same key may fill pages.
	for n := max(0, sort.Search(len(r.fence), func(i int) bool { return r.fence[i] >= key })-1); n < len(r.fence) && r.fence[n] <= key; n++ {
		if err := r.read(p, n, 1); err != nil {
			return err
		}
		count := r.entriesOf(n)
		i := sort.Search(count, func(i int) bool { return p.entry(n, i).key >= key })
		for ; i < count; i++ {
			e := p.entry(n, i)
			if e.key != key {
				return nil
			}
			if int(e.row) >= len(r.rows) {
				return fmt.Errorf("%w: an entry of piece %d of %d", errRun, e.row, len(r.rows))
			}
			if !each(e) {
				return nil
			}
		}
	}
	return nil
}

// A runScan reads all entries of a run, in order.
type runScan struct {
	run   *run
	pages runPages
	next  uint64 // entry
}

const scanPages = 16 // read at once

// take returns the next entry; ok is false behind the last.
func (s *runScan) take() (e runEntry, ok bool, err error) {
	if s.next == s.run.entries {
		return e, false, nil
	}
	n, i := int(s.next/pageEntries), int(s.next%pageEntries)
	if n < s.pages.first || n >= s.pages.first+s.pages.count {
		if err := s.run.read(&s.pages, n, scanPages); err != nil {
			return e, false, err
		}
	}
	s.next++
	if e = s.pages.entry(n, i); int(e.row) >= len(s.run.rows) {
		return e, false, fmt.Errorf("%w: an entry of piece %d of %d", errRun, e.row, len(s.run.rows))
	}
	return e, true, nil
}

// A runWriter writes a run of the entries it is given, in order.
type runWriter struct {
	to      io.Writer
	rows    []row
	page    [runPage]byte
	entries uint64
	fence   []uint64
}

func newRunWriter(to io.Writer, pieces []piece) *runWriter {
	w := &runWriter{to: to, rows: make([]row, len(pieces))}
	for i, p := range pieces {
		w.rows[i].piece = p
	}
	return w
}

func (w *runWriter) add(e runEntry) error {
	i := int(w.entries % pageEntries)
	if i == 0 {
		w.fence = append(w.fence, e.key)
	}
	b := w.page[4+i*entrySize:]
	var key [8]byte
	binary.BigEndian.PutUint64(key[:], e.key)
	copy(b, key[8-keySize:])
	binary.LittleEndian.PutUint32(b[keySize:], e.row)
	binary.LittleEndian.PutUint32(b[keySize+4:], e.place)
	w.rows[e.row].entries++
	if w.entries++; i+1 == pageEntries {
		return w.flush()
	}
	return nil
}

func (w *runWriter) flush() error {
	binary.LittleEndian.PutUint32(w.page[:], pageSum(len(w.fence)-1, w.page[:]))
	_, err := w.to.Write(w.page[:])
	clear(w.page[:])
	return err
}

// end writes what stands behind the entries.
func (w *runWriter) end() error {
	if w.entries%pageEntries != 0 {
		if err := w.flush(); err != nil {
			return err
		}
	}
	var table []byte
	for _, r := range w.rows {
		table = append(table, r.id[:]...)
		table = binary.LittleEndian.AppendUint32(table, r.from)
		table = binary.LittleEndian.AppendUint32(table, r.to)
		table = binary.LittleEndian.AppendUint32(table, r.entries)
	}
	for _, key := range w.fence {
		table = binary.LittleEndian.AppendUint64(table, key)
	}
	foot := binary.LittleEndian.AppendUint64(nil, w.entries)
	foot = binary.LittleEndian.AppendUint32(foot, uint32(len(w.rows)))
	foot = binary.LittleEndian.AppendUint32(foot, tableSum(table, foot))
	foot = append(foot, runMagic...)
	_, err := w.to.Write(append(table, foot...))
	return err
}
