package store

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
)

// A journal, and a releases file, is a magic word of eight bytes and records:
//
//	checksum  4 bytes  CRC-32C of what follows
//	kind      1 byte
//	length    4 bytes  of the payload
//	payload
//
// Numbers are little-endian. The kinds are
//
//	list      chunk (4 bytes), its node         a block list was learnt
//	verified  chunk (4 bytes), mask (8 bytes)   these blocks of it are right, and synced
//	clean     nothing                           everything before was synced
//	unsure    nothing                           some of what was here got lost
//	release   a signed envelope                 in the releases file only
//
// A list stands before the verified records of its chunk. Masks add up: a block
// that is lost has the whole journal written anew. What follows the first record
// that is cut short or has a wrong checksum doesn't count, and is written over.
// A clean record counts at the very end only.
const (
	magicSize    = 8
	journalMagic = "p2pnode\x01"
	releaseMagic = "p2pnrel\x01"

	recordHead = 4 + 1 + 4
	maxPayload = MaxRelease // the largest; a list has 4 kB
)

const (
	kindList     = 'L'
	kindVerified = 'V'
	kindClean    = 'C'
	kindUnsure   = 'U'
	kindRelease  = 'R'
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A record is one of a journal.
type record struct {
	kind    byte
	payload []byte // valid until the next is read
	at      int64  // where in the file the payload begins
}

// errJournal says that a file does not begin as a journal does.
var errJournal = errors.New("not a journal")

// ErrNewer says that a file was written by a later version of this program. It is
// left as it is, and so is all that belongs to it.
var ErrNewer = errors.New("written by a newer version of p2pnode: install that version, or remove the folder")

// isNewer reports whether a file begins with a magic word of a later version than
// ours. The last byte of a word is its version. Later ones differ from 1 in two
// bits or more (2, 4, 6, 7, 8, 10 ...), so that a bit that flips makes no version.
func isNewer(head []byte, magic string) bool {
	v := magicSize - 1
	return len(head) >= magicSize && string(head[:v]) == magic[:v] && head[v] != 0 && bits.OnesCount8(head[v]^magic[v]) > 1
}

// readJournal gives the records of a journal of size bytes to each, and returns
// where the last good one ends. The error wraps errJournal if there is nothing
// good, and ErrNewer if it is of a later version; bytes that make no record are no
// error. It takes memory for one record.
func readJournal(r io.Reader, size int64, magic string, each func(record) error) (end int64, err error) {
	b := bufio.NewReaderSize(r, 16<<10)
	var head [recordHead]byte
	if _, err := io.ReadFull(b, head[:magicSize]); unlessCut(err) != nil {
		return 0, err // there may be one, on a disk that doesn't answer
	} else if err != nil {
		return 0, fmt.Errorf("%w: %w", errJournal, err)
	}
	if isNewer(head[:], magic) {
		return 0, ErrNewer
	}
	if string(head[:magicSize]) != magic {
		return 0, fmt.Errorf("%w: begins with %q", errJournal, head[:magicSize])
	}
	end = magicSize
	var payload []byte
	for {
		if _, err := io.ReadFull(b, head[:]); err != nil {
			return end, unlessCut(err)
		}
		n := int64(binary.LittleEndian.Uint32(head[5:]))
		if n > maxPayload || n > size-end-recordHead {
			return end, nil
		}
		if int64(cap(payload)) < n {
			payload = make([]byte, n)
		}
		payload = payload[:n]
		if _, err := io.ReadFull(b, payload); err != nil {
			return end, unlessCut(err)
		}
		sum := crc32.Update(crc32.Checksum(head[4:], castagnoli), castagnoli, payload)
		if sum != binary.LittleEndian.Uint32(head[:]) {
			return end, nil
		}
		if err := each(record{kind: head[4], payload: payload, at: end + recordHead}); err != nil {
			return end, err
		}
		end += recordHead + n
	}
}

// unlessCut drops the errors that say that a file ends.
func unlessCut(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// appendRecord appends a record whose payload is that of parts.
func appendRecord(b []byte, kind byte, parts ...[]byte) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0, kind, 0, 0, 0, 0)
	for _, p := range parts {
		b = append(b, p...)
	}
	binary.LittleEndian.PutUint32(b[start+5:], uint32(len(b)-start-recordHead))
	binary.LittleEndian.PutUint32(b[start:], crc32.Checksum(b[start+4:], castagnoli))
	return b
}

func appendList(b []byte, chunk int, node []byte) []byte {
	return appendRecord(b, kindList, binary.LittleEndian.AppendUint32(nil, uint32(chunk)), node)
}

func appendVerified(b []byte, chunk int, mask uint64) []byte {
	var payload [12]byte
	binary.LittleEndian.PutUint32(payload[:], uint32(chunk))
	binary.LittleEndian.PutUint64(payload[4:], mask)
	return appendRecord(b, kindVerified, payload[:])
}

// list returns what a list record says; ok is false if it says nothing that a
// content of so many chunks can have.
func (r record) list(chunks int) (chunk int, node []byte, ok bool) {
	if r.kind != kindList || len(r.payload) < 4 {
		return 0, nil, false
	}
	n := binary.LittleEndian.Uint32(r.payload)
	return int(n), r.payload[4:], int64(n) < int64(chunks)
}

// verified does the same for a verified record.
func (r record) verified(chunks int) (chunk int, mask uint64, ok bool) {
	if r.kind != kindVerified || len(r.payload) != 12 {
		return 0, 0, false
	}
	n := binary.LittleEndian.Uint32(r.payload)
	return int(n), binary.LittleEndian.Uint64(r.payload[4:]), int64(n) < int64(chunks)
}
