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
// opened. A sealed file beside it tells how far the ledger was acknowledged: up to
// there everything has to be there, and only behind it may a record be cut short.
type ledger struct {
	dir folder
	f   *os.File
	end ledgerEnd
}

// ledgerEnd is what the sealed file holds.
type ledgerEnd struct {
	Size int64             `cbor:"1,keyasint"`
	Sum  [sha256.Size]byte `cbor:"2,keyasint"`
}

const (
	maxRecord   = 4 << 10
	ledgerStart = "p2pnode ledger 1\n"

	ledgerFile    = "ledger"
	ledgerEndFile = "ledger.end"
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

// newLedger makes an empty ledger in a folder.
func newLedger(dir folder) error {
	return errors.Join(dir.write(ledgerFile, []byte(ledgerStart)), dir.writeSealed(ledgerEndFile, ledgerEnd{Size: int64(len(ledgerStart))}))
}

// openLedger replays the ledger in dir into apply and makes it ready to append.
func openLedger(dir folder, apply func(entry)) (_ *ledger, err error) {
	l := &ledger{dir: dir}
	var told ledgerEnd
	if err := dir.readSealed(ledgerEndFile, &told); err != nil {
		return nil, err
	}
	if l.f, err = os.OpenFile(dir.join(ledgerFile), os.O_RDWR, 0); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.f.Close())
		}
	}()
	if err := l.replay(told, apply); err != nil {
		return nil, err
	}
	if err := l.f.Truncate(l.end.Size); err != nil {
		return nil, err
	}
	_, err = l.f.Seek(l.end.Size, io.SeekStart)
	return l, err
}

func (l *ledger) replay(told ledgerEnd, apply func(entry)) error {
	size, err := l.f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	start := make([]byte, len(ledgerStart))
	if _, err := l.f.ReadAt(start, 0); err != nil || string(start) != ledgerStart {
		return fmt.Errorf("%w: %s is no ledger", ErrDamaged, l.f.Name())
	}
	l.end.Size = int64(len(start))
	reached := l.end == told
	for l.end.Size < size {
		n, e, err := l.readAt(l.end.Size, size)
		if errors.Is(err, errCutShort) && reached {
			break
		}
		if err != nil {
			return fmt.Errorf("%w: ledger at byte %d: %v", ErrDamaged, l.end.Size, err)
		}
		apply(e)
		l.end.Size += n
		reached = reached || l.end == told
	}
	if !reached {
		return fmt.Errorf("%w: the ledger ends before what it acknowledged", ErrDamaged)
	}
	return nil
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
	l.end.Sum = sum
	return end - pos, e, nil
}

func (l *ledger) next(body []byte) [sha256.Size]byte {
	return sha256.Sum256(append(l.end.Sum[:], body...))
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
	next := ledgerEnd{Sum: l.next(body)}
	out := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	out = append(append(out, next.Sum[:]...), body...)
	next.Size = l.end.Size + int64(len(out))
	_, err := l.f.Write(out)
	if err = errors.Join(err, l.f.Sync()); err == nil {
		err = l.dir.writeSealed(ledgerEndFile, next)
	}
	if err != nil {
		err = errors.Join(fmt.Errorf("write ledger: %w", err), l.f.Close())
		l.f = nil
		return err
	}
	l.end = next
	return nil
}

func (l *ledger) close() error {
	if l.f == nil {
		return nil
	}
	return l.f.Close()
}
