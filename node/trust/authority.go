package trust

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base32"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"time"

	ic "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Limits of an issuer.
const (
	maxInvites  = 4096                // live tokens
	maxUses     = 100_000             // of one token
	maxExpiry   = 14 * 24 * time.Hour // of one token
	maxMembers  = 250_000
	maxRekeys   = 3 // certificates for new keys of one device in rekeyWindow
	rekeyWindow = 24 * time.Hour
	// A credential that ran out is renewed for so long, unless it was revoked.
	renewAfter = 90 * 24 * time.Hour
)

// issuerDir is the folder of an issuer's keys and ledger inside the identity's.
const issuerDir = "issuer"

// A MemberRecord is what the issuer knows of a device.
type MemberRecord struct {
	Credential            // as of its newest certificate
	Issued     time.Time  // when that was
	Revoked    *time.Time // nil while it is a member
	Reason     string     // of the revocation
}

// device is a MemberRecord with what revoking and re-keying it needs.
type device struct {
	MemberRecord
	live  []cert      // certificates that have not run out for renewAfter
	keys  []keyTag    // every key it ever had a certificate for
	newly []time.Time // when it got a certificate for a new key, lately
}

type cert struct {
	serial     *big.Int
	operator   bool // signed by the operator issuer
	key        keyTag
	until      time.Time
	superseded time.Time // zero while it counts
}

// invite is a token as the issuer keeps it.
type invite struct {
	hash  [sha256.Size]byte
	uses  int
	until time.Time
	site  string
	name  string
	by    []peer.ID // who used it
	gone  bool      // withdrawn
}

// An authority issues credentials: it holds the keys of the issuers, and the
// ledger. All of its deeds are in the ledger before they have an effect.
type authority struct {
	root   *root
	member *signer
	oper   *signer

	// listing is held from signing lists until they are in use, so that no two
	// get the same number. It is taken before mu.
	listing sync.Mutex

	mu      sync.Mutex
	ledger  *ledger
	devices map[string]*device // by device id
	invites map[[tokenIDSize]byte]*invite
}

func loadAuthority(r *root, v *memory) (*authority, error) {
	a := &authority{root: r, devices: make(map[string]*device), invites: make(map[[tokenIDSize]byte]*invite)}
	var err error
	if a.member, err = readSigner(v.get().file, issuerDir+"/member"); err != nil {
		return nil, err
	}
	if a.oper, err = readSigner(v.get().file, issuerDir+"/operator"); err != nil {
		return nil, err
	}
	if a.ledger, err = openLedger(v, a.apply); err != nil {
		return nil, err
	}
	return a, nil
}

// apply brings the state up to an entry that is on disk.
func (a *authority) apply(e entry) {
	switch e.Deed {
	case invited:
		in := &invite{uses: e.Uses, until: e.until(), site: e.Site, name: e.Name}
		copy(in.hash[:], e.Secret)
		a.invites[tokenID(e.Token)] = in
	case withdrawn:
		if in := a.invites[tokenID(e.Token)]; in != nil {
			in.gone = true
		}
	case issued:
		a.applyIssued(e)
	case revoked:
		if d := a.devices[e.Device]; d != nil {
			at := e.at()
			d.Revoked, d.Reason = &at, e.Reason
		}
	}
}

