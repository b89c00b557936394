package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/p2pnode/p2pnode/content"
)

const tarBlock = 512

// isTar reports whether an archive's first block is a tar's: the checksum of the
// header is right, which it is whatever the dialect.
func isTar(head []byte) bool {
	if len(head) < tarBlock {
		return false
	}
	const from, to = 148, 156 // the checksum, which counts as blanks
	want, err := strconv.ParseInt(strings.Trim(string(head[from:to]), " \x00"), 8, 64)
	if err != nil {
		return false
	}
	sum := int64(to-from) * ' '
	for i, b := range head[:tarBlock] {
		if i < from || i >= to {
			sum += int64(b)
		}
	}
	return sum == want
}

// tar reads a tar into the folder of the tree at below.
func (t *tree) tar(from io.Reader, below string) error {
	limited := &limitedReader{r: from, left: t.limit, limit: t.limit}
	r := tar.NewReader(limited)
	for {
		limited.zeros = 0
		h, err := r.Next()
		if err == io.EOF {
			if limited.zeros < tarBlock { // an empty block ends a tar, not nothing
				return damaged(err)
			}
			return ended(limited)
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) { // names are checked below
			return damaged(err)
		}
		if err := t.entry(h, r, below); err != nil {
			return err
		}
	}
}

func (t *tree) entry(h *tar.Header, r io.Reader, below string) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil // a comment, as git archive writes
	}
	folder := h.Typeflag == tar.TypeDir
	p, err := cleanPath(h.Name, below, folder)
	if err != nil {
		return err
	}
	mode := fs.FileMode(h.Mode & 0o777)
	switch h.Typeflag {
	case tar.TypeDir:
		return t.folder(p, mode, h.ModTime)
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		return t.file(p, mode, h.ModTime, h.Size, r)
	case tar.TypeSymlink:
		return t.other(p, "symbolic link", h.Linkname)
	case tar.TypeLink:
		return t.other(p, "hard link", h.Linkname)
	case tar.TypeChar, tar.TypeBlock:
		return t.other(p, "device", "")
	case tar.TypeFifo:
		return t.other(p, "pipe", "")
	}
	return fmt.Errorf("%w: %+q is of the kind %+q, which is neither file, folder nor link", content.ErrFormat, p, h.Typeflag)
}

// ended reads what is behind a tar's end: zeros that fill a tape's block, and the
// checksum of the packing.
func ended(r io.Reader) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if len(bytes.Trim(buf[:n], "\x00")) > 0 {
			return fmt.Errorf("%w: something is behind the end of the archive: if it is several in one, unpack it yourself, and add the folder", content.ErrFormat)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return damaged(err)
		}
	}
}

// A limitedReader fails where an archive unpacks to more than it may. Files are
// refused by the size that they declare; this ends what declares none: headers,
// padding, and what is behind the end.
type limitedReader struct {
	r     io.Reader
	left  int64
	limit int64
	zeros int // bytes read last that are zero
}

func (l *limitedReader) Read(b []byte) (int, error) {
	if l.left <= 0 {
		return 0, tooMuch(l.limit)
	}
	n, err := l.r.Read(b[:min(int64(len(b)), l.left)])
	l.left -= int64(n)
	if trail := n - len(bytes.TrimRight(b[:n], "\x00")); trail < n {
		l.zeros = trail
	} else {
		l.zeros += n
	}
	return n, err
}
