package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/chunker"
)

// How files become a content
//
// survey (survey.go) walks what the user named and knows, before a byte is read,
// the name, mode, time and size of everything; a name that some system can't
// write ends it there. Then two passes.
//
// In the first, one goroutine (feed) goes through the files in the manifest's
// order. It reads a large file in pieces and cuts it into blocks, since a cut
// depends on the one before; another writes the pieces to the stage, and hashing
// the blocks of a piece is a job for the workers. A small file is one job
// altogether. Jobs end in any order and are gathered in theirs, and the digests,
// as they come, say where chunks end.
//
// The second pass (readback.go) reads the stage back, by way of the manifest and
// the block lists as everybody will use them, and hashes all again: a wrong byte
// in memory, a write to the wrong place or a mistake in the lists ends here, and
// not at every endpoint. (What the disk itself does wrong shows when the cache
// has let go of it; the scrub is for that.)
//
// A file that changes meanwhile ends the publication: files are compared with
// the survey when opened and when read, and all of them and their folders once
// more after the first pass. So what was published did exist, all at one moment.
//
// # Where the time goes
//
// CPU seconds per GiB of one large file, stage in memory (EPYC with SHA-NI, Linux
// 6.18, Go 1.26; BenchmarkPublish has the baselines):
//
//	hashing, twice                  1.2
//	reading and writing             0.6 to 0.9: a plain copy's; most is finding memory
//	cutting                         0.4
//	reading back                    0.2
//	all, measured                   3.0
//
// which is 770 MB/s on two cores (testnet/bench add). No byte is copied that the system doesn't copy,
// but for a fifth at the seams of pieces; pieces of 512 KiB to 4 MiB and longer
// queues made no difference beyond the noise. What would: clones, where the
// file system has them, as only the reading back needs the stage's bytes.

const (
	// publishPieceSize is how much of a large file is read, cut and written at
	// once: little enough to be in a cache still when the next step comes.
	publishPieceSize = 1 << 20

	// publishAhead bounds the jobs not yet gathered. Of these, two for each worker
	// wait with a buffer; when they do, feed does the next one itself.
	publishAhead = 64
)

// A publishStage takes the files of a content under publication; paths are those
// of the manifest. Files and folders may be made by many goroutines at once, a
// folder before what is in it.
type publishStage interface {
	Mkdir(path string) error
	Create(path string) (*os.File, error)
	Open(path string) (*os.File, error) // to read back
}

// publishOptions are what publish need not be told.
type publishOptions struct {
	Type   string            // content type
	Labels map[string]string // of the manifest
	// Workers is how many cores hash. Zero: half of what Go may use; reading,
	// writing and cutting take the other half.
	Workers int
	// Known reports whether a chunk is held already. Nil: none is.
	Known func(content.Hash) bool
	// Progress is called often, by one goroutine at a time. Nil: nobody cares.
	Progress func(phase string, done, total int64)
}

// The phases of a publication.
const (
	publishReads    = "read"
	publishVerifies = "verify"
)

// A published content is in its stage, whole and verified, ready to be committed.
type published struct {
	Encoded  content.Encoded
	Manifest *content.Manifest
	Blocks   [][]content.Block // of each chunk
	Files    int               // folders not counted
	New      int64             // bytes of chunks that were not known
}

// publish makes a content of paths in stage. One file makes a single content, a
// folder a tree of what is in it; several paths make a tree that has each under
// its base name. Neither links nor anything but plain files and folders can be
// published (content.ErrPath). On error the stage is for the caller to abort;
// errors wrap content.ErrPath, ErrFormat, ErrChanged and ErrNoSpace.
func publish(ctx context.Context, stage publishStage, paths []string, opt publishOptions) (*published, error) {
	entries, err := survey(ctx, paths)
	if err != nil {
		return nil, err
	}
	m := &content.Manifest{Type: opt.Type, Labels: opt.Labels}
	for _, e := range entries {
		m.Files = append(m.Files, e.File)
	}
	if err := checkEarly(m); err != nil {
		return nil, err
	}
	p := newPublisher(stage, entries, opt)
	p.total = m.Size()
	if err := p.read(ctx); err != nil {
		return nil, err
	}
	m.Chunks = p.chunks
	enc, err := m.Encode()
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if err := e.unchanged(); err != nil {
			return nil, err
		}
	}
	if err := p.verify(ctx, m); err != nil {
		return nil, err
	}

	out := &published{Encoded: enc, Manifest: m, Blocks: p.blocks}
	for _, f := range m.Files {
		if !f.Mode.IsDir() {
			out.Files++
		}
	}
	for _, c := range m.Chunks {
		if opt.Known == nil || !opt.Known(c.Hash) {
			out.New += int64(c.Size)
		}
	}
	return out, nil
}