func (a *authority) applyIssued(e entry) {
	p, _ := peer.Decode(e.Peer)
	if in := a.invites[tokenID(e.Token)]; in != nil && !slices.Contains(in.by, p) {
		in.by = append(in.by, p)
	}
	d := a.devices[e.Device]
	if d == nil {
		d = &device{}
		a.devices[e.Device] = d
	}
	tag := keyTag(e.Key)
	if !slices.Contains(d.keys, tag) {
		d.keys = append(d.keys, tag)
	}
	if len(d.live) == 0 || d.live[len(d.live)-1].key != tag || len(e.Token) > 0 {
		d.newly = append(d.newly, e.at())
	}
	// One live certificate per device: those of another key end with the new one.
	for i := range d.live {
		if d.live[i].key != tag && d.live[i].superseded.IsZero() {
			d.live[i].superseded = e.at()
		}
	}
	d.live = slices.DeleteFunc(d.live, func(c cert) bool { return c.until.Add(renewAfter).Before(e.at()) })
	d.live = append(d.live, cert{serial: new(big.Int).SetBytes(e.Serial), operator: e.Roles != Member, key: tag, until: e.until()})
	d.MemberRecord = MemberRecord{Issued: e.at(), Revoked: d.Revoked, Reason: d.Reason, Credential: Credential{
		Peer: p, Device: e.Device, Name: e.Name, Site: e.Site, Roles: e.Roles,
		Serial: hex.EncodeToString(e.Serial), NotBefore: e.at().Add(-backdate), NotAfter: e.until(),
	}}
}

func tokenID(b []byte) (id [tokenIDSize]byte) {
	copy(id[:], b)
	return id
}

// sign issues a certificate for c with the given key and writes it down.
func (a *authority) sign(c Credential, key ic.PubKey, token []byte, now time.Time) ([][]byte, error) {
	s, host := a.member, a.root.memberHost()
	if c.Roles != Member {
		s, host = a.oper, a.root.operatorHost()
	}
	now = now.UTC().Truncate(time.Second)
	c.NotBefore, c.NotAfter = now.Add(-backdate), now.Add(leafLife)
	if c.NotAfter.After(s.cert.NotAfter) {
		c.NotAfter = s.cert.NotAfter
	}
	leaf, err := s.issue(host, c, key)
	if err != nil {
		return nil, err
	}
	tag := tagOf(leaf.RawSubjectPublicKeyInfo)
	err = a.ledger.append(entry{
		Deed: issued, At: now.Unix(), Token: token, Site: c.Site, Name: c.Name, Until: leaf.NotAfter.Unix(),
		Device: c.Device, Peer: c.Peer.String(), Key: tag[:], Roles: c.Roles, Serial: leaf.SerialNumber.Bytes(),
	})
	return [][]byte{leaf.Raw, s.cert.Raw}, err
}

// InviteOptions say whom a token may admit.
type InviteOptions struct {
	Site      string
	Name      string        // of the node; default: what the node asks for
	Uses      int           // default 1
	Expires   time.Duration // default 24 h, at most 14 days
	Bootstrap []string      // multiaddrs with /p2p/<peer>, at most 8
}

func (a *authority) invite(t Token, o InviteOptions, now time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, in := range a.invites { // a day of grace, so that its user is told why
		if in.gone || now.After(in.until.Add(24*time.Hour)) {
			delete(a.invites, id)
		}
	}
	if len(a.invites) >= maxInvites {
		return fmt.Errorf("more than %d live invites", maxInvites)
	}
	hash := sha256.Sum256(t.Secret[:])
	return a.ledger.append(entry{
		Deed: invited, At: now.Unix(), Token: t.ID[:], Secret: hash[:],
		Uses: o.Uses, Site: o.Site, Name: o.Name, Until: now.Add(o.Expires).Unix(),
	})
}

func (a *authority) withdraw(id [tokenIDSize]byte, now time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if in := a.invites[id]; in == nil || in.gone {
		return ErrTokenUnknown
	}
	return a.ledger.append(entry{Deed: withdrawn, At: now.Unix(), Token: id[:]})
}

// knows reports whether a token with this id was ever made here, and not taken
// back.
func (a *authority) knows(id []byte) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	in := a.invites[tokenID(id)]
	return in != nil && !in.gone
}

