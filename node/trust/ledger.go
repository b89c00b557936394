package trust

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// A ledger is the issuer's append-only record of what it did: invites, issued
// certificates, revocations. A record is on disk before anyone is told of it.
//
// On disk a record is its length (4 bytes, big endian), a chain sum, and the
// CBOR of an entry. The chain sum is the SHA-256 of the sum before it and the
// record, so a line that was changed or taken out is found when the ledger is
// opened. A record cut short at the end was never acknowledged, and is dropped.
type ledger struct {
	f   *os.File
	sum [sha256.Size]byte
}

const (
	maxRecord   = 4 << 10
	ledgerStart = "p2pnode ledger 1\n"
)

type deed uint8

const (
	invited   deed = iota + 1 // a token was made
	withdrawn                 // a token was taken back
	issued                    // a certificate was signed, by token if Token is set
	revoked                   // a device lost its membership
)

// An entry is one line of the ledger; which fields are set depends on the deed.
type entry struct {
	Deed   deed   `cbor:"1,keyasint"`
	At     int64  `cbor:"2,keyasint"` // seconds since 1970
	Token  []byte `cbor:"3,keyasint,omitempty"`
	Secret []byte `cbor:"4,keyasint,omitempty"` // SHA-256 of the token's secret
	Uses   int    `cbor:"5,keyasint,omitempty"`
	Site   string `cbor:"6,keyasint,omitempty"`
	Name   string `cbor:"7,keyasint,omitempty"`
	Until  int64  `cbor:"8,keyasint,omitempty"` // end of token or certificate
	Device string `cbor:"9,keyasint,omitempty"`
	Peer   string `cbor:"10,keyasint,omitempty"` // in its text form
	Key    []byte `cbor:"11,keyasint,omitempty"` // key tag
	Roles  Roles  `cbor:"12,keyasint,omitempty"`
	Serial []byte `cbor:"13,keyasint,omitempty"`
	Reason string `cbor:"14,keyasint,omitempty"`
}

func (e entry) at() time.Time    { return time.Unix(e.At, 0).UTC() }
func (e entry) until() time.Time { return time.Unix(e.Until, 0).UTC() }

// openLedger replays the ledger at path into apply and makes it ready to append.
func openLedger(path string, apply func(entry)) (_ *ledger, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	l := &ledger{f: f}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	if size == 0 {
		_, err = f.WriteString(ledgerStart)
		return l, errors.Join(err, f.Sync())
	}
	head := make([]byte, len(ledgerStart))
	if _, err := f.ReadAt(head, 0); err != nil || string(head) != ledgerStart {
		return nil, fmt.Errorf("%w: %s is no ledger", ErrDamaged, path)
	}
	end := int64(len(ledgerStart))
	for end < size {
		n, e, rerr := l.readAt(end, size)
		if errors.Is(rerr, errCutShort) {
			break
		}
		if rerr != nil {
			return nil, fmt.Errorf("%w: ledger at byte %d: %v", ErrDamaged, end, rerr)
		}
		apply(e)
		end += n
	}
	if err := f.Truncate(end); err != nil {
		return nil, err
	}
	_, err = f.Seek(end, io.SeekStart)
	return l, err
}

var errCutShort = errors.New("cut short")

func (l *ledger) readAt(pos, size int64) (int64, entry, error) {
	var e entry
	head := make([]byte, 4+sha256.Size)
	if pos+int64(len(head)) > size {
		return 0, e, errCutShort
	}
	if _, err := l.f.ReadAt(head, pos); err != nil {
		return 0, e, err
	}
	n := int64(binary.BigEndian.Uint32(head))
	end := pos + int64(len(head)) + n
	switch {
	case n > maxRecord:
		return 0, e, fmt.Errorf("record of %d bytes", n)
	case end > size:
		return 0, e, errCutShort
	}
	body := make([]byte, n)
	if _, err := l.f.ReadAt(body, pos+int64(len(head))); err != nil {
		return 0, e, err
	}
	sum := l.next(body)
	if !bytes.Equal(sum[:], head[4:]) {
		if end == size {
			return 0, e, errCutShort // a crash may leave the last record's length without its bytes
		}
		return 0, e, errors.New("chain sum does not match")
	}
	if err := decode(body, &e); err != nil {
		return 0, e, err
	}
	l.sum = sum
	return end - pos, e, nil
}

func (l *ledger) next(body []byte) [sha256.Size]byte {
	return sha256.Sum256(append(l.sum[:], body...))
}

// append makes one entry durable. A deed is always one entry, so none is ever
// half done. After an error the ledger refuses to go on, because what the disk
// holds is not known (a failed fsync must not be tried again).
func (l *ledger) append(e entry) error {
	if l.f == nil {
		return errors.New("ledger failed before: restart the node")
	}
	body := encode(e)
	if len(body) > maxRecord {
		return fmt.Errorf("ledger record of %d bytes, at most %d allowed", len(body), maxRecord)
	}
	sum := l.next(body)
	out := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	_, err := l.f.Write(append(append(out, sum[:]...), body...))
	if err = errors.Join(err, l.f.Sync()); err != nil {
		err = errors.Join(fmt.Errorf("write ledger: %w", err), l.f.Close())
		l.f = nil
		return err
	}
	l.sum = sum
	return nil
}

func (l *ledger) close() error {
	if l.f == nil {
		return nil
	}
	return l.f.Close()
}