// checkEarly refuses what Encode would after an hour of reading: all but the
// chunks, of which there are none if there are no bytes.
func checkEarly(m *content.Manifest) error {
	empty := content.Manifest{Type: m.Type, Labels: m.Labels, Files: slices.Clone(m.Files)}
	for i := range empty.Files {
		empty.Files[i].Size = 0
	}
	return empty.Check()
}

// A publisher is one publication under way.
type publisher struct {
	stage   publishStage
	entries []publishEntry
	workers int
	report  func(phase string, done, total int64)
	total   int64 // bytes of all files

	// Each job goes to order, then to jobs or, if these are busy, to feed itself.
	jobs, order chan *publishJob
	pieces      sync.Pool // of *publishPiece

	// What gather has made of the jobs.
	chunks []content.Chunk
	blocks [][]content.Block
}

func newPublisher(stage publishStage, entries []publishEntry, opt publishOptions) *publisher {
	p := &publisher{
		stage:   stage,
		entries: entries,
		workers: opt.Workers,
		report:  opt.Progress,
		order:   make(chan *publishJob, publishAhead),
		pieces:  sync.Pool{New: func() any { return new(publishPiece) }},
	}
	if p.workers <= 0 {
		p.workers = max(1, runtime.GOMAXPROCS(0)/2)
	}
	if p.report == nil {
		p.report = func(string, int64, int64) {}
	}
	p.jobs = make(chan *publishJob, 2*p.workers)
	return p
}

// A publishPiece is a part of a large file, or a small one.
type publishPiece struct {
	users atomic.Int32 // writer and hashing job; the last puts it back
	fresh []byte       // what was read into buf
	// The fresh bytes begin at MaxBlock: before them goes what was left of the
	// piece before, which is less than a block.
	buf [content.MaxBlock + publishPieceSize]byte
}

func (p *publisher) piece() *publishPiece { return p.pieces.Get().(*publishPiece) }

func (p *publisher) done(piece *publishPiece) {
	if piece.users.Add(-1) == 0 {
		p.pieces.Put(piece)
	}
}

// A publishJob hashes blocks.
type publishJob struct {
	run    func() ([]content.Block, error)
	blocks []content.Block // once done is closed
	done   chan struct{}
}

// read is the first pass.
func (p *publisher) read(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.feed(ctx) })
	for range p.workers {
		group.Go(func() error { return p.work(ctx) })
	}
	group.Go(func() error { return p.gather(ctx) })
	return group.Wait()
}

// feed makes jobs of all files, in order.
func (p *publisher) feed(ctx context.Context) error {
	for i := range p.entries {
		e := &p.entries[i]
		var err error
		switch {
		case e.Mode.IsDir():
			err = stageError(e.Path, p.stage.Mkdir(e.Path))
		case e.Size <= publishPieceSize:
			err = p.submit(ctx, func() ([]content.Block, error) { return p.small(e) })
		default:
			err = p.large(ctx, e)
		}
		if err != nil {
			return err
		}
	}
	close(p.order)
	close(p.jobs)
	return nil
}

// submit hands a job to the workers, or does it when they have enough: whoever
// is the slower of feed and the workers, every core is busy.
func (p *publisher) submit(ctx context.Context, run func() ([]content.Block, error)) error {
	j := &publishJob{run: run, done: make(chan struct{})}
	select {
	case p.order <- j:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case p.jobs <- j:
		return nil
	default:
		return p.do(j)
	}
}

func (p *publisher) do(j *publishJob) (err error) {
	if j.blocks, err = j.run(); err == nil {
		close(j.done)
	}
	return err
}

