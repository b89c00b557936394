package trust

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	ic "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"go.uber.org/zap"
)

// Files of an identity's folder, as PEM. Those that count are in the state (see
// memory.go); these are for people and other tools.
const (
	hostKeyFile    = "host.key"       // the libp2p host key
	credentialFile = "credential.pem" // leaf, then its issuer
	rootFile       = "root.pem"
)

// An Identity is a node's place in its enterprise: its host key and credential,
// the trust root, and all it remembers so that nobody can turn it back. It is
// kept in the folder "trust" of the data folder, which it locks until Close.
type Identity struct {
	memory    *memory
	locked    io.Closer
	root      *root
	key       ic.PrivKey
	clock     *Clock
	revoked   *Revocations
	marks     *marks
	authority *authority // nil unless this node issues credentials
	listen    ListenUDP  // nil: the system's sockets

	mu         sync.Mutex
	current    *proof
	turnedBack error // proof that the memory lacks what this node signed
}

// An Option changes how an identity is opened.
type Option func(*options)

type options struct {
	wall   func() time.Time
	log    *zap.Logger
	disk   disk
	listen ListenUDP // nil: the system's sockets
}

// WithWall replaces the system's clock, for tests of clocks that are wrong.
func WithWall(wall func() time.Time) Option { return func(o *options) { o.wall = wall } }

// WithLog tells where to write what was mended. Default: nowhere.
func WithLog(log *zap.Logger) Option { return func(o *options) { o.log = log } }

func optionsOf(opts []Option) options {
	o := options{wall: time.Now, log: zap.NewNop(), disk: osDisk{}}
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
	o := optionsOf(opts)
	now := o.wall().UTC().Truncate(time.Second)
	key, _, err := ic.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return nil, err
	}
	data := folder{o.disk, dir}
	stage, err := data.stage("trust.new")
	if err != nil {
		return nil, err
	}
	if err := found(stage, key, site, name, now); err != nil {
		return nil, errors.Join(fmt.Errorf("make enterprise: %w", err), stage.clear())
	}
	if err := data.adopt(stage); err != nil {
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
	files := make(map[string][]byte)
	offline := make(map[string][]byte)
	err = errors.Join(
		encodeSigner(offline, issuerDir+"/root", top),
		encodeSigner(files, issuerDir+"/member", member),
		encodeSigner(files, issuerDir+"/operator", oper),
	)
	if err == nil {
		files[hostKeyFile], err = encodeHostKey(key)
	}
	if err == nil {
		err = d.mkdir(issuerDir)
	}
	for name, b := range offline {
		if err == nil {
			err = d.write(name, b)
		}
	}
	if err != nil {
		return err
	}
	end, err := newLedger(d)
	if err != nil {
		return err
	}
	v, err := makeMemory(d, state{Files: files, Ledger: end})
	if err != nil {
		return err
	}
	a, err := loadAuthority(r, v)
	if err != nil {
		return err
	}
	self, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return errors.Join(err, a.ledger.close())
	}
	chain, err := a.sign(Credential{Peer: self, Device: newDeviceID(), Name: name, Site: site, Roles: allRoles}, key.GetPublic(), nil, now)
	if err = errors.Join(err, a.ledger.close()); err != nil {
		return err
	}
	lists, err := a.signLists(nil, now)
	if err != nil {
		return err
	}
	return settle(v, r, chain, lists)
}

// settle completes the state of a new identity, an issuer's or not.
func settle(v *memory, r *root, chain, lists [][]byte) error {
	revoked := newRevocations(r, v)
	for _, l := range lists {
		if _, err := revoked.apply(l); err != nil {
			return err
		}
	}
	err := v.commit(func(next *state) error {
		next.Files = next.withFile(rootFile, encodePEM(r.cert.Raw))
		next.Files[credentialFile] = encodePEM(chain...)
		return nil
	})
	if err == nil {
		v.mendFiles()
	}
	return err
}

// Load opens the identity in dir; it fails with ErrNoIdentity if there is none,
// and with ErrDamaged rather than to forget anything. What one of two copies can
// mend is mended, and logged.
func Load(dir string, opts ...Option) (_ *Identity, err error) {
	o := optionsOf(opts)
	d := folder{o.disk, dir}.at(folderName)
	if _, err := o.disk.lstat(d.path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", dir, ErrNoIdentity)
	}
	if err := d.open(); err != nil {
		return nil, err
	}
	id := &Identity{listen: o.listen}
	if id.locked, err = d.lock(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open identity in %s: %w", d.path, err), id.Close())
		}
	}()
	if id.memory, err = openMemory(d, o.log); err != nil {
		return nil, err
	}
	s := id.memory.get()
	if err := id.read(s); err != nil {
		return nil, err
	}
	id.clock = newClock(o.wall, time.Unix(s.Floor, 0), id.root.cert.NotAfter)
	if s.Ledger != nil {
		id.authority, err = loadAuthority(id.root, id.memory)
	}
	return id, err
}

