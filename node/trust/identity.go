package trust

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
	ic "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// Files of an identity's folder. The keys and certificates are PEM, the rest is
// sealed (see folder.go).
const (
	hostKeyFile    = "host"           // .key: the libp2p host key
	credentialFile = "credential.pem" // leaf, then its issuer
	rootFile       = "root.pem"
	stateFile      = "state"
)

// state is what may never go back, apart from lists and releases.
type state struct {
	Floor     int64    `cbor:"1,keyasint"` // seconds since 1970
	Beacon    []byte   `cbor:"2,keyasint,omitempty"`
	BeaconAt  int64    `cbor:"3,keyasint,omitempty"`
	Bootstrap []string `cbor:"4,keyasint,omitempty"`
}

// An Identity is a node's place in its enterprise: its host key and credential,
// the trust root, and all it remembers so that nobody can turn it back. It is
// kept in the folder "trust" of the data folder, which it locks until Close.
type Identity struct {
	dir       folder
	locked    *flock.Flock
	root      *root
	key       ic.PrivKey
	clock     *Clock
	revoked   *Revocations
	releases  *sequences
	authority *authority // nil unless this node issues credentials

	mu      sync.Mutex
	current *proof
	state   state
}

// An Option changes how an identity is opened.
type Option func(*options)

type options struct{ wall func() time.Time }

// WithWall replaces the system's clock, for tests of clocks that are wrong.
func WithWall(wall func() time.Time) Option { return func(o *options) { o.wall = wall } }

func optionsOf(opts []Option) options {
	o := options{wall: time.Now}
	for _, f := range opts {
		f(&o)
	}
	return o
}

// Init makes an enterprise of one in dir: its root, its issuers, and a node of
// the given site and name that is member, publisher, operator and issuer.
func Init(dir, site, name string, opts ...Option) (*Identity, error) {
	if err := errors.Join(CheckSite(site), CheckName(name)); err != nil {
		return nil, err
	}
	now := optionsOf(opts).wall().UTC().Truncate(time.Second)
	key, _, err := ic.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return nil, err
	}
	stage, err := stageFolder(dir, "trust.new")
	if err != nil {
		return nil, err
	}
	if err := found(stage, key, site, name, now); err != nil {
		return nil, errors.Join(fmt.Errorf("make enterprise: %w", err), os.RemoveAll(stage.path))
	}
	if err := stage.adopt(dir); err != nil {
		return nil, err
	}
	return Load(dir, opts...)
}

// found writes all that an enterprise of one consists of into an empty folder.
func found(d folder, key ic.PrivKey, site, name string, now time.Time) error {
	top, err := newRoot(now)
	if err != nil {
		return err
	}
	r, err := parseRoot(top.cert.Raw)
	if err != nil {
		return err
	}
	member, err := newIssuer(top, "member", r.memberHost(), now)
	if err != nil {
		return err
	}
	oper, err := newIssuer(top, "operator", r.operatorHost(), now)
	if err != nil {
		return err
	}
	err = errors.Join(
		d.mkdir(issuerDir),
		writeSigner(d, issuerDir+"/root", top),
		writeSigner(d, issuerDir+"/member", member),
		writeSigner(d, issuerDir+"/operator", oper),
		newLedger(folder{d.join(issuerDir)}),
	)
	if err != nil {
		return err
	}
	a, err := loadAuthority(r, d)
	if err != nil {
		return err
	}
	defer a.ledger.close()
	self, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return err
	}
	chain, err := a.sign(Credential{Peer: self, Device: newDeviceID(), Name: name, Site: site, Roles: allRoles}, key.GetPublic(), nil, now)
	if err != nil {
		return err
	}
	lists, err := a.signLists(nil, now)
	if err != nil {
		return err
	}
	return settle(d, r, key, chain, lists, state{})
}

// settle writes what every identity has, an issuer's or not.
func settle(d folder, r *root, key ic.PrivKey, chain, lists [][]byte, s state) error {
	err := errors.Join(
		d.mkdir(listsDir),
		writeHostKey(d, key),
		d.write(rootFile, encodePEM(r.cert.Raw)),
		d.write(credentialFile, encodePEM(chain...)),
		d.writeSealed(stateFile, s),
		d.writeSealed(releasesFile, []seen{}),
		d.writeSealed(listsFile, []head{}),
	)
	if err != nil {
		return err
	}
	v := newRevocations(r, d)
	for _, l := range lists {
		if _, err := v.apply(l); err != nil {
			return err
		}
	}
	return nil
}

