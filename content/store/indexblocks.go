package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/disk"
)

// The block index tells where the blocks of complete contents are. It is a hint:
// what it says is checked against the block list of the content that it names,
// and a run that is lost or damaged is made anew from the lists.
//
// Contents are added in the background, or when somebody needs to know: as runs,
// which are then merged, so that each has more than twice the entries of all
// smaller ones together. Of 4,000,000 blocks that came by 4,000 there are 7 runs
// at most, and an entry was written 5 times or so. What was removed is left out
// when its run is merged, or when more than half of its run is of no use.
const (
	indexName = "index" // the folder of the runs
	runPrefix = "run-"

	// How many entries are sorted in memory: 6 MiB.
	maxSort = 1 << 18

	// A content that is complete waits so long for others to be indexed with it.
	indexAfter = 2 * time.Second
	// After an error nothing is tried for so long, unless somebody needs to know.
	indexAgain = time.Minute
)

type blockIndex struct {
	store *Store
	dir   string
	wake  chan struct{} // holds one when there is something for Run to do
	work  chan struct{} // holds one while somebody makes runs

	mu     sync.Mutex
	runs   []*run
	closed bool
}

func newBlockIndex(s *Store) *blockIndex {
	x := &blockIndex{
		store: s, dir: filepath.Join(s.cfg.Dir, indexName),
		wake: make(chan struct{}, 1), work: make(chan struct{}, 1),
	}
	x.wakeUp()
	return x
}

// open opens the runs that are there, and removes those that are none. Whatever
// goes wrong is no error: the index is made anew.
func (x *blockIndex) open() {
	entries, err := x.store.disk.ReadDir(x.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		x.store.logger.Warn("block index can't be read, it is made anew", zap.Error(err))
	}
	for _, e := range entries {
		name := filepath.Join(x.dir, e.Name())
		switch {
		case !strings.HasPrefix(e.Name(), runPrefix):
			x.store.logger.Warn("not a run of the block index, left alone", zap.String("name", name))
		case strings.HasSuffix(e.Name(), ".tmp"):
			x.remove(name)
		default:
			r, err := openRun(x.store.disk, name)
			if err != nil {
				x.store.logger.Warn("part of the block index is lost, it is made anew", zap.String("name", name), zap.Error(err))
				x.remove(name)
				continue
			}
			x.runs = append(x.runs, r)
		}
	}
}

func (x *blockIndex) remove(name string) {
	if err := disk.RemoveIfThere(x.store.disk, name); err != nil {
		x.store.logger.Warn("a file of the block index stays behind", zap.String("name", name), zap.Error(err))
	}
}

// close ends all work and closes the runs.
func (x *blockIndex) close() error {
	x.mu.Lock()
	runs := x.runs
	x.runs, x.closed = nil, true
	x.mu.Unlock()
	err := x.release(runs...)
	x.work <- struct{}{} // whoever had it saw that it is closed
	<-x.work
	return err
}

// wakeUp has Run look for what is to be done.
func (x *blockIndex) wakeUp() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// acquire returns the runs there are, to be released.
func (x *blockIndex) acquire() []*run {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, r := range x.runs {
		r.users++
	}
	return slices.Clone(x.runs)
}

// release closes the runs that nobody uses any more, and removes those of them
// that are gone from the index.
func (x *blockIndex) release(runs ...*run) error {
	var errs []error
	for _, r := range runs {
		x.mu.Lock()
		r.users--
		last, gone := r.users == 0, r.gone
		x.mu.Unlock()
		if !last {
			continue
		}
		errs = append(errs, r.file.Close())
		if gone {
			x.remove(r.name)
		}
	}
	return errors.Join(errs...)
}

// put adds a run, unless the index is closed.
func (x *blockIndex) put(r *run) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return errors.Join(fs.ErrClosed, r.file.Close())
	}
	x.runs = append(x.runs, r)
	return nil
}

// drop takes runs out. It returns those that were in.
func (x *blockIndex) drop(runs ...*run) (dropped []*run) {
	x.mu.Lock()
	x.runs = slices.DeleteFunc(x.runs, func(r *run) bool {
		if !slices.Contains(runs, r) {
			return false
		}
		r.gone = true
		dropped = append(dropped, r)
		return true
	})
	x.mu.Unlock()
	if err := x.release(dropped...); err != nil {
		x.store.logger.Warn("a file of the block index is not closed", zap.Error(err))
	}
	return dropped
}

// damaged takes a run out that can't be read.
func (x *blockIndex) damaged(r *run, err error) {
	if len(x.drop(r)) == 0 {
		return // somebody else met it, or the store is closed
	}
	x.store.logger.Warn("part of the block index is damaged, it is made anew", zap.String("name", r.name), zap.Error(err))
	x.wakeUp()
}

