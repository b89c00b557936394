package trust

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// A ledger is the issuer's append-only record of what it did: invites, issued
// certificates, revocations. A record is on disk before anyone is told of it.
//
// On disk a record is its length (4 bytes, big endian), a chain sum, and the
// CBOR of an entry. The chain sum is the SHA-256 of the sum before it and the
// record, so a line that was changed or taken out is found when the ledger is
// opened. There are two copies, and the state (memory.go) tells how far they were
// acknowledged: up to there one of them has to have everything, and only behind it
// may a record be cut short. Nothing is ever taken out: it is the record of who
// was admitted, of about 300 bytes for each certificate.
type ledger struct {
	memory *memory
	apply  func(entry)
	copies [2]file
	end    ledgerEnd
	failed error
}

// ledgerEnd is where an acknowledged ledger ends.
type ledgerEnd struct {
	Size int64             `cbor:"1,keyasint"`
	Sum  [sha256.Size]byte `cbor:"2,keyasint"`
}

const (
	maxRecord   = 4 << 10
	ledgerStart = "p2pnode ledger 1\n"
)

var ledgerNames = [2]string{issuerDir + "/ledger.a", issuerDir + "/ledger.b"}

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

// newLedger makes an empty ledger in a folder and returns its end.
func newLedger(dir folder) (*ledgerEnd, error) {
	for _, name := range ledgerNames {
		if err := dir.write(name, []byte(ledgerStart)); err != nil {
			return nil, err
		}
	}
	return &ledgerEnd{Size: int64(len(ledgerStart))}, nil
}

