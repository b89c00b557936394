package node

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/archive"
	"github.com/p2pnode/p2pnode/content/chunker"
	"github.com/p2pnode/p2pnode/content/store/disk"
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
// Of a content that is larger than what it may leave in memory (publishpages.go),
// the second pass follows the first at that distance, so that it finds in memory
// what was written and can have it forgotten.
//
// A file that changes meanwhile ends the publication: files are compared with
// the survey when opened and when read, and all of them and their folders once
// more after the first pass. So what was published did exist, all at one moment.
//
// Files may also be where they will be: in the stage, by somebody else's hand
// (publishStaged), or at the user's, to be served from there (publishInPlace).
// Then they are cut and hashed, read back, and nothing is written.
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
	Create(path string) (disk.File, error)
	Open(path string) (disk.File, error) // to read back
}

// publishOptions are what publish need not be told.
type publishOptions struct {
	Type   string            // content type
	Labels map[string]string // of the manifest
	// Workers is how many cores hash. Zero: half of what Go may use; reading,
	// writing and cutting take the other half.
	Workers int
	// Known returns how many of the bytes are in blocks that are held already. Nil:
	// none are.
	Known func(context.Context, *content.Manifest, [][]content.Block) (int64, error)
	// SkipLinks leaves out of a folder what is neither a file nor a folder.
	SkipLinks bool
	// Pages is how many bytes may stay in the system's memory of what is read and
	// written. Zero: as many as it likes.
	Pages int64
	// Room is asked whether so many bytes of the disk are there, before the first is
	// written. Nil: they are.
	Room func(size int64) error
	// Cost tells how many bytes of the disk a content of these files takes, and
	// FileCost a single file. Nil: as many as they have.
	Cost     func([]content.File) int64
	FileCost func(size int64) int64
	// Progress is called often, by one goroutine at a time. Nil: nobody cares.
	Progress func(phase string, done, total int64)
}

// The phases of a publication.
const (
	publishUnpacks  = "unpack"
	publishReads    = "read"
	publishVerifies = "verify"
)

// A published content is whole and verified in its stage, ready to be committed,
// or where the user has it.
type published struct {
	Encoded  content.Encoded
	Manifest *content.Manifest
	Blocks   [][]content.Block // of each chunk
	Files    int               // folders not counted
	New      int64             // bytes of blocks that were not known
	Unpacked *archive.Tree     // the archive that it was, nil if it was none
	Left     leftOut           // of a folder
}

// publish makes a content of paths in stage. One file makes a single content, a
// folder a tree of what is in it; several paths make a tree that has each under
// its base name. Neither links nor anything but plain files and folders can be
// published (content.ErrPath). On error the stage is for the caller to abort;
// errors wrap content.ErrPath, ErrFormat, ErrChanged and ErrNoSpace.
func publish(ctx context.Context, stage publishStage, paths []string, opt publishOptions) (*published, error) {
	entries, left, err := opt.survey(ctx, paths)
	if err != nil {
		return nil, err
	}
	made, err := newPublisher(stage, true, entries, opt).publish(ctx, opt)
	if err == nil {
		made.Left = left
	}
	return made, err
}

// publishStaged makes a content of the files that are in stage already, in the
// order of a manifest. Errors are those of publish.
func publishStaged(ctx context.Context, stage publishStage, files []content.File, opt publishOptions) (*published, error) {
	entries := make([]publishEntry, len(files))
	for i, f := range files {
		entries[i].File = f
	}
	return newPublisher(stage, false, entries, opt).publish(ctx, opt)
}

// publishInPlace makes a content of paths and leaves the files where they are:
// entries says where that is, one for each of the manifest's. Errors are those of
// publish.
func publishInPlace(ctx context.Context, paths []string, opt publishOptions) (made *published, entries []publishEntry, err error) {
	entries, left, err := opt.survey(ctx, paths)
	if err != nil {
		return nil, nil, err
	}
	if made, err = newPublisher(nil, false, entries, opt).publish(ctx, opt); err == nil {
		made.Left = left
	}
	return made, entries, err
}

// survey lists what is at paths, and what of it is left out.
func (o publishOptions) survey(ctx context.Context, paths []string) (entries []publishEntry, left leftOut, err error) {
	if o.SkipLinks {
		entries, err = survey(ctx, paths, &left)
	} else {
		entries, err = survey(ctx, paths, nil)
	}
	return entries, left, err
}

// publish makes a content of the publisher's entries.
func (p *publisher) publish(ctx context.Context, opt publishOptions) (*published, error) {
	m := &content.Manifest{Type: opt.Type, Labels: opt.Labels}
	for _, e := range p.entries {
		m.Files = append(m.Files, e.File)
	}
	if err := checkEarly(m); err != nil {
		return nil, err
	}
	p.total = m.Size()
	if p.copies && opt.Room != nil {
		need := p.total
		if opt.Cost != nil {
			need = opt.Cost(m.Files)
		}
		if err := opt.Room(need); err != nil {
			return nil, err
		}
	}
	if err := p.read(ctx); err != nil {
		return nil, err
	}
	m.Chunks = p.chunks
	enc, err := m.Encode()
	if err != nil {
		return nil, err
	}
	if err := p.unchanged(); err != nil {
		return nil, err
	}
	if err := p.verify(ctx, m); err != nil {
		return nil, err
	}
	if !p.copies { // what was read back is what the others will get
		if err := p.unchanged(); err != nil {
			return nil, err
		}
	}

	out := &published{Encoded: enc, Manifest: m, Blocks: p.blocks}
	for _, f := range m.Files {
		if !f.Mode.IsDir() {
			out.Files++
		}
	}
	out.New = m.Size()
	if opt.Known != nil {
		known, err := opt.Known(ctx, m, p.blocks)
		if err != nil {
			return nil, err
		}
		out.New -= known
	}
	return out, nil
}

// unchanged reports the first file or folder that is no longer what was surveyed.
func (p *publisher) unchanged() error {
	for _, e := range p.entries {
		if err := e.unchanged(); err != nil {
			return err
		}
	}
	return nil
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
	stage   publishStage // nil if everything is at the user's, and stays there
	copies  bool         // of the entries, into the stage
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

	layout *content.Layout // of the files
	pages  pageLimit
}

func newPublisher(stage publishStage, copies bool, entries []publishEntry, opt publishOptions) *publisher {
	p := &publisher{
		stage:   stage,
		copies:  copies,
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
	p.pages = newPageLimit(entries, opt.Pages)
	files := make([]content.File, len(entries))
	for i, e := range entries {
		files[i] = e.File
	}
	p.layout = content.NewLayout(&content.Manifest{Files: files})
	return p
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
		case e.Mode.IsDir() && !p.copies:
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
	back := p.newReader()
	defer back.close()
	for jobs, behind := p.jobs, p.pages.behind; jobs != nil || behind != nil; {
		select {
		case j, ok := <-jobs:
			if !ok {
				jobs = nil
				continue
			}
			if err := p.do(j); err != nil {
				return err
			}
		case c, ok := <-behind:
			if !ok {
				behind = nil
				continue
			}
			if err := back.chunk(c.at, c.blocks); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// gather takes the blocks of all jobs in order and makes chunks of them.
func (p *publisher) gather(ctx context.Context) error {
	defer close(p.pages.behind)
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
		return p.follow(ctx, done)
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