// Load opens the identity in dir; it fails with ErrNoIdentity if there is none,
// and with ErrDamaged rather than to forget anything.
func Load(dir string, opts ...Option) (_ *Identity, err error) {
	d := folder{filepath.Join(dir, folderName)}
	if _, err := os.Lstat(d.path); errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", dir, ErrNoIdentity)
	}
	if err := d.open(); err != nil {
		return nil, err
	}
	id := &Identity{dir: d}
	if id.locked, err = d.lock(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open identity in %s: %w", d.path, err), id.Close())
		}
	}()
	return id, id.load(optionsOf(opts))
}

func (id *Identity) load(o options) error {
	ders, err := readPEM(id.dir, rootFile, "CERTIFICATE", 1)
	if err != nil {
		return err
	}
	if id.root, err = parseRoot(ders[0]); err != nil {
		return fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	if id.key, err = readHostKey(id.dir); err != nil {
		return err
	}
	if err := id.dir.readSealed(stateFile, &id.state); err != nil {
		return err
	}
	id.revoked = newRevocations(id.root, id.dir)
	if err := id.revoked.load(); err != nil {
		return err
	}
	id.releases = &sequences{dir: id.dir}
	if err := id.releases.load(); err != nil {
		return err
	}
	chain, err := readPEM(id.dir, credentialFile, "CERTIFICATE", maxChain)
	if err != nil {
		return err
	}
	if id.current, err = id.own(chain); err != nil {
		return fmt.Errorf("%w: credential: %v", ErrDamaged, err)
	}
	id.clock = newClock(o.wall, time.Unix(id.state.Floor, 0), id.root.cert.NotAfter)
	if id.dir.has(issuerDir) {
		if id.authority, err = loadAuthority(id.root, id.dir); err != nil {
			return err
		}
	}
	return nil
}

// own reads a chain that is to be this node's: verified at a time when it was
// valid, as an identity whose credential ran out can still renew it.
func (id *Identity) own(chain [][]byte) (*proof, error) {
	p, err := verifyInLife(id.root, chain)
	if err != nil {
		return nil, err
	}
	if !p.key.Equals(id.key.GetPublic()) {
		return nil, errors.New("it is for another key")
	}
	return p, nil
}

// verifyInLife verifies a chain at the end of its leaf's life.
func verifyInLife(r *root, chain [][]byte) (*proof, error) {
	certs, err := parseChain(chain)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrNotAdmitted, err)
	}
	return r.verify(chain, certs[0].NotAfter)
}

// Close releases the folder.
func (id *Identity) Close() error {
	var err error
	if id.authority != nil {
		err = id.authority.ledger.close()
	}
	if id.locked != nil {
		err = errors.Join(err, id.locked.Close())
	}
	return err
}

// Enterprise returns the id of the enterprise: the start of the SHA-256 of its
// root, in base32, short enough for protocol names and people.
func (id *Identity) Enterprise() string { return id.root.id() }

func (r *root) id() string {
	return strings.ToLower(base32.StdEncoding.EncodeToString(r.hash[:10]))
}

// Key returns the host key, which is also the credential's.
func (id *Identity) Key() ic.PrivKey { return id.key }

// Clock returns the clock to judge credentials and statements by.
func (id *Identity) Clock() *Clock { return id.clock }

// Credential returns this node's credential as it is now.
func (id *Identity) Credential() Credential { return id.proof().Credential }

// Issuing reports whether this node holds the keys to admit others.
func (id *Identity) Issuing() bool { return id.authority != nil }

// Bootstrap returns where the issuer was when this node joined.
func (id *Identity) Bootstrap() []peer.AddrInfo {
	id.mu.Lock()
	defer id.mu.Unlock()
	var addrs []ma.Multiaddr
	for _, s := range id.state.Bootstrap {
		if a, err := ma.NewMultiaddr(s); err == nil {
			addrs = append(addrs, a)
		}
	}
	infos, err := peer.AddrInfosFromP2pAddrs(addrs...)
	if err != nil {
		return nil
	}
	return infos
}

// Beacon returns the newest beacon and its time; empty if none was seen.
func (id *Identity) Beacon() ([]byte, time.Time) {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.state.Beacon, time.Unix(id.state.BeaconAt, 0).UTC()
}