// read takes over what a state says.
func (id *Identity) read(s state) error {
	ders, err := readPEM(s.file, rootFile, "CERTIFICATE", 1)
	if err != nil {
		return err
	}
	if id.root, err = parseRoot(ders[0]); err != nil {
		return fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	if id.key, err = readHostKey(s.file); err != nil {
		return err
	}
	id.revoked = newRevocations(id.root, id.memory)
	if err := id.revoked.load(s.Lists); err != nil {
		return err
	}
	if id.marks, err = newMarks(id.memory, s.Marks); err != nil {
		return err
	}
	chain, err := readPEM(s.file, credentialFile, "CERTIFICATE", maxChain)
	if err != nil {
		return err
	}
	if id.current, err = id.own(chain); err != nil {
		return fmt.Errorf("%w: credential: %v", ErrDamaged, err)
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
	if id.memory != nil {
		id.memory.close()
	}
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
	var addrs []ma.Multiaddr
	for _, s := range id.memory.get().Bootstrap {
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

// Broken returns why this identity can't remember anything new until the node is
// started again: the disk failed. Nil while all is well.
func (id *Identity) Broken() error { return id.memory.broken() }

// TurnedBack returns ErrTurnedBack, with what shows it, once this node has seen
// something that it signed itself and doesn't remember. Nothing that is only on
// the disk could show it: a folder that is put back as a whole looks as it did.
func (id *Identity) TurnedBack() error {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.turnedBack
}

func (id *Identity) turned(what string, args ...any) {
	id.mu.Lock()
	defer id.mu.Unlock()
	if id.turnedBack == nil {
		id.turnedBack = fmt.Errorf("%w (%s)", ErrTurnedBack, fmt.Sprintf(what, args...))
	}
}

// Recall holds a verified release that others have against the memory, if this
// node is among its signers: it must know all that it signed. See TurnedBack.
func (id *Identity) Recall(name string, sequence uint64, signers []Credential) {
	self := id.Credential().Peer
	if !slices.ContainsFunc(signers, func(c Credential) bool { return c.Peer == self }) {
		return
	}
	if seen, _, _ := id.Seen(name); sequence > seen {
		id.turned("it signed release %d of %s and remembers %d", sequence, name, seen)
	}
}

// heed takes a revocation list from a peer; it reports whether it was news. To an
// issuer its own lists can't be.
func (id *Identity) heed(raw []byte) (bool, error) {
	before := id.revoked.heads()
	news, err := id.revoked.apply(raw)
	if !news || id.authority == nil {
		return news, err
	}
	for _, h := range lacks(id.revoked.heads(), before) {
		for _, s := range []*signer{id.authority.member, id.authority.oper} {
			if h == tagOf(s.cert.RawSubjectPublicKeyInfo) {
				id.turned("a peer has a newer revocation list of its own than it does")
			}
		}
	}
	return true, nil
}

// Beacon returns the newest beacon and its time; empty if none was seen.
func (id *Identity) Beacon() ([]byte, time.Time) {
	s := id.memory.get()
	return s.Beacon, time.Unix(s.BeaconAt, 0).UTC()
}

// keepBeacon makes the clock's floor durable and, unless the beacon was made for
// this node alone, keeps it to pass on if it is the newest.
func (id *Identity) keepBeacon(env []byte, at time.Time, bound bool) (news bool, err error) {
	err = id.memory.commit(func(next *state) error {
		floor := next.Floor
		next.Floor = max(floor, min(at.Unix(), id.root.cert.NotAfter.Unix()))
		if !bound && at.Unix() > next.BeaconAt {
			next.Beacon, next.BeaconAt = env, at.Unix()
			news = true
		}
		if !news && next.Floor == floor {
			return errUnchanged
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("keep signed time: %w", err)
	}
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
	text := encodePEM(chain...)
	err = id.memory.commit(func(next *state) error {
		next.Files = next.withFile(credentialFile, text)
		return nil
	})
	if err != nil {
		return fmt.Errorf("keep renewed credential: %w", err)
	}
	id.current = p
	id.memory.showFile(credentialFile, text)
	return nil
}

// stage makes an empty private folder beside the identity's, on the same file
// system, to be filled and then adopted whole.
func (data folder) stage(name string) (folder, error) {
	d := data.at(name)
	if err := data.make(); err != nil {
		return d, err
	}
	if data.has(folderName) {
		return d, fmt.Errorf("%s: %w", data.path, ErrHasIdentity)
	}
	if err := d.clear(); err != nil {
		return d, err
	}
	return d, data.disk.mkdir(d.path)
}

// adopt makes a staged folder the identity. A folder that is there stays: rename
// refuses to replace one that has files in it.
func (data folder) adopt(stage folder) error {
	if data.has(folderName) {
		return fmt.Errorf("%s: %w", data.path, ErrHasIdentity)
	}
	if err := data.disk.syncDir(stage.path); err != nil {
		return err
	}
	if err := data.disk.rename(stage.path, data.join(folderName)); err != nil {
		return err
	}
	return data.disk.syncDir(data.path)
}

// setAside moves the identity to a name that tells when; nothing is lost.
func (data folder) setAside(now time.Time) error {
	d := data.at(folderName)
	l, err := d.lock() // not while a node runs on it
	if err == nil {
		err = l.Close() // Windows doesn't rename a folder with an open file in it
	}
	if err != nil {
		return err
	}
	old := folderName + ".replaced-" + now.UTC().Format("20060102T150405Z")
	if data.has(old) {
		return fmt.Errorf("%s is in the way", data.join(old))
	}
	return errors.Join(data.disk.rename(d.path, data.join(old)), data.disk.syncDir(data.path))
}

func encodeHostKey(key ic.PrivKey) ([]byte, error) {
	b, err := ic.MarshalPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: hostKeyKind, Bytes: b}), nil
}

// hostKeyKind is libp2p's own encoding of keys (a protobuf).
const hostKeyKind = "LIBP2P PRIVATE KEY"

func readHostKey(read reader) (ic.PrivKey, error) {
	ders, err := readPEM(read, hostKeyFile, hostKeyKind, 1)
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
