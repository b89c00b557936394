package trust

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.uber.org/zap"
)

// What may never go back is kept twice, in two slots that are files of the same
// content:
//
//	p2pnode trust state 2\n
//	CBOR of a state, in the deterministic encoding
//	SHA-256 of the first line, "state\n", and the CBOR (32 bytes)
//
// A change is written to both, one after the other, each by a temporary file,
// fsync, rename and fsync of the folder; only then is it used. So at every moment
// one of the two is at rest, and either alone has everything that was ever
// acknowledged. Opening takes the one of the higher generation and mends the
// other before anything new is accepted.
//
// The first line and the sum at the end are those of every version to come: a
// program knows the slot of a newer one for what it is, and leaves it alone.
const (
	sealStart   = "p2pnode trust state "
	sealVersion = 2
	stateName   = "state"
)

var slotNames = [2]string{stateName + ".a", stateName + ".b"}

// state is what may never go back, and the files without which an identity is
// none. Values in it are replaced, never changed: readers have the old one.
type state struct {
	// Generation counts the attempts to write a state: the newer slot has more.
	Generation uint64     `cbor:"1,keyasint"`
	Floor      int64      `cbor:"2,keyasint"`           // of the clock, seconds since 1970
	Beacon     []byte     `cbor:"3,keyasint,omitempty"` // the newest
	BeaconAt   int64      `cbor:"4,keyasint,omitempty"`
	Bootstrap  []string   `cbor:"5,keyasint,omitempty"`
	Lists      [][]byte   `cbor:"6,keyasint,omitempty"` // the newest revocation list of each issuer, by issuer
	Marks      []mark     `cbor:"7,keyasint,omitempty"` // by kind and name
	Ledger     *ledgerEnd `cbor:"8,keyasint,omitempty"` // an issuer's
	// Files are the keys and certificates, by name. Those in the folder are for
	// other tools to read; what counts is here.
	Files map[string][]byte `cbor:"9,keyasint"`
}

func (s state) file(name string) ([]byte, error) {
	if b, ok := s.Files[name]; ok {
		return b, nil
	}
	return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
}

func (s state) withFile(name string, b []byte) map[string][]byte {
	files := maps.Clone(s.Files)
	files[name] = b
	return files
}

func seal(version int, name string, payload []byte) []byte {
	head := sealStart + strconv.Itoa(version) + "\n"
	return append(append([]byte(head), payload...), sealSum(name, head, payload)...)
}

func sealSum(name, head string, payload []byte) []byte {
	h := sha256.New()
	h.Write([]byte(head + name + "\n"))
	h.Write(payload)
	return h.Sum(nil)
}

// unseal returns the payload of a sealed file of the version given; ErrNewer if
// it is of a later one.
func unseal(version int, name string, b []byte) ([]byte, error) {
	line, _, found := bytes.Cut(b[:min(len(b), 64)], []byte("\n"))
	digits, ours := strings.CutPrefix(string(line), sealStart)
	has, err := strconv.Atoi(digits)
	if !found || !ours || err != nil || len(b)-len(line)-1 < sha256.Size {
		return nil, fmt.Errorf("%w: %s is cut short or of another kind", ErrDamaged, name)
	}
	rest := b[len(line)+1:]
	payload, sum := rest[:len(rest)-sha256.Size], rest[len(rest)-sha256.Size:]
	switch {
	case !bytes.Equal(sealSum(name, string(line)+"\n", payload), sum):
		return nil, fmt.Errorf("%w: the checksum of %s is wrong", ErrDamaged, name)
	case has > version:
		return nil, fmt.Errorf("%s is of format %d, this program knows %d: %w", name, has, version, ErrNewer)
	case has < version:
		return nil, fmt.Errorf("%w: %s is of format %d", ErrDamaged, name, has)
	}
	return payload, nil
}

