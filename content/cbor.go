package content

import (
	"encoding/binary"
	"fmt"
	"slices"
	"unicode/utf8"
)

// The little of CBOR (RFC 8949) that the formats here are written in: unsigned
// integers, byte and text strings, arrays and maps, each head in its shortest
// form, each length definite.
//
// It is written out, rather than left to a library, for its bounds: a library
// makes room for as many elements as an array claims, and an element of one
// byte becomes a File of 56. This reader knows the fewest bytes that each
// element takes, never recurses, and takes one encoding of a value only.
// (Tests hold it against fxamacker/cbor.)

// Major types of CBOR items.
const (
	majorUint  = 0
	majorBytes = 2
	majorText  = 3
	majorArray = 4
	majorMap   = 5
)

var majorNames = [8]string{"number", "negative number", "byte string", "text", "array", "map", "tag", "simple value"}

// appendHead appends the head of an item: its type, and its value or length.
func appendHead(b []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n < 1<<8:
		return append(b, major|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	default:
		return binary.BigEndian.AppendUint64(append(b, major|27), n)
	}
}

func appendText(b []byte, s string) []byte {
	return append(appendHead(b, majorText, uint64(len(s))), s...)
}

func appendBytes(b, s []byte) []byte {
	return append(appendHead(b, majorBytes, uint64(len(s))), s...)
}

// A reader takes items from bytes that lie in one or more pieces. After the
// first error it gives zeros, and err says what was wrong.
type reader struct {
	piece []byte   // what is left of the piece being read
	rest  [][]byte // the pieces that follow
	left  int      // bytes not yet taken, of all pieces
	size  int      // bytes there were
	err   error    // wraps ErrFormat
}

func newReader(pieces ...[]byte) *reader {
	r := &reader{rest: pieces}
	for _, p := range pieces {
		r.size += len(p)
	}
	r.left = r.size
	return r
}

// fail notes the first error.
func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: byte %d: %s", ErrFormat, r.size-r.left, fmt.Sprintf(format, args...))
	}
}

// take returns the next n bytes, which stay those of the piece unless they
// cross to the next.
func (r *reader) take(n int) []byte {
	if r.err != nil {
		return nil
	}
	if n > r.left {
		r.fail("ends %d bytes early", n-r.left)
		return nil
	}
	r.left -= n
	if n <= len(r.piece) {
		b := r.piece[:n:n]
		r.piece = r.piece[n:]
		return b
	}
	b := make([]byte, 0, n)
	for len(b) < n {
		if len(r.piece) == 0 {
			r.piece, r.rest = r.rest[0], r.rest[1:]
		}
		k := min(n-len(b), len(r.piece))
		b = append(b, r.piece[:k]...)
		r.piece = r.piece[k:]
	}
	return b
}

// head returns the value or length of the next item, which must be of the type.
func (r *reader) head(major byte) uint64 {
	b := r.take(1)
	if r.err != nil {
		return 0
	}
	if got := b[0] >> 5; got != major {
		r.fail("a %s where a %s belongs", majorNames[got], majorNames[major])
		return 0
	}
	short := b[0] & 31
	if short < 24 {
		return uint64(short)
	}
	if short > 27 {
		r.fail("a length that is not told")
		return 0
	}
	width := 1 << (short - 24)
	var n uint64
	for _, c := range r.take(width) {
		n = n<<8 | uint64(c)
	}
	// The value must not have fitted in half the width.
	if r.err == nil && (n < 24 || width > 1 && n>>(4*width) == 0) {
		r.fail("a number longer than it has to be")
	}
	return n
}

// number returns the next item, an integer of at most limit.
func (r *reader) number(limit uint64) uint64 {
	n := r.head(majorUint)
	if n > limit {
		r.fail("number %d is over the limit of %d", n, limit)
		return 0
	}
	return n
}

// length returns the length of the next string, at most limit bytes.
func (r *reader) length(major byte, limit int) int {
	n := r.head(major)
	if n > uint64(limit) {
		r.fail("a %s of %d bytes is over the limit of %d", majorNames[major], n, limit)
		return 0
	}
	return int(n)
}

// text returns the next item, a text of at most limit bytes.
func (r *reader) text(limit int) string {
	b := r.take(r.length(majorText, limit))
	if !utf8.Valid(b) {
		r.fail("text that is not UTF-8")
		return ""
	}
	return string(b)
}

// fixed fills dst with the next item, a byte string of exactly its length.
func (r *reader) fixed(dst []byte) {
	if n := r.length(majorBytes, len(dst)); r.err == nil && n != len(dst) {
		r.fail("a byte string of %d bytes where %d belong", n, len(dst))
	}
	copy(dst, r.take(len(dst)))
}

func (r *reader) hash() (h Hash) {
	r.fixed(h[:])
	return h
}

// array returns how many elements the next item, an array, has. Each takes
// least bytes or more, so that there is no room for more than the rest allows.
func (r *reader) array(limit, least int) int {
	n := r.head(majorArray)
	switch {
	case n > uint64(limit):
		r.fail("%d elements are over the limit of %d", n, limit)
		return 0
	case n > uint64(r.left/least):
		r.fail("%d elements can't lie in %d bytes", n, r.left)
		return 0
	}
	return int(n)
}

// tuple reads the head of an array of exactly n elements.
func (r *reader) tuple(n int) {
	if got := r.head(majorArray); r.err == nil && got != uint64(n) {
		r.fail("%d elements where %d belong", got, n)
	}
}

// fields reads a map. Its first key is "v", the format's version; the others are
// some of names, in that order (by length, then bytes). read takes the value of
// one of them.
func (r *reader) fields(names []string, read func(name string)) {
	n := r.head(majorMap)
	if n < 1 || n > 1+uint64(len(names)) {
		r.fail("%d keys (want 1 to %d)", n, 1+len(names))
	}
	r.version()
	for ; n > 1 && r.err == nil; n-- {
		name := r.text(maxKey)
		i := slices.Index(names, name)
		if i < 0 {
			r.fail("key %+q is unknown, doubled or out of order", name)
			return
		}
		names = names[i+1:]
		read(name)
	}
}

// version reads the key and value that every map begins with, and refuses what a
// later version of the format has written.
func (r *reader) version() {
	if key := r.text(maxKey); r.err == nil && key != "v" {
		r.fail("no version")
	}
	if v := r.number(1 << 32); r.err == nil && v != version {
		r.fail("format version %d, where this node knows version %d: update p2pnode", v, version)
	}
}

// maxKey bounds the keys of maps, those of labels apart.
const maxKey = 16

// end returns the first error, or one if bytes are left.
func (r *reader) end() error {
	if r.err == nil && r.left > 0 {
		r.fail("%d bytes too many", r.left)
	}
	return r.err
}