// openLedger replays the ledger of slots into apply and makes it ready to append;
// what is appended is applied too. A copy that is damaged, gone or behind is mended by the other.
func openLedger(v *memory, apply func(entry)) (_ *ledger, err error) {
	l := &ledger{memory: v, apply: apply}
	told := v.get().Ledger
	if told == nil {
		return nil, fmt.Errorf("%w: it says nothing of a ledger", ErrDamaged)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	best := -1
	var ends [2]ledgerEnd
	var bad [2]error
	for i := range ledgerNames {
		if l.copies[i], ends[i], bad[i] = openCopy(v.dir, i, *told); bad[i] == nil && (best < 0 || ends[i].Size > ends[best].Size) {
			best = i
		}
	}
	if best < 0 {
		return nil, fmt.Errorf("%w (both copies of the ledger: %w; %w)", ErrDamaged, bad[0], bad[1])
	}
	l.end = ends[best]
	if err := l.copies[best].Truncate(l.end.Size); err != nil {
		return nil, err
	}
	if other := 1 - best; ends[other] != l.end {
		if err := l.mend(other, best, bad[other]); err != nil {
			return nil, err
		}
	} else if err := l.copies[other].Truncate(l.end.Size); err != nil {
		return nil, err
	}
	// A record behind the acknowledged end that is whole counts from now on.
	if l.end != *told {
		if err := l.sync(); err != nil {
			return nil, err
		}
		if err := l.tell(); err != nil {
			return nil, err
		}
	}
	_, err = scanLedger(l.copies[best], l.end, apply)
	return l, err
}

// openCopy opens one copy and finds where it ends. The file is nil if it can't be
// used.
func openCopy(dir folder, i int, told ledgerEnd) (file, ledgerEnd, error) {
	f, err := dir.disk.open(dir.join(ledgerNames[i]))
	if err != nil {
		return nil, ledgerEnd{}, err
	}
	end, err := scanLedger(f, told, func(entry) {})
	if err != nil {
		return nil, ledgerEnd{}, errors.Join(fmt.Errorf("%s: %w", ledgerNames[i], err), f.Close())
	}
	return f, end, nil
}

// mend writes one copy anew from the other.
func (l *ledger) mend(bad, good int, why error) error {
	dir := l.memory.dir
	if why == nil {
		why = errors.New("it ends before the other")
	}
	l.memory.log.Warn("trust state: one copy mended by the other", zap.String("file", ledgerNames[bad]), zap.Error(why))
	if f := l.copies[bad]; f != nil { // Windows doesn't replace what is open
		l.copies[bad] = nil
		if err := f.Close(); err != nil {
			return err
		}
	}
	if err := dir.copy(ledgerNames[bad], ledgerNames[good], l.end.Size); err != nil {
		return fmt.Errorf("mend ledger: %w", err)
	}
	var err error
	l.copies[bad], err = dir.disk.open(dir.join(ledgerNames[bad]))
	return err
}

// scanLedger reads a ledger into apply and returns its end; told has to be a
// point on the way.
func scanLedger(f file, told ledgerEnd, apply func(entry)) (end ledgerEnd, err error) {
	size, err := f.Size()
	if err != nil {
		return end, err
	}
	start := make([]byte, len(ledgerStart))
	if _, err := f.ReadAt(start, 0); err != nil || string(start) != ledgerStart {
		return end, fmt.Errorf("%w: no ledger", ErrDamaged)
	}
	end.Size = int64(len(start))
	reached := end == told
	for end.Size < size {
		next, e, err := readRecord(f, end, size)
		if err != nil && reached {
			break // a crash leaves a record in part, or its length with zeros behind it
		}
		if err != nil {
			return end, fmt.Errorf("%w: ledger at byte %d: %v", ErrDamaged, end.Size, err)
		}
		apply(e)
		end = next
		reached = reached || end == told
	}
	if !reached {
		return end, fmt.Errorf("%w: the ledger ends before what it acknowledged", ErrDamaged)
	}
	return end, nil
}

// readRecord reads the record behind at, and returns where it ends.
func readRecord(f file, at ledgerEnd, size int64) (next ledgerEnd, e entry, err error) {
	head := make([]byte, 4+sha256.Size)
	if at.Size+int64(len(head)) > size {
		return next, e, errors.New("cut short")
	}
	if _, err := f.ReadAt(head, at.Size); err != nil {
		return next, e, err
	}
	n := int64(binary.BigEndian.Uint32(head))
	next.Size = at.Size + int64(len(head)) + n
	switch {
	case n > maxRecord:
		return next, e, fmt.Errorf("record of %d bytes", n)
	case next.Size > size:
		return next, e, errors.New("cut short")
	}
	body := make([]byte, n)
	if _, err := f.ReadAt(body, at.Size+int64(len(head))); err != nil {
		return next, e, err
	}
	next.Sum = at.sum(body)
	if !bytes.Equal(next.Sum[:], head[4:]) {
		return next, e, errors.New("chain sum does not match")
	}
	return next, e, decode(body, &e)
}

// sum returns the chain sum of a record behind this end.
func (at ledgerEnd) sum(body []byte) [sha256.Size]byte {
	return sha256.Sum256(append(at.Sum[:], body...))
}

// append makes one entry durable, then applies it. A deed is always one entry, so
// none is ever half done. If it fails for want of room, both copies are cut back
// and the next one may succeed; if the disk's content is not known any more, the
// ledger refuses to go on (a failed fsync must not be tried again).
func (l *ledger) append(e entry) error {
	if l.failed != nil {
		return fmt.Errorf("%w (%w)", ErrStateFailed, l.failed)
	}
	body := encode(e)
	if len(body) > maxRecord {
		return fmt.Errorf("ledger record of %d bytes, at most %d allowed", len(body), maxRecord)
	}
	next := ledgerEnd{Sum: l.end.sum(body)}
	out := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	out = append(append(out, next.Sum[:]...), body...)
	next.Size = l.end.Size + int64(len(out))

	err := l.write(out)
	for _, f := range l.copies {
		if err != nil { // nothing is promised of what a failed write leaves
			err = errors.Join(err, unsure(f.Truncate(l.end.Size)))
		}
	}
	if err == nil {
		err = l.sync()
	}
	if err == nil {
		// Now it can't be taken back: one slot may tell of it, and a restart counts
		// it. If telling fails, it has happened all the same.
		l.end = next
		l.apply(e)
		err = l.tell()
	}
	if errors.Is(err, errUnsure) {
		l.failed = err
	}
	if err != nil {
		return fmt.Errorf("write ledger: %w", err)
	}
	return nil
}

func (l *ledger) write(b []byte) error {
	for _, f := range l.copies {
		if _, err := f.WriteAt(b, l.end.Size); err != nil {
			return err
		}
	}
	return nil
}

func (l *ledger) sync() error {
	for _, f := range l.copies {
		if err := f.Sync(); err != nil {
			return unsure(err)
		}
	}
	return nil
}

// tell acknowledges the ledger up to its end.
func (l *ledger) tell() error {
	end := l.end
	return l.memory.commit(func(next *state) error { next.Ledger = &end; return nil })
}

func (l *ledger) close() error {
	var errs []error
	for i, f := range l.copies {
		if f != nil {
			errs = append(errs, f.Close())
		}
		l.copies[i] = nil
	}
	return errors.Join(errs...)
}
