package trust

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	ic "github.com/libp2p/go-libp2p/core/crypto"
)

// A proof is a chain that was verified, and what it proves.
type proof struct {
	Credential
	key   ic.PubKey
	raw   [][]byte            // as sent: leaf first, root left out
	certs []*x509.Certificate // leaf to root
}

// verify checks a chain as it came from the wire, at a time. Revocation and the
// key of the channel are the caller's.
func (r *root) verify(chain [][]byte, at time.Time) (*proof, error) {
	certs, err := parseChain(chain)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrNotAdmitted, err)
	}
	leaf := certs[0]
	between := x509.NewCertPool()
	for _, c := range certs[1:] {
		between.AddCert(c)
	}
	paths, err := leaf.Verify(x509.VerifyOptions{
		Roots: r.pool, Intermediates: between, CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil, r.why(certs, at, err)
	}
	certs = append(certs, r.cert)
	if !slices.EqualFunc(paths[0], certs, (*x509.Certificate).Equal) {
		return nil, fmt.Errorf("%w: chain is out of order or has certificates to spare", ErrNotAdmitted)
	}
	p := &proof{raw: chain, certs: certs}
	if err := p.readLeaf(r, leaf); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrNotAdmitted, err)
	}
	return p, nil
}

func parseChain(chain [][]byte) ([]*x509.Certificate, error) {
	if len(chain) == 0 {
		return nil, errors.New("no credential")
	}
	if len(chain) > maxChain {
		return nil, fmt.Errorf("chain of %d certificates, at most %d allowed", len(chain), maxChain)
	}
	size := 0
	for _, der := range chain {
		size += len(der)
	}
	if size > maxChainBytes {
		return nil, fmt.Errorf("chain of %d bytes, at most %d allowed", size, maxChainBytes)
	}
	certs := make([]*x509.Certificate, len(chain))
	for i, der := range chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		// Before any signature is checked: only keys whose cost is known.
		switch c.PublicKey.(type) {
		case ed25519.PublicKey, *ecdsa.PublicKey:
		default:
			return nil, fmt.Errorf("key of type %s", c.PublicKeyAlgorithm)
		}
		certs[i] = c
	}
	return certs, nil
}

// why turns the verdict of crypto/x509 into one of our errors. A chain that only
// the time speaks against is told apart from a foreign one by verifying it again
// at a time when all of it was valid.
func (r *root) why(certs []*x509.Certificate, at time.Time, err error) error {
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("%w: %w", ErrNotAdmitted, ErrForeignEnterprise)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		for _, c := range append(slices.Clone(certs), r.cert) {
			if at.Before(c.NotBefore) {
				return fmt.Errorf("%w: %w (from %s, now %s)", ErrNotAdmitted, ErrNotYetValid, stamp(c.NotBefore), stamp(at))
			}
			if at.After(c.NotAfter) {
				return fmt.Errorf("%w: %w (on %s, now %s)", ErrNotAdmitted, ErrExpired, stamp(c.NotAfter), stamp(at))
			}
		}
	}
	return fmt.Errorf("%w: %v", ErrNotAdmitted, err)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// readLeaf holds a leaf to our profile and reads what it says.
func (p *proof) readLeaf(r *root, leaf *x509.Certificate) error {
	key, id, err := hostKey(leaf)
	if err != nil {
		return err
	}
	switch {
	case leaf.IsCA:
		return errors.New("the leaf is a CA")
	case leaf.KeyUsage != x509.KeyUsageDigitalSignature:
		return errors.New("key usage is not digitalSignature alone")
	case len(leaf.UnknownExtKeyUsage) > 0 || len(leaf.ExtKeyUsage) != 2 ||
		!slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) || !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth):
		return errors.New("extended key usage is not client and server")
	case len(leaf.UnhandledCriticalExtensions) > 0:
		return fmt.Errorf("critical extension %s is not known", leaf.UnhandledCriticalExtensions[0])
	}
	if err := oneName(leaf); err != nil {
		return err
	}
	host, site, device, err := parseNodeURI(leaf.URIs[0])
	if err != nil {
		return err
	}
	g, err := readGrant(leaf)
	if err != nil {
		return err
	}
	roles := Roles(g.Roles)
	switch {
	case g.Roles&^int(allRoles) != 0 || !roles.Has(Member):
		return fmt.Errorf("roles %#x are not known", g.Roles)
	case host == r.memberHost() && roles != Member:
		return fmt.Errorf("a member's credential claims the roles %s", roles)
	case host != r.memberHost() && host != r.operatorHost():
		return fmt.Errorf("host %q is not of this enterprise", host)
	}
	p.key = key
	p.Credential = Credential{
		Peer: id, Device: device, Name: g.Name, Site: site, Roles: roles,
		Serial: leaf.SerialNumber.Text(16), NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
	}
	return nil
}

// oneName demands that the subject alternative name is one URI and nothing else,
// in the encoding and not just in what the parser made of it.
func oneName(leaf *x509.Certificate) error {
	var names []asn1.RawValue
	for _, e := range leaf.Extensions {
		if !e.Id.Equal(oidSAN) {
			continue
		}
		if rest, err := asn1.Unmarshal(e.Value, &names); err != nil || len(rest) > 0 {
			return errors.New("subject alternative name can't be read")
		}
	}
	if len(names) != 1 || len(leaf.URIs) != 1 {
		return fmt.Errorf("%d alternative names, %d of them URIs; want one URI", len(names), len(leaf.URIs))
	}
	return nil
}

func readGrant(leaf *x509.Certificate) (grant, error) {
	var g grant
	for _, e := range leaf.Extensions {
		if !e.Id.Equal(oidGrant) {
			continue
		}
		rest, err := asn1.Unmarshal(e.Value, &g)
		if err != nil || len(rest) > 0 {
			return grant{}, errors.New("roles can't be read")
		}
		if again, err := asn1.Marshal(g); err != nil || !bytes.Equal(again, e.Value) {
			return grant{}, errors.New("roles are not in DER")
		}
		return g, CheckName(g.Name)
	}
	return grant{}, errors.New("no roles")
}

// A node's URI is spiffe://<host>/site/<site>/node/<device>.
func nodeURI(host, site, device string) []*url.URL {
	return []*url.URL{{Scheme: "spiffe", Host: host, Path: "/site/" + site + "/node/" + device}}
}

func parseNodeURI(u *url.URL) (host, site, device string, err error) {
	part := strings.Split(u.Path, "/")
	if len(part) != 5 || part[1] != "site" || part[3] != "node" || !label(part[2], false) || !label(part[4], false) {
		return "", "", "", fmt.Errorf("URI %q is not that of a node", u)
	}
	if want := nodeURI(u.Host, part[2], part[4])[0]; u.String() != want.String() {
		return "", "", "", fmt.Errorf("URI %q is not that of a node", u)
	}
	return u.Host, part[2], part[4], nil
}
