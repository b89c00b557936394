package trust

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	ic "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// EnrolOptions say how a node wants to join.
type EnrolOptions struct {
	// Name is what the node would like to be called; the invite or a member of
	// that name may overrule it. Default: the issuer chooses.
	Name string
	// Replace moves an identity that is there aside instead of failing.
	Replace bool
}

// Enrol joins the enterprise of a token: it makes a host key, has it certified by
// the issuer that the token leads to, and opens the new identity in dir.
//
// The token's secret is sent only inside a channel whose other end proved to be
// an issuer under the token's trust root. Tried again after a failure, Enrol uses
// the same key, for which the issuer counts the token once.
func Enrol(ctx context.Context, dir string, t Token, o EnrolOptions, opts ...Option) (*Identity, error) {
	if o.Name != "" {
		if err := CheckName(o.Name); err != nil {
			return nil, err
		}
	}
	with := optionsOf(opts)
	data := folder{with.disk, dir}
	replace := data.has(folderName)
	if replace && !o.Replace {
		return nil, fmt.Errorf("%s: %w", dir, ErrHasIdentity)
	}
	if err := data.make(); err != nil {
		return nil, err
	}
	one, err := data.lockAs("joining.lock")
	if err != nil {
		return nil, err
	}
	defer one.Close()
	stage, key, err := data.joining()
	if err != nil {
		return nil, err
	}
	a := &applicant{token: t, name: o.Name, key: key, wall: with.wall}
	if err := knock(ctx, with.listen, key, t.Bootstrap, a.ask); err != nil {
		return nil, fmt.Errorf("join with token %s: %w", t.Short(), err)
	}
	if err := a.settle(stage); err != nil {
		return nil, fmt.Errorf("keep new identity: %w", err)
	}
	if replace {
		if err := data.setAside(time.Now()); err != nil {
			return nil, fmt.Errorf("move old identity aside: %w", err)
		}
	}
	if err := data.adopt(stage); err != nil {
		return nil, err
	}
	return Load(dir, opts...)
}

// joining returns the folder that is to become the identity, and the host key in
// it: that of an attempt before, if there was one.
func (data folder) joining() (folder, ic.PrivKey, error) {
	d := data.at("trust.joining")
	if err := d.disk.mkdir(d.path); err != nil {
		return d, nil, err
	}
	if err := d.open(); err != nil {
		return d, nil, err
	}
	if d.has(hostKeyFile) {
		key, err := readHostKey(d.read)
		return d, key, err
	}
	key, _, err := ic.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return d, nil, err
	}
	text, err := encodeHostKey(key)
	if err != nil {
		return d, nil, err
	}
	return d, key, d.write(hostKeyFile, text)
}

// An applicant is the joiner's side of an enrolment, and what it brought home.
type applicant struct {
	token Token
	name  string
	key   ic.PrivKey
	wall  func() time.Time

	root      *root
	clock     *Clock
	chain     [][]byte
	lists     [][]byte
	bootstrap []string
}

// settle writes what was brought home into a folder.
func (a *applicant) settle(d folder) error {
	key, err := encodeHostKey(a.key)
	if err != nil {
		return err
	}
	v, err := makeMemory(d, state{
		Floor: a.clock.Now().Unix(), Bootstrap: a.bootstrap, Files: map[string][]byte{hostKeyFile: key},
	})
	if err != nil {
		return err
	}
	return settle(v, a.root, a.chain, a.lists)
}

func (a *applicant) ask(c channel, remote ic.PubKey) error {
	nonce := newNonce()
	if err := send(c, message{Kind: enrol, Token: a.token.ID[:], Nonce: nonce}); err != nil {
		return err
	}
	m, err := receive(c, offer)
	if err != nil {
		return err
	}
	if err := a.check(m, nonce, remote); err != nil {
		return err
	}
	if err := send(c, message{Kind: claim, Secret: a.token.Secret[:], Name: a.name}); err != nil {
		return err
	}
	if m, err = receive(c, welcome); err != nil {
		return err
	}
	p, err := a.root.verify(m.Chain, a.clock.Now())
	if err != nil {
		return fmt.Errorf("new credential: %w", err)
	}
	if !p.key.Equals(a.key.GetPublic()) {
		return errors.New("new credential is for another key")
	}
	if a.lists, err = readLists(c, m.Lists); err != nil {
		return err
	}
	a.chain = m.Chain
	for _, b := range a.token.Bootstrap {
		a.bootstrap = append(a.bootstrap, b.String())
	}
	a.bootstrap = addresses(append(a.bootstrap, m.Bootstrap...))
	return nil
}

// check holds an offer against the token: it must come from an issuer below the
// trust root that the token pins. Only then may the secret be sent.
func (a *applicant) check(m *message, nonce []byte, remote ic.PubKey) error {
	if sha256.Sum256(m.Root) != a.token.Root {
		return fmt.Errorf("who answered %w: its trust root is not the token's", ErrForeignEnterprise)
	}
	var err error
	if a.root, err = parseRoot(m.Root); err != nil {
		return err
	}
	b, at, err := checkBeacon(a.root, newRevocations(a.root, nil), m.Beacon)
	if err != nil {
		return err
	}
	if !bytes.Equal(b.Nonce, nonce) {
		return fmt.Errorf("%w: beacon was made for another nonce", ErrEnvelope)
	}
	// This time was signed for us by someone under the pinned root: nothing that
	// a new node has is better.
	a.clock = newClock(a.wall, time.Time{}, a.root.cert.NotAfter)
	a.clock.bind(at)
	p, err := a.root.verify(m.Chain, a.clock.Now())
	if err != nil {
		return err
	}
	switch {
	case !p.key.Equals(remote):
		return fmt.Errorf("%w: who answered shows the credential of another peer", ErrNotAdmitted)
	case !p.Roles.Has(Issuer):
		return fmt.Errorf("%w: %w %s", ErrNotAdmitted, ErrRole, Issuer)
	}
	return nil
}

