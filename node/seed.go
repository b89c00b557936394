package node

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/content"
)

const (
	// maxSeedBlocks bounds what is remembered of seeds: 100 MB for 256 GB of them.
	maxSeedBlocks = 4 << 20

	maxSeedFiles = 16 // open while nobody reads from them
)

// A seedBlock is a block in the user's own files.
type seedBlock struct {
	key    uint64 // the beginning of its hash
	offset int64
	file   uint32
	size   uint32
}

func seedKey(h content.Hash) uint64 {
	var key uint64
	for _, b := range h[:8] {
		key = key<<8 | uint64(b)
	}
	return key
}

// A seedPool knows the blocks of files that belong to the user: those of an older
// version that is installed, for instance. It is a store.Pool. Files may change at
// any time: who reads a block checks it.
type seedPool struct {
	files  []string
	blocks []seedBlock // by key
	left   int64       // bytes of files that weren't read, as they are too many

	mu   sync.Mutex
	open map[uint32]*seedFile
}

// A seedFile is open. It is not closed while somebody reads from it.
type seedFile struct {
	*os.File
	readers int
}

// seedOptions are what newSeedPool need not be told.
type seedOptions struct {
	Workers int        // cores that hash; zero is one
	Limit   int        // blocks; zero is maxSeedBlocks
	Skip    string     // a folder that is left out
	Budget  int64      // bytes that are hashed, of files that Cache doesn't know; zero for all
	Cache   *seedCache // optional
	// Progress is told how many bytes were read, by one goroutine at a time.
	Progress func(done int64)
	Log      *zap.Logger
}

// seedPool returns the blocks of the files at paths, for a content of which so many
// bytes are missing.
func (n *Node) seedPool(ctx context.Context, paths []string, missing int64) (*seedPool, error) {
	done, err := n.seeds.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	return newSeedPool(ctx, paths, seedOptions{
		Workers: n.cfg.Workers, Skip: n.cfg.Data, Budget: seedBudget(missing), Cache: n.seeds, Log: n.log.Named("seed"),
	})
}

// newSeedPool cuts and hashes the files at paths and in the folders there. Links
// are left out, but for a path that is one itself; so is what can't be read, and
// what is beyond the limit or the budget. The only error is that of ctx.
func newSeedPool(ctx context.Context, paths []string, opt seedOptions) (*seedPool, error) {
	r := &seedReader{
		seedOptions: opt,
		pool:        &seedPool{open: make(map[uint32]*seedFile)},
		jobs:        make(chan seedJob),
		fresh:       make(map[uint32]seedStamp),
		pieces:      sync.Pool{New: func() any { return new(publishPiece) }},
	}
	r.Workers, r.Limit = max(1, r.Workers), cmp.Or(r.Limit, maxSeedBlocks)
	if r.Progress == nil {
		r.Progress = func(int64) {}
	}
	start := time.Now()
	g, inner := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(r.jobs)
		for _, path := range paths {
			if err := r.walk(inner, path); err != nil {
				return err
			}
		}
		return nil
	})
	for range r.Workers {
		g.Go(func() error {
			for j := range r.jobs {
				r.do(j)
			}
			return nil
		})
	}
	err := g.Wait()
	r.keep() // what was read before ctx ended, too
	if err != nil && !errors.Is(err, errSeedsFull) {
		return nil, err
	} else if err != nil {
		r.Log.Warn("too many files to take blocks from, the last are left out", zap.Strings("seeds", paths), zap.Int("blocks", len(r.pool.blocks)))
	}
	if r.pool.left > 0 {
		r.Log.Warn("some files to take blocks from weren't looked at: there are too many for one get", zap.Strings("seeds", paths),
			zap.Int64("budget", r.Budget), zap.Int64("left", r.pool.left))
	}
	r.pool.sort()
	r.Log.Info("files to take blocks from were read", zap.Strings("seeds", paths), zap.Int("files", len(r.pool.files)),
		zap.Int("blocks", len(r.pool.blocks)), zap.Int64("bytes", r.done), zap.Int("unread", r.unread), zap.Duration("took", time.Since(start)))
	return r.pool, nil
}

// errSeedsFull ends the reading of seeds.
var errSeedsFull = errors.New("as many blocks as are remembered")