// run keeps the index up to date until ctx is done.
func (x *blockIndex) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-x.wake:
		}
		pause := indexAfter
		for wait(ctx, pause) {
			err := x.update(ctx)
			if err == nil || errors.Is(err, fs.ErrClosed) {
				break
			}
			if ctx.Err() == nil {
				x.store.logger.Warn("block index not brought up to date", zap.Error(err))
			}
			pause = indexAgain
		}
	}
}

// wait waits for d; it reports false if ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// update adds the complete contents that are in no run, and merges what is to be
// merged.
func (x *blockIndex) update(ctx context.Context) error {
	select {
	case x.work <- struct{}{}:
		defer func() { <-x.work }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for left := x.uncovered(); ; {
		if err := x.ended(ctx); err != nil {
			return err
		}
		var err error
		if in := x.ripe(); len(in) > 0 {
			err = x.merge(ctx, in)
		} else if len(left) > 0 {
			left, err = x.add(ctx, left)
		} else {
			return nil
		}
		if errors.Is(err, errInput) { // which is out of the index now
			left = x.uncovered()
		} else if err != nil {
			return err
		}
	}
}

func (x *blockIndex) ended(ctx context.Context) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return fmt.Errorf("block index: %w", fs.ErrClosed)
	}
	return ctx.Err()
}

// compare orders pieces by content and chunk. So are the rows of every run.
func (p piece) compare(o piece) int {
	return cmp.Or(content.Hash(p.id).Compare(content.Hash(o.id)), cmp.Compare(p.from, o.from), cmp.Compare(p.to, o.to))
}

// uncovered returns the pieces of complete contents that no run has, in order.
func (x *blockIndex) uncovered() (left []piece) {
	runs := x.acquire()
	defer x.release(runs...)
	covered := make(map[content.ID][]piece)
	for _, r := range runs {
		for _, p := range r.rows {
			covered[p.id] = append(covered[p.id], p.piece)
		}
	}
	for _, c := range x.store.List() {
		if !c.sealed() {
			continue
		}
		pieces := covered[c.id]
		slices.SortFunc(pieces, piece.compare)
		end := uint32(len(c.manifest.Chunks))
		var at uint32
		for _, p := range append(pieces, piece{c.id, end, end}) {
			if p.from > at {
				left = append(left, piece{c.id, at, p.from})
			}
			at = max(at, p.to)
		}
	}
	return left
}

// sealed reports whether the content is complete on disk.
func (c *Content) sealed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.end == nil && c.partial == nil
}

// A newEntry is one that is to be sorted, with more of the block's hash.
type newEntry struct {
	runEntry
	more uint64
}

// add makes a run of as many pieces as can be sorted at once, and returns the
// others.
func (x *blockIndex) add(ctx context.Context, pieces []piece) (left []piece, err error) {
	var entries []newEntry
	var taken []piece
	for len(pieces) > 0 && len(entries)+content.MaxBlocks <= maxSort {
		p := pieces[0]
		c, ok := x.store.Get(p.id)
		if !ok {
			pieces = pieces[1:]
			continue
		}
		var end uint32
		entries, end, err = x.gather(ctx, entries, c, p, uint32(len(taken)))
		if end > p.from {
			taken = append(taken, piece{p.id, p.from, end})
		}
		switch {
		case err == nil:
		case isDamage(err) || errors.Is(err, content.ErrNotFound):
			end++ // damaged, for Verify to tell, or gone: left for the next time
		default:
			return nil, fmt.Errorf("index blocks of %v: %w", p.id, err)
		}
		if pieces[0].from = end; end >= p.to {
			pieces = pieces[1:]
		}
	}
	if len(taken) == 0 {
		return pieces, nil
	}
	slices.SortFunc(entries, func(a, b newEntry) int { return a.compare(b.runEntry) })
	// One place of a block is enough: an image has thousands of zero blocks.
	entries = slices.CompactFunc(entries, func(a, b newEntry) bool { return a.key == b.key && a.more == b.more && a.row == b.row })
	return pieces, x.write(taken, uint64(len(entries)), func(add func(runEntry) error) error {
		for _, e := range entries {
			if err := add(e.runEntry); err != nil {
				return err
			}
		}
		return nil
	})
}

// gather appends the entries of a piece of c, as row, until there are enough, and
// returns the chunk that it ended before.
func (x *blockIndex) gather(ctx context.Context, entries []newEntry, c *Content, p piece, row uint32) ([]newEntry, uint32, error) {
	chunk := p.from
	for ; chunk < p.to && len(entries)+content.MaxBlocks <= maxSort; chunk++ {
		if err := x.ended(ctx); err != nil {
			return entries, chunk, err
		}
		l, err := c.enterLoad(int(chunk))
		if err != nil {
			return entries, chunk, err
		}
		for i, b := range l.blocks {
			entries = append(entries, newEntry{
				runEntry{blockKey(b.Hash), row, chunk<<blockBits | uint32(i)},
				binary.LittleEndian.Uint64(b.Hash[content.HashSize-8:]),
			})
		}
	}
	return entries, chunk, nil
}

