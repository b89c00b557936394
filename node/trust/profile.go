package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	ic "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Lifetimes. A leaf starts before it is made, so that a node whose clock is two
// days behind can use it at once (Chrome saw 6.7 % of clocks behind).
const (
	rootLife   = 20 * 365 * 24 * time.Hour
	issuerLife = 3 * 365 * 24 * time.Hour
	leafLife   = 30 * 24 * time.Hour
	backdate   = 48 * time.Hour
	// tolerance is the difference between two clocks that nobody minds.
	tolerance = 10 * time.Minute
)

// Limits of a chain as it is sent: the leaf and what is between it and the root.
const (
	maxChain      = 2       // with the root, three certificates
	maxChainBytes = 8 << 10 // together
	maxRootBytes  = 4 << 10
)

// Our extensions stand under 2.25.1882353774 ("p2pn"), in the arc that needs no
// registration (ITU-T X.667); a registered arc would change the format.
var (
	oidGrant = asn1.ObjectIdentifier{2, 25, 1882353774, 1} // leaf: roles and name
	oidKeys  = asn1.ObjectIdentifier{2, 25, 1882353774, 2} // CRL: keys never to be admitted again
	oidSAN   = asn1.ObjectIdentifier{2, 5, 29, 17}
)

// A grant is the private, non-critical extension of a leaf.
type grant struct {
	Roles int
	Name  string `asn1:"utf8"`
}

// A keyTag names a public key: the first half of the SHA-256 of its SPKI. To
// evade a list one needs the same key with another tag, which can't be; so half
// a digest is enough.
type keyTag [16]byte

func tagOf(spki []byte) keyTag {
	sum := sha256.Sum256(spki)
	return keyTag(sum[:16])
}

// A root is the trust anchor of one enterprise.
type root struct {
	cert   *x509.Certificate
	hash   [sha256.Size]byte // of the certificate
	domain string            // trust domain: the host of every URI ends in it
	pool   *x509.CertPool
}

func parseRoot(der []byte) (*root, error) {
	if len(der) > maxRootBytes {
		return nil, fmt.Errorf("trust root of %d bytes, at most %d allowed", len(der), maxRootBytes)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse trust root: %w", err)
	}
	if !c.IsCA || len(c.PermittedURIDomains) != 1 || !strings.HasPrefix(c.PermittedURIDomains[0], ".") {
		return nil, errors.New("trust root is no CA that is constrained to one trust domain")
	}
	r := &root{cert: c, hash: sha256.Sum256(der), domain: c.PermittedURIDomains[0][1:], pool: x509.NewCertPool()}
	r.pool.AddCert(c)
	return r, nil
}

// hosts of the two kinds of credential. The member issuer, which is the likeliest
// to fall, is held to the first by its name constraint and so can't make a
// publisher.
func (r *root) memberHost() string   { return "member." + r.domain }
func (r *root) operatorHost() string { return "operator." + r.domain }

// A signer is a CA of ours with its key.
type signer struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newSerial() *big.Int {
	var b [16]byte
	rand.Read(b[:])
	b[0] = b[0]&0x7f | 0x40 // positive and 16 bytes long in DER
	return new(big.Int).SetBytes(b[:])
}

// newRoot makes a trust root with a random trust domain: the domain can't be the
// root's own hash, as the root is constrained to it.
func newRoot(now time.Time) (*signer, error) {
	var b [16]byte
	rand.Read(b[:])
	domain := hex.EncodeToString(b[:]) + ".p2pnode.internal"
	return makeCA(nil, &x509.Certificate{
		Subject:             pkix.Name{CommonName: "p2pnode root " + domain[:8]},
		NotAfter:            now.Add(rootLife),
		MaxPathLen:          1,
		PermittedURIDomains: []string{"." + domain},
	}, now)
}

// newIssuer makes an issuer below parent whose certificates must have host.
func newIssuer(parent *signer, kind, host string, now time.Time) (*signer, error) {
	return makeCA(parent, &x509.Certificate{
		Subject:             pkix.Name{CommonName: "p2pnode " + kind + " issuer"},
		NotAfter:            now.Add(issuerLife),
		MaxPathLenZero:      true,
		PermittedURIDomains: []string{host},
	}, now)
}

func makeCA(parent *signer, t *x509.Certificate, now time.Time) (*signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t.SerialNumber = newSerial()
	t.NotBefore = now.Add(-backdate)
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	t.BasicConstraintsValid, t.IsCA = true, true
	t.PermittedDNSDomainsCritical = true // all name constraints, despite its name
	self := &signer{cert: t, key: key}
	if parent == nil {
		parent = self
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent.cert, key.Public(), parent.key)
	if err != nil {
		return nil, fmt.Errorf("make certificate of %s: %w", t.Subject.CommonName, err)
	}
	self.cert, err = x509.ParseCertificate(der)
	return self, err
}

// leafTemplate returns the certificate of c under host, complete but for its
// signature.
func leafTemplate(host string, c Credential) (*x509.Certificate, error) {
	g, err := asn1.Marshal(grant{Roles: int(c.Roles), Name: c.Name})
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{
		SerialNumber:          newSerial(),
		NotBefore:             c.NotBefore,
		NotAfter:              c.NotAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		URIs:                  nodeURI(host, c.Site, c.Device),
		ExtraExtensions:       []pkix.Extension{{Id: oidGrant, Value: g}},
	}, nil
}

// issue signs a leaf for the key of c.Peer.
func (s *signer) issue(host string, c Credential, key ic.PubKey) (*x509.Certificate, error) {
	t, err := leafTemplate(host, c)
	if err != nil {
		return nil, err
	}
	std, err := stdKey(key)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, t, s.cert, std, s.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate of %s: %w", c.Name, err)
	}
	return x509.ParseCertificate(der)
}

// hostKey returns the libp2p form of a certificate's key: Ed25519 or P-256.
func hostKey(c *x509.Certificate) (ic.PubKey, peer.ID, error) {
	var (
		k   ic.PubKey
		err error
	)
	switch pub := c.PublicKey.(type) {
	case ed25519.PublicKey:
		k, err = ic.UnmarshalEd25519PublicKey(pub)
	case *ecdsa.PublicKey:
		if pub.Curve != elliptic.P256() {
			return nil, "", fmt.Errorf("key on curve %s, want P-256", pub.Curve.Params().Name)
		}
		k, err = ic.ECDSAPublicKeyFromPubKey(*pub)
	default:
		// RSA above all: its size is the attacker's choice (CVE-2023-39533).
		return nil, "", fmt.Errorf("key of type %s, want Ed25519 or P-256", c.PublicKeyAlgorithm)
	}
	if err != nil {
		return nil, "", err
	}
	id, err := peer.IDFromPublicKey(k)
	return k, id, err
}