// A seedReader fills a pool. One goroutine walks, and reads and cuts large files;
// workers hash their blocks, and do small files altogether.
type seedReader struct {
	seedOptions
	jobs   chan seedJob
	pieces sync.Pool // of *publishPiece

	mu     sync.Mutex
	pool   *seedPool
	done   int64                // bytes
	unread int                  // files
	fresh  map[uint32]seedStamp // files that are read now, and weren't known
	spent  int64                // bytes of the budget
}

// A seedJob is some blocks of a file that are to be hashed: all of it, if there is
// no piece.
type seedJob struct {
	file    uint32
	path    string
	piece   *publishPiece
	data    []byte
	offset  int64 // in the file
	lengths []int
}

func (r *seedReader) walk(ctx context.Context, path string) error {
	top, err := filepath.EvalSymlinks(path)
	if err != nil {
		r.lost(path, err)
		return nil
	}
	return filepath.WalkDir(top, func(name string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			r.lost(name, err)
			return nil
		case d.IsDir() && name == r.Skip:
			return fs.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		return r.file(ctx, name)
	})
}

// lost notes a file that can't be read.
func (r *seedReader) lost(name string, err error) {
	r.Log.Debug("no blocks are taken from it", zap.String("name", name), zap.Error(err))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unread++
}

// file makes jobs of a file. The error is errSeedsFull, or that of ctx.
func (r *seedReader) file(ctx context.Context, name string) error {
	info, err := os.Lstat(name)
	if err != nil {
		r.lost(name, err)
		return nil
	}
	if info.Size() == 0 {
		return nil
	}
	r.mu.Lock()
	full := len(r.pool.blocks) >= r.Limit
	stamp := seedStampOf(info)
	known, ok := r.Cache.get(name, stamp)
	if !ok && r.Budget > 0 && r.spent+info.Size() > r.Budget {
		r.pool.left += info.Size()
		r.mu.Unlock()
		return nil
	}
	j := seedJob{file: uint32(len(r.pool.files)), path: name}
	r.pool.files = append(r.pool.files, name)
	if ok {
		r.pool.take(j.file, known, r.Limit)
	} else {
		r.spent += info.Size()
		r.fresh[j.file] = stamp
	}
	r.mu.Unlock()
	if full {
		return errSeedsFull
	}
	if ok {
		return nil
	}
	if info.Size() <= publishPieceSize {
		return r.submit(ctx, j)
	}
	return r.large(ctx, j)
}