// claim issues a member's certificate to whoever shows a token's secret on a
// channel with the given key. Site and role come from the invite, never from the
// one who asks.
func (a *authority) claim(id, secret []byte, name string, key ic.PubKey, now time.Time) ([][]byte, error) {
	p, err := peer.IDFromPublicKey(key)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	in := a.invites[tokenID(id)]
	hash := sha256.Sum256(secret)
	if in == nil || in.gone || subtle.ConstantTimeCompare(hash[:], in.hash[:]) != 1 {
		return nil, ErrTokenUnknown
	}
	if now.After(in.until) {
		return nil, ErrTokenExpired
	}
	// The one who used it may ask again: its answer may have been lost.
	again := slices.Contains(in.by, p)
	if !again && len(in.by) >= in.uses {
		return nil, ErrTokenUsed
	}
	if tag, ok := tagOfKey(key); !ok || a.keyRevoked(tag) {
		return nil, ErrRevoked
	}
	c := a.place(p, in, name)
	if d := a.devices[c.Device]; d != nil {
		recent := 0
		for _, t := range d.newly {
			if now.Sub(t) < rekeyWindow {
				recent++
			}
		}
		// The first certificate is no re-key.
		if recent > maxRekeys {
			return nil, ErrRekey
		}
	} else if len(a.devices) >= maxMembers {
		return nil, fmt.Errorf("more than %d members", maxMembers)
	}
	return a.sign(c, key, id, now)
}

// place decides who the holder of a key is: the device that had the key, or the
// one that had the name the invite gives, else a new one.
func (a *authority) place(p peer.ID, in *invite, wanted string) Credential {
	c := Credential{Peer: p, Site: in.site, Roles: Member}
	for _, d := range a.devices {
		same := d.Peer == p || in.name != "" && strings.EqualFold(d.Name, in.name) && d.Site == in.site
		if same && d.Revoked == nil && d.Roles == Member {
			c.Device, c.Name = d.Device, d.Name
			return c
		}
	}
	c.Device = newDeviceID()
	c.Name = in.name
	if c.Name == "" {
		c.Name = wanted
	}
	if CheckName(c.Name) != nil {
		c.Name = c.Device
	}
	c.Name = a.freeName(c.Name, c.Device)
	return c
}

// freeName returns name, with a number if a member has it already.
func (a *authority) freeName(name, otherwise string) string {
	taken := make(map[string]bool, len(a.devices))
	for _, d := range a.devices {
		if d.Revoked == nil {
			taken[strings.ToLower(d.Name)] = true
		}
	}
	for n := 1; n < 1000; n++ {
		s := name
		if n > 1 {
			s = fmt.Sprintf("%.*s-%d", maxName-4, name, n)
		}
		if !taken[strings.ToLower(s)] {
			return s
		}
	}
	return otherwise
}

func newDeviceID() string {
	var b [10]byte
	rand.Read(b[:])
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

func (a *authority) keyRevoked(tag keyTag) bool {
	for _, d := range a.devices {
		if d.Revoked != nil && slices.Contains(d.keys, tag) {
			return true
		}
	}
	return false
}

// renew issues a new certificate to a device for the key it has.
func (a *authority) renew(p *proof, now time.Time) ([][]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	d := a.devices[p.Device]
	switch {
	case d == nil:
		return nil, fmt.Errorf("%w: %s", ErrUnknownMember, p.Device)
	case d.Revoked != nil:
		return nil, ErrRevoked
	case d.Peer != p.Peer:
		return nil, fmt.Errorf("%w: %s has another key now", ErrNotAdmitted, d.Name)
	}
	return a.sign(d.Credential, p.key, nil, now)
}

func (a *authority) members() []MemberRecord {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]MemberRecord, 0, len(a.devices))
	for _, d := range a.devices {
		out = append(out, d.MemberRecord)
	}
	slices.SortFunc(out, func(x, y MemberRecord) int {
		return strings.Compare(x.Site+"\x00"+x.Name+"\x00"+x.Device, y.Site+"\x00"+y.Name+"\x00"+y.Device)
	})
	return out
}