func readLists(c channel, n int) ([][]byte, error) {
	var out [][]byte
	for range n {
		l, err := readFrame(c, maxList)
		if err != nil {
			return nil, fmt.Errorf("receive revocation list: %w", err)
		}
		out = append(out, l)
	}
	return out, nil
}

// addresses returns those of the texts that are addresses of peers, each once and
// at most twice maxBootstrap.
func addresses(texts []string) []string {
	var out []string
	for _, s := range texts {
		if _, err := peer.AddrInfoFromString(s); err == nil && !slices.Contains(out, s) && len(out) < 2*maxBootstrap {
			out = append(out, s)
		}
	}
	return out
}

// serve is the issuer's side of enrolments and of renewals by nodes that can't be
// admitted any more. It runs before the swarm knows of the connection.
func (a *Admission) serve(c channel, in *message, remote ic.PubKey) error {
	auth := a.id.authority
	if auth == nil {
		if in.Kind == enrol {
			return ErrTokenUnknown
		}
		return ErrNotAdmitted
	}
	var chain [][]byte
	var err error
	if in.Kind == enrol {
		chain, err = a.serveEnrolment(c, in, remote)
	} else {
		chain, err = a.serveLate(in, remote)
	}
	if err != nil {
		return err
	}
	if err := a.sendWelcome(c, chain); err != nil {
		return err
	}
	linger(c)
	return nil
}

func (a *Admission) serveEnrolment(c channel, in *message, remote ic.PubKey) ([][]byte, error) {
	if !a.id.authority.knows(in.Token) {
		return nil, ErrTokenUnknown
	}
	env, err := a.id.makeBeacon(in.Nonce)
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(exchangeTime - strangerTime)); err != nil {
		return nil, err
	}
	if err := send(c, message{Kind: offer, Root: a.id.root.cert.Raw, Chain: a.id.proof().raw, Beacon: env}); err != nil {
		return nil, err
	}
	m, err := receive(c, claim)
	if err != nil {
		return nil, err
	}
	chain, err := a.id.authority.claim(in.Token, m.Secret, m.Name, remote, a.id.clock.Now())
	if err != nil {
		return nil, err
	}
	// Certificates that the new one replaces are listed at once.
	if a.id.authority.unlisted(a.id.revoked) {
		if err := a.id.relist(); err != nil {
			return nil, err
		}
		a.notify()
	}
	return chain, nil
}

// serveLate renews a credential that ran out: its holder has proven the key by
// the channel, and nobody revoked it.
func (a *Admission) serveLate(in *message, remote ic.PubKey) ([][]byte, error) {
	p, err := verifyInLife(a.id.root, in.Chain)
	if err != nil {
		return nil, err
	}
	if err := a.id.revoked.check(p); err != nil {
		return nil, err
	}
	if !p.key.Equals(remote) {
		return nil, fmt.Errorf("%w: the credential is that of %s, another peer", ErrNotAdmitted, p.Peer)
	}
	now := a.id.clock.Now()
	if now.After(p.NotAfter.Add(renewAfter)) {
		return nil, fmt.Errorf("%w: %w too long ago, on %s", ErrNotAdmitted, ErrExpired, stamp(p.NotAfter))
	}
	return a.id.authority.renew(p, now)
}

func (a *Admission) sendWelcome(c channel, chain [][]byte) error {
	heads := a.id.revoked.heads()
	err := send(c, message{Kind: welcome, Chain: chain, Lists: len(heads), Bootstrap: a.reachable()})
	for _, h := range heads {
		if err == nil {
			err = writeFrame(c, a.id.revoked.raw(h.Issuer))
		}
	}
	return err
}

// reachable returns addresses of this node to tell those who join.
func (a *Admission) reachable() []string {
	a.mu.Lock()
	h := a.host
	a.mu.Unlock()
	if h == nil {
		return nil
	}
	addrs, err := peer.AddrInfoToP2pAddrs(&peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()})
	if err != nil {
		return nil
	}
	var out []string
	for _, x := range addrs[:min(len(addrs), maxBootstrap)] {
		out = append(out, x.String())
	}
	return out
}

// A joiner is the greeter of a connection that is not to become one: it dials,
// asks, and is done.
type joiner struct {
	ask func(channel, ic.PubKey) error
}

func (j joiner) enter(ma.Multiaddr) func() { return nil }
func (j joiner) refuse(Refusal)            {}
func (j joiner) line(Credential) Line      { return nil }
func (j joiner) dial(c channel, remote ic.PubKey) (Credential, error) {
	if err := j.ask(c, remote); err != nil {
		return Credential{}, err
	}
	return Credential{}, errServed
}

func (j joiner) accept(channel, ic.PubKey, ma.Multiaddr) (Credential, error) {
	return Credential{}, ErrNotAdmitted
}
