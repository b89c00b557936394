package trust

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"sync"
	"time"

	ic "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Limits of revocation lists: 10,000 revoked are half a MiB.
const (
	maxList  = 1 << 20 // bytes of a list with its issuer's certificate
	maxLists = 16      // issuers below one root
	// A list is signed anew after a week and asks to be replaced after two. An
	// old one still counts: a site that is cut off must go on working.
	listEvery = 7 * 24 * time.Hour
	listLife  = 14 * 24 * time.Hour
)

// An issuerID names an issuer by its key.
type issuerID = keyTag

// A head tells which list of an issuer someone has.
type head struct {
	_      struct{} `cbor:",toarray"`
	Issuer issuerID
	Number uint64
	Hash   [sha256.Size]byte // of the list's DER
}

// A list is a revocation list (RFC 5280, section 5) on its way and on disk, with
// the certificate of who signed it:
//
//	{1: certificate, 2: CRL}
type list struct {
	Issuer []byte `cbor:"1,keyasint"`
	CRL    []byte `cbor:"2,keyasint"`
}

// A verifiedList is a list ready for look-ups.
type verifiedList struct {
	head
	raw     []byte // the encoded list
	signed  time.Time
	serials map[string]struct{} // big-endian bytes
	keys    map[keyTag]struct{}
}

// Revocations holds the newest list of each issuer. A list is replaced only by
// one of a higher number, and the number is on disk before the list is used.
//
// What a list says counts for its issuer's certificates alone, the root's for
// all: a stolen member issuer can't shut out operators.
type Revocations struct {
	root   *root
	memory *memory // nil if nothing is to be kept

	mu    sync.RWMutex
	lists map[issuerID]*verifiedList
}

func newRevocations(r *root, v *memory) *Revocations {
	return &Revocations{root: r, memory: v, lists: make(map[issuerID]*verifiedList)}
}

// load takes the lists that were kept. One that can't be read fails the whole:
// without it the revoked would be members again.
func (v *Revocations) load(raws [][]byte) error {
	for _, raw := range raws {
		l, err := v.parse(raw)
		if err != nil {
			return fmt.Errorf("%w: revocation list: %v", ErrDamaged, err)
		}
		v.lists[l.Issuer] = l
	}
	return nil
}

// parse verifies a list up to the root. Dates of certificates don't matter here:
// an issuer that ran out can still say whom not to trust.
func (v *Revocations) parse(raw []byte) (*verifiedList, error) {
	if len(raw) > maxList {
		return nil, fmt.Errorf("%w: %d bytes, at most %d allowed", ErrList, len(raw), maxList)
	}
	var l list
	if err := decode(raw, &l); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrList, err)
	}
	if len(l.Issuer) > maxRootBytes {
		return nil, fmt.Errorf("%w: certificate of %d bytes", ErrList, len(l.Issuer))
	}
	cert, err := x509.ParseCertificate(l.Issuer)
	if err != nil {
		return nil, fmt.Errorf("%w: issuer: %v", ErrList, err)
	}
	if !cert.Equal(v.root.cert) {
		if err := cert.CheckSignatureFrom(v.root.cert); err != nil {
			return nil, fmt.Errorf("%w: issuer: %w: %v", ErrList, ErrForeignEnterprise, err)
		}
	}
	crl, err := x509.ParseRevocationList(l.CRL)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrList, err)
	}
	if err := crl.CheckSignatureFrom(cert); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrList, err)
	}
	if crl.Number == nil || !crl.Number.IsUint64() {
		return nil, fmt.Errorf("%w: no number", ErrList)
	}
	out := &verifiedList{
		head:    head{Issuer: tagOf(cert.RawSubjectPublicKeyInfo), Number: crl.Number.Uint64(), Hash: sha256.Sum256(l.CRL)},
		raw:     raw,
		signed:  crl.ThisUpdate,
		serials: make(map[string]struct{}, len(crl.RevokedCertificateEntries)),
	}
	for _, e := range crl.RevokedCertificateEntries {
		out.serials[string(e.SerialNumber.Bytes())] = struct{}{}
	}
	out.keys, err = readKeys(crl)
	return out, err
}

// readKeys reads our CRL extension: the tags of keys that are never to be
// admitted again, one behind the other in an octet string's place.
func readKeys(crl *x509.RevocationList) (map[keyTag]struct{}, error) {
	keys := make(map[keyTag]struct{})
	for _, e := range crl.Extensions {
		switch {
		case e.Id.Equal(oidKeys):
			var tags []byte
			if rest, err := asn1.Unmarshal(e.Value, &tags); err != nil || len(rest) > 0 || len(tags)%len(keyTag{}) != 0 {
				return nil, fmt.Errorf("%w: keys can't be read", ErrList)
			}
			for t := range slices.Chunk(tags, len(keyTag{})) {
				keys[keyTag(t)] = struct{}{}
			}
		case e.Critical:
			return nil, fmt.Errorf("%w: critical extension %s is not known", ErrList, e.Id)
		}
	}
	return keys, nil
}

