package archive

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/dustin/go-humanize"

	"github.com/p2pnode/p2pnode/content"
)

// A Target takes the folders and files of an archive: a folder before what is in
// it, none twice, one at a time. Paths are those of a manifest; "." is there.
type Target interface {
	Mkdir(path string) error
	Create(path string) (io.WriteCloser, error)
}

// Options say how to unpack.
type Options struct {
	// SkipLinks leaves out links, devices and pipes; else the first is an error.
	SkipLinks bool
	// Room, unless nil, is asked before bytes are written whether so many more fit.
	Room func(more int64) error
	// Cost, unless nil, tells how many bytes of room a file of so many takes.
	Cost func(size int64) int64
	// Progress, unless nil, is told how many bytes of the archive were read.
	Progress func(done, total int64)
}

// ShowSkipped is the most entries that a Tree lists as skipped.
const ShowSkipped = 100

// A Tree is what an archive has.
type Tree struct {
	Kind    string         // tar, tar.gz, tar.zst, tar.xz, tar.bz2, zip or deb
	Files   []content.File // as they stand in a manifest; the first is the folder "."
	Skipped int            // links, devices and pipes left out
	// SkippedList names the first ShowSkipped of them, with where a link leads:
	// "lib/a.so -> a.so.1".
	SkippedList []string
}

// limits bound what an archive can make the caller hold. There is no knob: who
// means to publish what is beyond them unpacks it first.
type limits struct {
	// An archive may unpack to ratio times its size, and to slack whatever its
	// size. DEFLATE reaches 1,030, zeros by zstd 30,000; text 5 to 20, logs and
	// tables 50, and a file system's image that is mostly empty 100.
	ratio, slack int64
	// Bytes of the window of zstd and of the dictionary of xz: what xz -9 and
	// zstd -19 --long need.
	window int64
	files  int // files and folders
	names  int // bytes of their names
}

var usual = limits{ratio: 200, slack: 16 << 20, window: 128 << 20, files: content.MaxFiles, names: content.MaxManifest}

// Unpack reads the archive in the size bytes of from, and gives what is in it to
// to. Errors wrap content.ErrFormat if it is no archive, one that is damaged or
// beyond the limits, content.ErrPath if it has something that a content can't, and
// else what Room, the target or from returned. After an error some of the tree is
// at the target.
//
// Folders that the archive doesn't list get mode 0755, and the time of the newest
// file in them.
func Unpack(ctx context.Context, from io.ReaderAt, size int64, to Target, o Options) (*Tree, error) {
	tree, err := unpack(ctx, from, size, to, o, usual)
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	return tree, nil
}

func unpack(ctx context.Context, from io.ReaderAt, size int64, to Target, o Options, l limits) (*Tree, error) {
	src := &source{ctx: ctx, from: from, size: size, progress: o.Progress}
	t := newTree(src, to, o, l)
	kind, err := t.read(src)
	if err != nil {
		return nil, src.blame(err)
	}
	files, err := t.finish()
	if err != nil {
		return nil, err
	}
	return &Tree{Kind: kind, Files: files, Skipped: t.skipped, SkippedList: t.shown}, nil
}

// read tells what kind of archive it is, and reads it.
func (t *tree) read(src *source) (kind string, err error) {
	head := make([]byte, tarBlock)
	n, err := src.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return "", err
	}
	head = head[:n]
	switch {
	case isZip(head):
		return "zip", t.zip(src)
	case isDeb(head):
		return "deb", t.deb(src)
	}
	return t.packedTar(io.NewSectionReader(src, 0, src.size), head, "")
}

// packedTar reads a tar, packed or not, into the folder of the tree at below.
func (t *tree) packedTar(from io.Reader, head []byte, below string) (kind string, err error) {
	name, open := packing(head)
	if open == nil && !isTar(head) {
		return "", fmt.Errorf("%w: this is no tar, tar.gz, tar.zst, tar.xz, tar.bz2, zip or deb: unpack it yourself, and add the folder", content.ErrFormat)
	}
	if open == nil {
		return "tar", t.tar(from, below)
	}
	plain, err := open(from, t.limits)
	if err != nil {
		return "", damaged(err)
	}
	defer plain.Close()
	return "tar." + name, t.tar(plain, below)
}

// A source is the archive's file. It ends when the context does, and remembers
// what went wrong with it.
type source struct {
	ctx      context.Context
	from     io.ReaderAt
	size     int64
	progress func(done, total int64)
	done     int64
	failed   error
}

func (s *source) ReadAt(b []byte, at int64) (int, error) {
	if err := s.ctx.Err(); err != nil {
		s.failed = err
		return 0, err
	}
	if at < 0 {
		return 0, fmt.Errorf("%w: a place before the beginning", content.ErrFormat) // a damaged directory's
	}
	n, err := s.from.ReadAt(b, at)
	if err != nil && err != io.EOF {
		s.failed = err
	}
	if s.progress != nil && n > 0 {
		// A zip's directory is read before the files: no more than all is told.
		s.done = min(s.done+int64(n), s.size)
		s.progress(s.done, s.size)
	}
	return n, err
}

// blame returns why the source couldn't be read, if that is why err happened:
// a decoder may take a disk's error for one of the format.
func (s *source) blame(err error) error {
	if s.failed != nil {
		return s.failed
	}
	return err
}

// ErrDamaged says that an archive isn't as it was packed. It is content.ErrFormat.
var ErrDamaged = fmt.Errorf("%w: the archive", content.ErrFormat)

// damaged makes an error of a decoder one of content.ErrFormat.
func damaged(err error) error {
	switch {
	case errors.Is(err, content.ErrFormat), errors.Is(err, content.ErrPath):
		return err
	case err == io.EOF, errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w is cut short: get it again", ErrDamaged)
	}
	return fmt.Errorf("%w is damaged: %w: get it again", ErrDamaged, err)
}

// tooMuch says that an archive is beyond what it may unpack to.
func tooMuch(limit int64) error {
	return fmt.Errorf("%w: it unpacks to more than %s, which is out of proportion to its size: if that is meant, unpack it yourself, and add the folder",
		content.ErrFormat, humanize.IBytes(uint64(limit)))
}