// enterLoad reads a list past those in memory.
func (c *Content) enterLoad(chunk int) (blockList, error) {
	if err := c.enter(); err != nil {
		return blockList{}, err
	}
	defer c.busy.Done()
	return c.loadList(chunk)
}

// write makes a run of pieces, with what fill adds, which is no more than so many
// entries, and puts it into the index.
func (x *blockIndex) write(pieces []piece, entries uint64, fill func(add func(runEntry) error) error) error {
	if err := x.store.mayWrite(x.store.FileCost(int64((entries/pageEntries + 1) * runPage))); err != nil {
		return fmt.Errorf("write block index: %w", err)
	}
	if err := x.store.disk.MkdirAll(x.dir); err != nil {
		return err
	}
	name := runPrefix + rand.Text()
	err := disk.Replace(x.store.disk, x.dir, name, func(w io.Writer) error {
		to := newRunWriter(w, pieces)
		if err := fill(to.add); err != nil {
			return err
		}
		return to.end()
	})
	if err != nil {
		return fmt.Errorf("write block index: %w", ifNoSpace(err))
	}
	r, err := openRun(x.store.disk, filepath.Join(x.dir, name))
	if err != nil {
		return fmt.Errorf("read block index: %w", err)
	}
	if err := x.put(r); err != nil {
		x.remove(r.name)
		return err
	}
	return nil
}

// ripe returns runs that should be one: the smallest ones, up to the last that
// isn't more than twice as large as those before it together, or a run of which
// more than half is of contents that are gone.
func (x *blockIndex) ripe() []*run {
	x.mu.Lock()
	runs := slices.SortedFunc(slices.Values(x.runs), func(a, b *run) int { return cmp.Compare(a.entries, b.entries) })
	x.mu.Unlock()
	last := 0
	var sum uint64
	for i, r := range runs {
		if i > 0 && r.entries <= 2*sum {
			last = i
		}
		sum += r.entries
	}
	if last > 0 {
		return runs[:last+1]
	}
	for _, r := range runs {
		var gone uint64
		for _, row := range r.rows {
			if _, ok := x.store.Get(row.id); !ok {
				gone += uint64(row.entries)
			}
		}
		if 2*gone > r.entries {
			return []*run{r}
		}
	}
	return nil
}

// merge puts one run in the place of others, without what is gone.
func (x *blockIndex) merge(ctx context.Context, in []*run) error {
	var pieces []piece
	var entries uint64
	for _, r := range in {
		entries += r.entries
		for _, row := range r.rows {
			if _, ok := x.store.Get(row.id); ok {
				pieces = append(pieces, row.piece)
			}
		}
	}
	slices.SortFunc(pieces, piece.compare)
	pieces = slices.Compact(pieces) // a crash may leave a run beside those it was made of
	if len(pieces) > 0 {
		err := x.write(pieces, entries, func(add func(runEntry) error) error { return x.mergeInto(ctx, add, pieces, in) })
		if err != nil {
			return err
		}
	}
	x.drop(in...)
	return nil
}

// errInput says that a run that is to be merged can't be read.
var errInput = errors.New("a part of the block index is damaged")

// A mergeInput is a run that is being merged.
type mergeInput struct {
	runScan
	rows []uint32 // what its rows are in the new run; noRow: left out
	head runEntry
	ok   bool // there is a head
}

const noRow = ^uint32(0)

// advance takes the next entry that is not left out.
func (m *mergeInput) advance() (err error) {
	for {
		if m.head, m.ok, err = m.take(); err != nil || !m.ok {
			return err
		}
		if m.head.row = m.rows[m.head.row]; m.head.row != noRow {
			return nil
		}
	}
}

func (x *blockIndex) mergeInto(ctx context.Context, add func(runEntry) error, pieces []piece, in []*run) error {
	inputs := make([]*mergeInput, len(in))
	next := func(m *mergeInput) error {
		err := m.advance()
		if err == nil {
			return nil
		}
		x.damaged(m.run, err)
		return errInput
	}
	for i, r := range in {
		m := &mergeInput{runScan: runScan{run: r}, rows: make([]uint32, len(r.rows))}
		for n, row := range r.rows {
			m.rows[n] = noRow
			if at, ok := slices.BinarySearchFunc(pieces, row.piece, piece.compare); ok {
				m.rows[n] = uint32(at)
			}
		}
		if err := next(m); err != nil {
			return err
		}
		inputs[i] = m
	}
	var last runEntry
	for n := 0; ; n++ {
		if n%maxSort == 0 {
			if err := x.ended(ctx); err != nil {
				return err
			}
		}
		var least *mergeInput
		for _, m := range inputs {
			if m.ok && (least == nil || m.head.compare(least.head) < 0) {
				least = m
			}
		}
		if least == nil {
			return nil
		}
		if n == 0 || least.head != last {
			if err := add(least.head); err != nil {
				return err
			}
			last = least.head
		}
		if err := next(least); err != nil {
			return err
		}
	}
}