func parseState(b []byte) (state, error) {
	var s state
	payload, err := unseal(sealVersion, stateName, b)
	if err != nil {
		return s, err
	}
	if err := decode(payload, &s); err != nil {
		return s, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	return s, nil
}

// A memory holds the state of an identity in memory and on disk.
type memory struct {
	dir folder
	log *zap.Logger

	mu     sync.Mutex
	now    state
	last   uint64 // the highest generation that was tried
	failed error  // after it nothing is accepted any more
	closed bool
}

// makeMemory writes a first state into a folder that has none.
func makeMemory(dir folder, s state) (*memory, error) {
	v := &memory{dir: dir, log: zap.NewNop()}
	return v, v.commit(func(next *state) error { *next = s; return nil })
}

// openMemory reads the state back. It mends one slot by the other, or fails: it
// never returns less than was acknowledged.
func openMemory(dir folder, log *zap.Logger) (*memory, error) {
	v := &memory{dir: dir, log: log}
	var raw [2][]byte
	var have [2]state
	var bad [2]error
	for i, name := range slotNames {
		if raw[i], bad[i] = dir.read(name); bad[i] == nil {
			have[i], bad[i] = parseState(raw[i])
		}
		if errors.Is(bad[i], ErrNewer) {
			return nil, bad[i]
		}
	}
	best := 0
	switch {
	case bad[0] != nil && bad[1] != nil:
		if dir.has(stateFile1) {
			return v, v.migrate()
		}
		return nil, fmt.Errorf("%w (both copies of it: %s: %v; %s: %v)", ErrDamaged, slotNames[0], bad[0], slotNames[1], bad[1])
	case bad[0] != nil:
		best = 1
	case bad[1] != nil:
	case !bytes.Equal(have[0].Files[hostKeyFile], have[1].Files[hostKeyFile]):
		return nil, fmt.Errorf("%w: its two copies belong to different nodes", ErrDamaged)
	case have[1].Generation > have[0].Generation:
		best = 1
	case have[1].Generation == have[0].Generation && !bytes.Equal(raw[0], raw[1]):
		return nil, fmt.Errorf("%w: its two copies contradict each other", ErrDamaged)
	}
	other := 1 - best
	if !bytes.Equal(raw[0], raw[1]) {
		why := bad[other]
		if why == nil {
			why = errors.New("it is older: the last change was cut short, or a file was put back")
		}
		log.Warn("trust state: one copy mended by the other", zap.String("file", slotNames[other]), zap.Error(why))
		if err := dir.write(slotNames[other], raw[best]); err != nil {
			return nil, fmt.Errorf("mend trust state: %w", err)
		}
	}
	v.now, v.last = have[best], have[best].Generation
	if err := v.forgetFormat1(); err != nil {
		return nil, err
	}
	v.mendFiles()
	return v, nil
}

// mendFiles puts the files back that others see. The node doesn't need them, so
// failing is no reason not to run.
func (v *memory) mendFiles() {
	for _, name := range slices.Sorted(maps.Keys(v.now.Files)) {
		got, err := v.dir.read(name)
		if err == nil && bytes.Equal(got, v.now.Files[name]) {
			continue
		}
		if err == nil {
			err = errors.New("it is not as it was written")
		}
		v.log.Warn("trust state: file written again", zap.String("file", name), zap.Error(err))
		v.showFile(name, v.now.Files[name])
	}
}

func (v *memory) showFile(name string, b []byte) {
	if err := v.dir.write(name, b); err != nil {
		v.log.Warn("trust state: file not written; the node has another copy", zap.String("file", name), zap.Error(err))
	}
}

// get returns the state that is in use.
func (v *memory) get() state {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.now
}

// errUnchanged is what a change returns that has nothing to write.
var errUnchanged = errors.New("unchanged")

// commit makes a change durable, then uses it. change gets the state to change,
// and may refuse. If writing fails the old state stays in use; if it fails in a
// way that leaves the disk's content unknown, nothing is accepted from then on.
func (v *memory) commit(change func(next *state) error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return fmt.Errorf("trust state: %w", fs.ErrClosed)
	}
	next := v.now
	if err := change(&next); errors.Is(err, errUnchanged) {
		return nil
	} else if err != nil {
		return err
	}
	if v.failed != nil {
		return fmt.Errorf("%w (%w)", ErrStateFailed, v.failed)
	}
	// A number that was tried may be on disk: it is not used for anything else.
	v.last++
	next.Generation = v.last
	b := seal(sealVersion, stateName, encode(next))
	for _, name := range slotNames {
		if err := v.dir.write(name, b); err != nil {
			if errors.Is(err, errUnsure) {
				v.failed = err
				v.log.Error("trust state can't be kept: nothing new is accepted until the node is started again", zap.Error(err))
			}
			return err
		}
	}
	v.now = next
	return nil
}

// close lets nothing be written any more, and returns when nothing is: the folder
// may be somebody else's the moment after.
func (v *memory) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
}

// broken returns why nothing is accepted any more; nil if all is well.
func (v *memory) broken() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.failed
}