func (p *publisher) work(ctx context.Context) error {
	for {
		select {
		case j, ok := <-p.jobs:
			if !ok {
				return nil
			}
			if err := p.do(j); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// small copies a file of at most a piece into the stage and hashes its blocks.
func (p *publisher) small(e *publishEntry) ([]content.Block, error) {
	from, err := e.open()
	if err != nil {
		return nil, err
	}
	defer from.Close()
	piece := p.piece()
	defer p.pieces.Put(piece)
	data := piece.buf[:e.Size]
	if err := e.fill(from, data); err != nil {
		return nil, err
	}
	to, err := p.stage.Create(e.Path)
	if err != nil {
		return nil, stageError(e.Path, err)
	}
	_, err = to.Write(data)
	if err := stageError(e.Path, errors.Join(err, to.Close())); err != nil {
		return nil, err
	}
	lengths, _ := cutPiece(data, true)
	return hashBlocks(data, lengths), nil
}

// large copies a file of more than a piece into the stage, piece by piece, and
// makes jobs of hashing them.
func (p *publisher) large(ctx context.Context, e *publishEntry) error {
	from, err := e.open()
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := p.stage.Create(e.Path)
	if err != nil {
		return stageError(e.Path, err)
	}
	group, ctx := errgroup.WithContext(ctx)
	cut := make(chan *publishPiece, 2)
	group.Go(func() error {
		defer close(cut)
		return p.pump(ctx, e, from, cut)
	})
	group.Go(func() error { return p.write(ctx, e, to, cut) })
	err = group.Wait()
	if err := errors.Join(err, stageError(e.Path, to.Close())); err != nil {
		return err
	}
	return e.unchangedAt(from.Stat()) // all are compared at the end, but that may be hours away
}

// pump reads and cuts a large file, and gives its pieces to the writer and the
// workers.
//
// Pieces are read to the same place in each buffer, so that files are read and
// written in whole pages; what is left of a piece when no whole block is certain
// goes before the next.
func (p *publisher) pump(ctx context.Context, e *publishEntry, from io.Reader, cut chan<- *publishPiece) error {
	piece := p.piece()
	left := 0 // bytes before the fresh ones
	for at := int64(0); at < e.Size; {
		n := int(min(publishPieceSize, e.Size-at))
		piece.fresh = piece.buf[content.MaxBlock : content.MaxBlock+n]
		if err := e.fill(from, piece.fresh); err != nil {
			return err
		}
		at += int64(n)
		data := piece.buf[content.MaxBlock-left : content.MaxBlock+n]
		lengths, whole := cutPiece(data, at == e.Size)

		next := p.piece()
		left = copy(next.buf[content.MaxBlock-(len(data)-whole):], data[whole:])
		full := piece
		full.users.Store(2)
		select {
		case cut <- full:
		case <-ctx.Done():
			return ctx.Err()
		}
		err := p.submit(ctx, func() ([]content.Block, error) {
			defer p.done(full)
			return hashBlocks(data, lengths), nil
		})
		if err != nil {
			return err
		}
		piece = next
	}
	piece.users.Store(1)
	p.done(piece)
	return nil
}

// write writes the pieces of a large file. It has a goroutine of its own as the
// system lets one at a time write to a file, and may be slow to find memory for
// what is written.
func (p *publisher) write(ctx context.Context, e *publishEntry, to io.Writer, cut <-chan *publishPiece) error {
	for {
		select {
		case piece, ok := <-cut:
			if !ok {
				return nil
			}
			if _, err := to.Write(piece.fresh); err != nil {
				return stageError(e.Path, err)
			}
			p.done(piece)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fill fills buf from the file.
func (e *publishEntry) fill(from io.Reader, buf []byte) error {
	_, err := io.ReadFull(from, buf)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return e.changed() // it was longer
	}
	if err != nil {
		return fmt.Errorf("add: %w", err)
	}
	return nil
}

// cutPiece returns the lengths of the blocks of data, and their sum. Unless the
// file ends with data, that is less than all: the last blocks need more to be cut.
func cutPiece(data []byte, ends bool) (lengths []int, whole int) {
	lengths = make([]int, 0, len(data)/content.TargetBlock+content.MaxBlock/content.MinBlock)
	for rest := data; len(rest) >= content.MaxBlock || ends && len(rest) > 0; rest = data[whole:] {
		n := chunker.Cut(rest)
		lengths = append(lengths, n)
		whole += n
	}
	return lengths, whole
}

func hashBlocks(data []byte, lengths []int) []content.Block {
	blocks := make([]content.Block, len(lengths))
	for i, n := range lengths {
		blocks[i] = content.Block{Hash: content.Sum(data[:n]), Size: uint32(n)}
		data = data[n:]
	}
	return blocks
}

// gather takes the blocks of all jobs in order and makes chunks of them.
func (p *publisher) gather(ctx context.Context) error {
	var chunk []content.Block
	var size uint32
	var done int64
	end := func() error {
		node, err := content.EncodeBlocks(chunk)
		if err != nil {
			return err
		}
		p.chunks = append(p.chunks, content.Chunk{Hash: content.Sum(node), Size: size})
		p.blocks = append(p.blocks, slices.Clip(chunk))
		chunk, size = nil, 0
		return nil
	}
	for {
		var j *publishJob
		select {
		case j = <-p.order:
		case <-ctx.Done():
			return ctx.Err()
		}
		if j == nil { // closed
			break
		}
		select {
		case <-j.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		for _, b := range j.blocks {
			chunk = append(chunk, b)
			size += b.Size
			done += int64(b.Size)
			if chunker.Ends(b.Hash, len(chunk)) {
				if err := end(); err != nil {
					return err
				}
			}
		}
		p.report(publishReads, done, p.total)
	}
	if len(chunk) > 0 {
		return end()
	}
	return nil
}

// stageError tells what could not be written, and whether the disk is full.
func stageError(path string, err error) error {
	if err == nil {
		return nil
	}
	var code syscall.Errno
	full := errors.As(err, &code) && (code == syscall.ENOSPC || code == syscall.EDQUOT)
	if runtime.GOOS == "windows" {
		full = code == 39 || code == 112 // ERROR_HANDLE_DISK_FULL, ERROR_DISK_FULL
	}
	if full {
		err = fmt.Errorf("%w: %w: free some, or remove contents (p2pnode content rm ID), and try again", content.ErrNoSpace, err)
	}
	return fmt.Errorf("stage %s: %w", path, err)
}