// apply takes a list from anyone; it reports whether it was news.
func (v *Revocations) apply(raw []byte) (bool, error) {
	l, err := v.parse(raw)
	if err != nil {
		return false, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	cur, known := v.lists[l.Issuer]
	if known && l.Number <= cur.Number {
		return false, nil
	}
	if !known && len(v.lists) >= maxLists {
		return false, fmt.Errorf("%w: more than %d issuers", ErrList, maxLists)
	}
	if err := v.keep(l); err != nil {
		return false, fmt.Errorf("keep revocation list: %w", err)
	}
	v.lists[l.Issuer] = l
	return true, nil
}

// keep makes a list durable beside the others. v is locked.
func (v *Revocations) keep(l *verifiedList) error {
	lists := maps.Clone(v.lists)
	lists[l.Issuer] = l
	raws := make([][]byte, 0, len(lists))
	for _, i := range slices.SortedFunc(maps.Keys(lists), func(a, b issuerID) int { return slices.Compare(a[:], b[:]) }) {
		raws = append(raws, lists[i].raw)
	}
	return v.memory.commit(func(next *state) error { next.Lists = raws; return nil })
}

func sorted(heads []head) []head {
	slices.SortFunc(heads, func(a, b head) int { return slices.Compare(a.Issuer[:], b.Issuer[:]) })
	return heads
}

// heads tells which lists are held, in order of issuer.
func (v *Revocations) heads() []head {
	v.mu.RLock()
	defer v.mu.RUnlock()
	heads := make([]head, 0, len(v.lists))
	for _, l := range v.lists {
		heads = append(heads, l.head)
	}
	return sorted(heads)
}

// raw returns the newest list of an issuer as it is sent; nil if there is none.
func (v *Revocations) raw(i issuerID) []byte {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if l := v.lists[i]; l != nil {
		return l.raw
	}
	return nil
}

// listed reports whether an issuer's list has a serial number.
func (v *Revocations) listed(i issuerID, serial *big.Int) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.lists[i].hasSerial(serial)
}

// oldest returns when the oldest list was signed.
func (v *Revocations) oldest() time.Time {
	v.mu.RLock()
	defer v.mu.RUnlock()
	var t time.Time
	for _, l := range v.lists {
		if t.IsZero() || l.signed.Before(t) {
			t = l.signed
		}
	}
	return t
}

// lacks returns the issuers of which have is newer than theirs. Both sides of an
// exchange compute it, so no count needs to be sent.
func lacks(have, theirs []head) []issuerID {
	var out []issuerID
	for _, h := range have {
		i := slices.IndexFunc(theirs, func(t head) bool { return t.Issuer == h.Issuer })
		if i < 0 || theirs[i].Number < h.Number {
			out = append(out, h.Issuer)
		}
	}
	return out
}

// check returns ErrRevoked if any certificate of p is on its issuer's list, by
// serial number or by key. By both, because a signature can be re-encoded into a
// certificate with another hash (CVE-2026-25793) but not with another serial, and
// a key can get a new certificate.
func (v *Revocations) check(p *proof) error {
	v.mu.RLock()
	defer v.mu.RUnlock()
	top := tagOf(v.root.cert.RawSubjectPublicKeyInfo)
	for i, c := range p.certs[:len(p.certs)-1] {
		issuer, key := tagOf(p.certs[i+1].RawSubjectPublicKeyInfo), tagOf(c.RawSubjectPublicKeyInfo)
		if v.lists[issuer].has(c.SerialNumber, key) || v.lists[top].hasKey(key) {
			return fmt.Errorf("%w: %w", ErrNotAdmitted, ErrRevoked)
		}
	}
	return nil
}

// keyRevoked reports whether any list names the peer's key. Peer ids of Ed25519
// keys hold the key; of others nothing is known before their certificate.
func (v *Revocations) keyRevoked(p peer.ID) bool {
	tag, ok := tagOfPeer(p)
	if !ok {
		return false
	}
	v.mu.RLock()
	defer v.mu.RUnlock()
	for _, l := range v.lists {
		if l.hasKey(tag) {
			return true
		}
	}
	return false
}

func tagOfPeer(p peer.ID) (keyTag, bool) {
	key, err := p.ExtractPublicKey()
	if err != nil {
		return keyTag{}, false
	}
	return tagOfKey(key)
}

func tagOfKey(key ic.PubKey) (keyTag, bool) {
	spki, err := marshalSPKI(key)
	return tagOf(spki), err == nil
}

func (l *verifiedList) has(serial *big.Int, key keyTag) bool {
	return l.hasSerial(serial) || l.hasKey(key)
}

func (l *verifiedList) hasSerial(serial *big.Int) bool {
	if l == nil {
		return false
	}
	_, ok := l.serials[string(serial.Bytes())]
	return ok
}

func (l *verifiedList) hasKey(key keyTag) bool {
	if l == nil {
		return false
	}
	_, ok := l.keys[key]
	return ok
}

// A revokedEntry is one line of a list to be signed.
type revokedEntry struct {
	serial *big.Int
	at     time.Time
}

// signList makes the issuer's list with the given number.
func signList(s *signer, number uint64, entries []revokedEntry, keys []keyTag, now time.Time) ([]byte, error) {
	t := &x509.RevocationList{Number: new(big.Int).SetUint64(number), ThisUpdate: now, NextUpdate: now.Add(listLife)}
	for _, e := range entries {
		t.RevokedCertificateEntries = append(t.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: e.serial, RevocationTime: e.at})
	}
	if len(keys) > 0 {
		var tags []byte
		for _, k := range keys {
			tags = append(tags, k[:]...)
		}
		value, err := asn1.Marshal(tags)
		if err != nil {
			return nil, err
		}
		t.ExtraExtensions = []pkix.Extension{{Id: oidKeys, Value: value}}
	}
	crl, err := x509.CreateRevocationList(rand.Reader, t, s.cert, s.key)
	if err != nil {
		return nil, fmt.Errorf("sign revocation list: %w", err)
	}
	return encode(list{Issuer: s.cert.Raw, CRL: crl}), nil
}
