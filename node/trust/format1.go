package trust

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
)

// The first format kept each thing once: the state without lists and releases,
// the releases, the heads of the lists, each list under its issuer's name, and
// the issuer's ledger with a file that told its end. It is read once, and taken
// away before anything is accepted, so that what it says can't come back.
const (
	stateFile1    = "state"
	releasesFile1 = "releases"
	headsFile1    = "lists"
	listsDir1     = "revoked"
	ledgerFile1   = issuerDir + "/ledger"
	ledgerEnd1    = issuerDir + "/ledger.end"
)

type state1 struct {
	Floor     int64    `cbor:"1,keyasint"`
	Beacon    []byte   `cbor:"2,keyasint,omitempty"`
	BeaconAt  int64    `cbor:"3,keyasint,omitempty"`
	Bootstrap []string `cbor:"4,keyasint,omitempty"`
}

type release1 struct {
	_        struct{} `cbor:",toarray"`
	Name     string
	Sequence uint64
	Content  [32]byte
}

// migrate takes a folder of the first format over. Until the new slots are
// written it only adds to it, so it can be cut short at any point.
func (v *memory) migrate() error {
	s, err := readFormat1(v.dir)
	if err != nil {
		return err
	}
	if s.Ledger != nil {
		for _, name := range ledgerNames {
			if err := v.dir.copy(name, ledgerFile1, s.Ledger.Size); err != nil {
				return err
			}
		}
	}
	if err := v.commit(func(next *state) error { *next = s; return nil }); err != nil {
		return err
	}
	v.log.Info("trust state: taken over from format 1")
	return v.forgetFormat1()
}

// forgetFormat1 removes what migrate left behind, durably.
func (v *memory) forgetFormat1() error {
	if !v.dir.has(stateFile1) {
		return nil
	}
	err := errors.Join(v.dir.remove(releasesFile1, headsFile1, ledgerFile1, ledgerEnd1), v.dir.at(listsDir1).clear())
	if err == nil && v.dir.has(issuerDir) {
		err = v.dir.disk.syncDir(v.dir.join(issuerDir))
	}
	if err == nil {
		err = v.dir.disk.syncDir(v.dir.path)
	}
	if err == nil { // last, as it is what is looked for
		err = v.dir.remove(stateFile1)
	}
	if err == nil {
		err = v.dir.disk.syncDir(v.dir.path)
	}
	if err != nil {
		return fmt.Errorf("remove trust state of format 1: %w", err)
	}
	return nil
}

func readFormat1(d folder) (state, error) {
	var old state1
	var releases []release1
	var heads []head
	s := state{Files: make(map[string][]byte)}
	for _, f := range []struct {
		name string
		into any
	}{{stateFile1, &old}, {releasesFile1, &releases}, {headsFile1, &heads}} {
		if err := readSealed1(d, f.name, f.name, f.into); err != nil {
			return s, err
		}
	}
	s.Floor, s.Beacon, s.BeaconAt, s.Bootstrap = old.Floor, old.Beacon, old.BeaconAt, old.Bootstrap
	for _, r := range releases {
		s.Marks = append(s.Marks, mark{Kind: releaseMark, Name: r.Name, Sequence: r.Sequence, Hash: r.Content})
	}
	files := []string{hostKeyFile, rootFile, credentialFile}
	if d.has(issuerDir) {
		files = append(files, signerFiles...)
		var end ledgerEnd
		if err := readSealed1(d, ledgerEnd1, "ledger.end", &end); err != nil {
			return s, err
		}
		s.Ledger = &end
	}
	for _, name := range files {
		b, err := readPresent(d, name)
		if err != nil {
			return s, err
		}
		s.Files[name] = b
	}
	for _, h := range heads {
		raw, err := readPresent(d, listsDir1+"/"+hex.EncodeToString(h.Issuer[:]))
		if err != nil {
			return s, err
		}
		s.Lists = append(s.Lists, raw)
	}
	return s, checkFormat1(d, s, heads)
}

// checkFormat1 refuses to take over what could not be used.
func checkFormat1(d folder, s state, heads []head) error {
	id := &Identity{}
	if err := id.read(s); err != nil {
		return err
	}
	for _, h := range heads {
		if l := id.revoked.lists[h.Issuer]; l == nil || l.Number < h.Number {
			return fmt.Errorf("%w: a revocation list is older than it was", ErrDamaged)
		}
	}
	if s.Ledger == nil {
		return nil
	}
	for _, name := range []string{issuerDir + "/member", issuerDir + "/operator"} {
		if _, err := readSigner(s.file, name); err != nil {
			return err
		}
	}
	f, err := d.disk.open(d.join(ledgerFile1))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	defer f.Close()
	// What is whole behind the acknowledged end counts as done there.
	*s.Ledger, err = scanLedger(f, *s.Ledger, func(entry) {})
	return err
}

func readPresent(d folder, name string) ([]byte, error) {
	b, err := d.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s is missing", ErrDamaged, name)
	}
	return b, err
}

func readSealed1(d folder, name, sealed string, v any) error {
	b, err := readPresent(d, name)
	if err != nil {
		return err
	}
	payload, err := unseal(1, sealed, b)
	if err != nil {
		return err
	}
	if err := decode(payload, v); err != nil {
		return fmt.Errorf("%w: %s: %v", ErrDamaged, name, err)
	}
	return nil
}