// keepBeacon makes the clock's floor durable and, unless the beacon was made for
// this node alone, keeps it to pass on if it is the newest.
func (id *Identity) keepBeacon(env []byte, at time.Time, bound bool) (news bool, err error) {
	id.mu.Lock()
	defer id.mu.Unlock()
	next := id.state
	next.Floor = max(next.Floor, min(at.Unix(), id.root.cert.NotAfter.Unix()))
	if !bound && at.Unix() > next.BeaconAt {
		next.Beacon, next.BeaconAt = env, at.Unix()
		news = true
	}
	if !news && next.Floor == id.state.Floor {
		return false, nil
	}
	if err := id.dir.writeSealed(stateFile, next); err != nil {
		return false, fmt.Errorf("keep signed time: %w", err)
	}
	id.state = next
	return news, nil
}

func (id *Identity) proof() *proof {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.current
}

// renewed takes a new credential for the key this node has.
func (id *Identity) renewed(chain [][]byte) error {
	p, err := id.own(chain)
	if err != nil {
		return fmt.Errorf("renewed credential: %w", err)
	}
	id.mu.Lock()
	defer id.mu.Unlock()
	if p.Device != id.current.Device || !p.NotAfter.After(id.current.NotAfter) {
		return fmt.Errorf("renewed credential: for device %s until %s, want %s for longer", p.Device, stamp(p.NotAfter), id.current.Device)
	}
	if err := id.dir.write(credentialFile, encodePEM(chain...)); err != nil {
		return err
	}
	id.current = p
	return nil
}

// stageFolder makes an empty private folder beside the identity's, on the same
// file system, to be filled and then adopted whole.
func stageFolder(dir, name string) (folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return folder{}, err
	}
	d := folder{filepath.Join(dir, name)}
	if _, err := os.Lstat(filepath.Join(dir, folderName)); err == nil {
		return d, fmt.Errorf("%s: %w", dir, ErrHasIdentity)
	}
	if err := os.RemoveAll(d.path); err != nil {
		return d, err
	}
	return d, os.Mkdir(d.path, 0o700)
}

// adopt makes a staged folder the identity of dir. A folder that is there stays:
// rename refuses to replace one that has files in it.
func (d folder) adopt(dir string) error {
	target := filepath.Join(dir, folderName)
	if _, err := os.Lstat(target); err == nil {
		return fmt.Errorf("%s: %w", dir, ErrHasIdentity)
	}
	return errors.Join(syncDir(d.path), os.Rename(d.path, target), syncDir(dir))
}

// setAside moves the identity of dir to a name that tells when; nothing is lost.
func setAside(dir string, now time.Time) error {
	d := folder{filepath.Join(dir, folderName)}
	l, err := d.lock() // not while a node runs on it
	if err == nil {
		err = l.Close() // Windows doesn't rename a folder with an open file in it
	}
	if err != nil {
		return err
	}
	old := d.path + ".replaced-" + now.UTC().Format("20060102T150405Z")
	if _, err := os.Lstat(old); err == nil {
		return fmt.Errorf("%s is in the way", old)
	}
	return errors.Join(os.Rename(d.path, old), syncDir(dir))
}

func writeHostKey(d folder, key ic.PrivKey) error {
	b, err := ic.MarshalPrivateKey(key)
	if err != nil {
		return err
	}
	return d.write(hostKeyFile+".key", pem.EncodeToMemory(&pem.Block{Type: hostKeyKind, Bytes: b}))
}

// hostKeyKind is libp2p's own encoding of keys (a protobuf).
const hostKeyKind = "LIBP2P PRIVATE KEY"

func readHostKey(d folder) (ic.PrivKey, error) {
	ders, err := readPEM(d, hostKeyFile+".key", hostKeyKind, 1)
	if err != nil {
		return nil, err
	}
	key, err := ic.UnmarshalPrivateKey(ders[0])
	if err != nil {
		return nil, fmt.Errorf("%w: host key: %v", ErrDamaged, err)
	}
	// The encoding has no checksum, and half of a damaged key may look fine.
	probe := []byte("p2pnode host key")
	sig, err := key.Sign(probe)
	if err == nil {
		err = checkSignature(key.GetPublic(), probe, sig)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: host key: %v", ErrDamaged, err)
	}
	return key, nil
}
