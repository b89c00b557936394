package archive

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/p2pnode/p2pnode/content"
)

// A Debian package (deb(5)) is an ar archive: a magic word, and members of
//
//	name 16, time 12, owner 6, group 6, mode 8, size 10 bytes, all text; "`\n"
//	its bytes, and one more if they are odd
//
// The members are debian-binary, which has the format's version, control.tar and
// data.tar, both packed or not, in that order. Between and behind them may be
// others whose names begin with "_", which are for others to read.
const (
	arMagic  = "!<arch>\n"
	arHeader = 60

	// The folder that dpkg-deb --raw-extract gives to what is in control.tar.
	controlFolder = "DEBIAN"
)

func isDeb(head []byte) bool { return bytes.HasPrefix(head, []byte(arMagic+"debian-binary")) }

// deb reads a Debian package: the files that it installs, and what it says of
// itself in the folder DEBIAN.
func (t *tree) deb(src *source) error {
	wanted := []string{"debian-binary", "control.tar", "data.tar"}
	for at := int64(len(arMagic)); at < src.size; {
		name, member, err := arMember(src, at)
		if err != nil {
			return err
		}
		at += arHeader + member.Size() + member.Size()%2
		if strings.HasPrefix(name, "_") {
			continue
		}
		if len(wanted) == 0 || name != wanted[0] && !strings.HasPrefix(name, wanted[0]+".") {
			return fmt.Errorf("%w: a Debian package can't have %+q here", content.ErrFormat, name)
		}
		part := wanted[0]
		wanted = wanted[1:]
		if err := t.debPart(part, member); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if len(wanted) > 0 {
		return damaged(io.ErrUnexpectedEOF)
	}
	return nil
}

func (t *tree) debPart(part string, member *io.SectionReader) error {
	head := make([]byte, tarBlock)
	n, err := member.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return err
	}
	head = head[:n]
	switch part {
	case "debian-binary":
		if !bytes.HasPrefix(head, []byte("2.")) {
			return fmt.Errorf("%w: version %+q of the format is not known here", content.ErrFormat, head[:min(n, 8)])
		}
		return nil
	case "control.tar":
		_, err = t.packedTar(member, head, controlFolder)
	default:
		_, err = t.packedTar(member, head, "")
	}
	return err
}

// arMember returns the name and the bytes of the member at a place in an ar.
func arMember(src *source, at int64) (name string, member *io.SectionReader, err error) {
	h := make([]byte, arHeader)
	n, err := src.ReadAt(h, at)
	if n < len(h) {
		return "", nil, damaged(io.ErrUnexpectedEOF)
	}
	if err != nil && err != io.EOF {
		return "", nil, err
	}
	size, err := strconv.ParseInt(strings.TrimRight(string(h[48:58]), " "), 10, 64)
	if err != nil || size < 0 || string(h[58:]) != "`\n" {
		return "", nil, fmt.Errorf("%w: the archive is damaged: no member of an ar at byte %d: get it again", content.ErrFormat, at)
	}
	if size > src.size-at-arHeader {
		return "", nil, damaged(io.ErrUnexpectedEOF)
	}
	return strings.TrimRight(string(h[:16]), " /"), io.NewSectionReader(src, at+arHeader, size), nil
}
