package archive

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	"github.com/klauspost/compress/zstd"

	"github.com/p2pnode/p2pnode/content"
)

// isZip reports whether a file begins with an entry, or with the end, of a zip.
// Programs that unpack themselves begin with the program, and are none.
func isZip(head []byte) bool {
	return bytes.HasPrefix(head, []byte("PK\x03\x04")) || bytes.HasPrefix(head, []byte("PK\x05\x06"))
}

// zip reads a zip. Its directory is at its end, and what it says is taken: the
// entries' own headers are not looked at for more than where their bytes begin.
func (t *tree) zip(src *source) error {
	r, err := zip.NewReader(src, src.size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // names are checked below
		return damaged(err)
	}
	r.RegisterDecompressor(zstd.ZipMethodWinZip, zstd.ZipDecompressor(zstdOptions(t.limits)...))
	var size uint64
	for _, f := range r.File {
		// No sum: each of them is checked before it could overflow.
		if size += f.UncompressedSize64; f.UncompressedSize64 > uint64(t.limit) || size > uint64(t.limit) {
			return tooMuch(t.limit)
		}
	}
	if t.o.Room != nil && size > 0 {
		if err := t.o.Room(int64(size)); err != nil {
			return err
		}
		t.room = int64(size)
	}
	for _, f := range r.File {
		if err := t.zipped(f); err != nil {
			return err
		}
	}
	return nil
}

func (t *tree) zipped(f *zip.File) error {
	mode := f.Mode()
	p, err := cleanPath(f.Name, "", mode.IsDir())
	if err != nil {
		return err
	}
	modified := f.Modified.UTC()
	switch {
	case mode.IsDir():
		if f.UncompressedSize64 > 0 {
			return fmt.Errorf("%w: %+q is a folder of %d bytes", content.ErrFormat, p, f.UncompressedSize64)
		}
		return t.folder(p, zipMode(f, mode, 0o755), modified)
	case mode&fs.ModeSymlink != 0:
		return t.other(p, "symbolic link", "")
	case !mode.IsRegular():
		return t.other(p, "device or pipe", "")
	case f.Flags&1 != 0:
		return fmt.Errorf("%w: %+q is encrypted: unpack it yourself, and add the folder", content.ErrFormat, p)
	}
	r, err := f.Open()
	if errors.Is(err, zip.ErrAlgorithm) {
		return fmt.Errorf("%w: %+q is packed by method %d, which is not known here: unpack it yourself, and add the folder", content.ErrFormat, p, f.Method)
	}
	if err != nil {
		return damaged(err)
	}
	defer r.Close()
	return t.file(p, zipMode(f, mode, 0o644), modified, int64(f.UncompressedSize64), r)
}

// zipMode returns the permissions of an entry, or what is usual if it has none:
// of those written on Windows, and by tools that leave them out, none are known.
func zipMode(f *zip.File, mode, usual fs.FileMode) fs.FileMode {
	const unix, darwin = 3, 19 // of what system the high byte says that it was made
	if by := f.CreatorVersion >> 8; by != unix && by != darwin {
		if mode&0o200 == 0 && !mode.IsDir() {
			return usual &^ 0o222 // read-only
		}
		return usual
	}
	if mode.Perm() == 0 {
		return usual
	}
	return mode.Perm()
}