// revoke ends the membership of the device that who names: by device id, peer id
// or name.
func (a *authority) revoke(who, reason string, self peer.ID, now time.Time) (MemberRecord, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var found *device
	for _, d := range a.devices {
		if d.Revoked != nil || d.Device != who && d.Peer.String() != who && !strings.EqualFold(d.Name, who) {
			continue
		}
		if found != nil {
			return MemberRecord{}, fmt.Errorf("%q names several members: give the device id (`p2pnode member ls`)", who)
		}
		found = d
	}
	switch {
	case found == nil:
		return MemberRecord{}, fmt.Errorf("%w: %q (`p2pnode member ls` lists them)", ErrUnknownMember, who)
	case found.Peer == self:
		return MemberRecord{}, errors.New("the issuer can't revoke itself: nobody could sign the next list")
	}
	const maxReason = 200
	err := a.ledger.append(entry{Deed: revoked, At: now.Unix(), Device: found.Device, Reason: strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "")})
	return found.MemberRecord, err
}

// unlisted reports whether a revocation is in the ledger and not in the lists: the
// node stopped between the two.
func (a *authority) unlisted(v *Revocations) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, d := range a.devices {
		for _, c := range d.live {
			s := a.member
			if c.operator {
				s = a.oper
			}
			if (d.Revoked != nil || !c.superseded.IsZero()) && !v.listed(tagOf(s.cert.RawSubjectPublicKeyInfo), c.serial) {
				return true
			}
		}
	}
	return false
}

// signLists makes both issuers' lists with the numbers that follow those of heads.
// Keys and serials of plain members leave the lists once nothing could renew
// them; those of publishers, operators and issuers stay, as what they signed does.
func (a *authority) signLists(heads []head, now time.Time) ([][]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out [][]byte
	for _, s := range []*signer{a.member, a.oper} {
		var entries []revokedEntry
		var keys []keyTag
		for _, d := range a.devices {
			kept := false
			for _, c := range d.live {
				if c.operator != (s == a.oper) || !c.operator && now.After(c.until.Add(renewAfter)) {
					continue
				}
				switch {
				case d.Revoked != nil:
					entries = append(entries, revokedEntry{c.serial, *d.Revoked})
					kept = true
				case !c.superseded.IsZero():
					entries = append(entries, revokedEntry{c.serial, c.superseded})
				}
			}
			if kept {
				keys = append(keys, d.keys...)
			}
		}
		slices.SortFunc(entries, func(x, y revokedEntry) int { return x.serial.Cmp(y.serial) })
		slices.SortFunc(keys, func(x, y keyTag) int { return slices.Compare(x[:], y[:]) })
		number := uint64(1)
		for _, h := range heads {
			if h.Issuer == tagOf(s.cert.RawSubjectPublicKeyInfo) {
				number = h.Number + 1
			}
		}
		l, err := signList(s, number, entries, slices.Compact(keys), now)
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

// A signer is kept as two PEM files, so that other tools can read it.

// signerFiles are those that an issuer needs. The root's are beside them at
// first; its key is for making issuers, and may be taken offline.
var signerFiles = []string{
	issuerDir + "/member.key", issuerDir + "/member.pem", issuerDir + "/operator.key", issuerDir + "/operator.pem",
}

func encodeSigner(files map[string][]byte, name string, s *signer) error {
	key, err := x509.MarshalPKCS8PrivateKey(s.key)
	if err != nil {
		return err
	}
	files[name+".key"] = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	files[name+".pem"] = encodePEM(s.cert.Raw)
	return nil
}

func readSigner(read reader, name string) (*signer, error) {
	ders, err := readPEM(read, name+".key", "PRIVATE KEY", 1)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(ders[0])
	if err != nil {
		return nil, fmt.Errorf("%w: %s.key: %v", ErrDamaged, name, err)
	}
	if again, err := x509.MarshalPKCS8PrivateKey(key); err != nil || !bytes.Equal(again, ders[0]) {
		return nil, fmt.Errorf("%w: %s.key is not as it was written", ErrDamaged, name)
	}
	if ders, err = readPEM(read, name+".pem", "CERTIFICATE", 1); err != nil {
		return nil, err
	}
	c, err := x509.ParseCertificate(ders[0])
	if err != nil {
		return nil, fmt.Errorf("%w: %s.pem: %v", ErrDamaged, name, err)
	}
	return pair(name, c, key)
}