func (r *seedReader) submit(ctx context.Context, j seedJob) error {
	select {
	case r.jobs <- j:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// large reads and cuts a file piece by piece: see publisher.pump.
func (r *seedReader) large(ctx context.Context, j seedJob) error {
	f, err := openSeed(j.path)
	if err != nil {
		r.lost(j.path, err)
		return nil
	}
	defer f.Close()
	piece := r.pieces.Get().(*publishPiece)
	left := 0
	for ends := false; !ends; {
		n, err := io.ReadFull(f, piece.buf[content.MaxBlock:])
		if ends = err == io.EOF || err == io.ErrUnexpectedEOF; err != nil && !ends {
			r.lost(j.path, err)
			return nil
		}
		data := piece.buf[content.MaxBlock-left : content.MaxBlock+n]
		lengths, whole := cutPiece(data, ends)
		next := r.pieces.Get().(*publishPiece)
		left = copy(next.buf[content.MaxBlock-(len(data)-whole):], data[whole:])
		j.piece, j.data, j.lengths = piece, data, lengths
		if err := r.submit(ctx, j); err != nil {
			return err
		}
		j.offset += int64(whole)
		piece = next
		r.mu.Lock()
		full := len(r.pool.blocks) >= r.Limit
		r.mu.Unlock()
		if full {
			return errSeedsFull
		}
	}
	r.pieces.Put(piece)
	return nil
}

// openSeed opens a file, if it is a plain one.
func openSeed(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: errors.New("not a plain file")}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// do hashes the blocks of a job.
func (r *seedReader) do(j seedJob) {
	if j.piece == nil {
		j.piece = r.pieces.Get().(*publishPiece)
		n, err := readSeed(j.path, j.piece.buf[:])
		if err != nil {
			r.lost(j.path, err)
		}
		j.data = j.piece.buf[:n]
		j.lengths, _ = cutPiece(j.data, true)
	}
	defer r.pieces.Put(j.piece)
	fresh := make([]seedBlock, 0, len(j.lengths))
	offset := j.offset
	for _, b := range hashBlocks(j.data, j.lengths) {
		fresh = append(fresh, seedBlock{seedKey(b.Hash), offset, j.file, b.Size})
		offset += int64(b.Size)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pool.blocks = append(r.pool.blocks, fresh[:min(len(fresh), max(0, r.Limit-len(r.pool.blocks)))]...)
	r.done += offset - j.offset
	r.Progress(r.done)
}

// readSeed reads a small file; of one that grew, as much as there is room for.
func readSeed(path string, buf []byte) (int, error) {
	f, err := openSeed(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n, err := io.ReadFull(f, buf)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return n, err
}

// keep puts the files that were read whole, and are what they were, in the cache.
func (r *seedReader) keep() {
	if r.Cache == nil {
		return
	}
	lists := make(map[uint32][]seedBlock, len(r.fresh))
	for _, b := range r.pool.blocks {
		if _, ok := r.fresh[b.file]; ok {
			lists[b.file] = append(lists[b.file], b)
		}
	}
	for file, blocks := range lists {
		stamp, name := r.fresh[file], r.pool.files[file]
		if info, err := os.Lstat(name); err != nil || !seedStampOf(info).is(stamp) {
			continue
		}
		slices.SortFunc(blocks, func(a, b seedBlock) int { return cmp.Compare(a.offset, b.offset) })
		l := &seedList{stamp: stamp, keys: make([]uint64, len(blocks)), sizes: make([]uint32, len(blocks))}
		var size int64
		for i, b := range blocks {
			l.keys[i], l.sizes[i] = b.key, b.size
			size += int64(b.size)
		}
		if size == stamp.info.Size() { // else it wasn't read to its end
			r.Cache.put(name, l)
		}
	}
}

// take adds the blocks of a file that are known.
func (p *seedPool) take(file uint32, l *seedList, limit int) {
	var offset int64
	for i, size := range l.sizes[:min(len(l.sizes), max(0, limit-len(p.blocks)))] {
		p.blocks = append(p.blocks, seedBlock{l.keys[i], offset, file, size})
		offset += int64(size)
	}
}

// sort makes the blocks ready to be found. One place of each is enough.
func (p *seedPool) sort() {
	slices.SortFunc(p.blocks, func(a, b seedBlock) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.size, b.size), cmp.Compare(a.file, b.file), cmp.Compare(a.offset, b.offset))
	})
	p.blocks = slices.CompactFunc(p.blocks, func(a, b seedBlock) bool { return a.key == b.key && a.size == b.size })
}

// ReadBlock implements store.Pool.
func (p *seedPool) ReadBlock(block content.Hash, buf []byte) bool {
	want := seedBlock{key: seedKey(block), size: uint32(len(buf))}
	i, ok := slices.BinarySearchFunc(p.blocks, want, func(b, want seedBlock) int {
		return cmp.Or(cmp.Compare(b.key, want.key), cmp.Compare(b.size, want.size))
	})
	if !ok {
		return false
	}
	f, err := p.pin(p.blocks[i].file)
	if err != nil {
		return false
	}
	defer p.unpin(f)
	_, err = f.ReadAt(buf, p.blocks[i].offset)
	return err == nil
}

// pin opens a file; the caller unpins it.
func (p *seedPool) pin(file uint32) (*seedFile, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, ok := p.open[file]
	if !ok {
		opened, err := openSeed(p.files[file])
		if err != nil {
			return nil, err
		}
		f = &seedFile{File: opened}
		p.open[file] = f
	}
	f.readers++
	return f, nil
}

func (p *seedPool) unpin(f *seedFile) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f.readers--
	for file, f := range p.open {
		if len(p.open) <= maxSeedFiles {
			return
		}
		if f.readers == 0 {
			f.Close() // only read
			delete(p.open, file)
		}
	}
}

// Close closes the files that are open. Nobody may be reading.
func (p *seedPool) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, f := range p.open {
		errs = append(errs, f.Close())
	}
	clear(p.open)
	return errors.Join(errs...)
}
