package trust

import (
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// Invite makes a token that admits members to a site. The token's text is shown
// once; only a hash of its secret is kept.
func (id *Identity) Invite(o InviteOptions) (Token, error) {
	if id.authority == nil {
		return Token{}, ErrNotIssuer
	}
	if o.Uses == 0 {
		o.Uses = 1
	}
	if o.Expires == 0 {
		o.Expires = 24 * time.Hour
	}
	if err := CheckSite(o.Site); err != nil {
		return Token{}, err
	}
	if o.Name != "" {
		if err := CheckName(o.Name); err != nil {
			return Token{}, err
		}
		if o.Uses > 1 {
			return Token{}, fmt.Errorf("a name is for one node: an invite with %d uses can't give one", o.Uses)
		}
	}
	switch {
	case o.Uses < 1 || o.Uses > maxUses:
		return Token{}, fmt.Errorf("%d uses: want 1 to %d", o.Uses, maxUses)
	case o.Expires < time.Minute || o.Expires > maxExpiry:
		return Token{}, fmt.Errorf("expires in %s: want 1 minute to %s", o.Expires, maxExpiry)
	case len(o.Bootstrap) == 0 || len(o.Bootstrap) > maxBootstrap:
		return Token{}, fmt.Errorf("%d bootstrap addresses: want 1 to %d", len(o.Bootstrap), maxBootstrap)
	}
	var addrs []ma.Multiaddr
	for _, s := range o.Bootstrap {
		a, err := ma.NewMultiaddr(s)
		if err == nil {
			_, err = peer.AddrInfoFromP2pAddr(a)
		}
		if err != nil {
			return Token{}, fmt.Errorf("bootstrap address %q: %w", s, err)
		}
		addrs = append(addrs, a)
	}
	t := newToken(id.root.hash, addrs)
	if n := len(t.String()); n > maxTokenText {
		return Token{}, fmt.Errorf("token of %d bytes: give fewer or shorter bootstrap addresses", n)
	}
	return t, id.authority.invite(t, o, id.clock.Now())
}

// Withdraw ends a token before its time.
func (id *Identity) Withdraw(t Token) error {
	if id.authority == nil {
		return ErrNotIssuer
	}
	return id.authority.withdraw(t.ID, id.clock.Now())
}

// Members lists every device that ever got a credential here, by site and name.
func (id *Identity) Members() ([]MemberRecord, error) {
	if id.authority == nil {
		return nil, ErrNotIssuer
	}
	return id.authority.members(), nil
}

// Revoke ends the membership of a device, given its id, peer id or name, and
// signs new revocation lists. A running Admission tells the others; see
// Admission.Revoke.
func (id *Identity) Revoke(who, reason string) (MemberRecord, error) {
	if id.authority == nil {
		return MemberRecord{}, ErrNotIssuer
	}
	m, err := id.authority.revoke(who, reason, id.Credential().Peer, id.clock.Now())
	if err != nil {
		return m, err
	}
	return m, id.relist()
}

// relist signs the issuers' lists anew.
func (id *Identity) relist() error {
	id.authority.listing.Lock()
	defer id.authority.listing.Unlock()
	lists, err := id.authority.signLists(id.revoked.heads(), id.clock.Now())
	if err != nil {
		return err
	}
	for _, l := range lists {
		if _, err := id.revoked.apply(l); err != nil {
			return err
		}
	}
	return nil
}

// refresh renews an issuer's own credential, lists and beacon if they are due; it
// reports whether anything is new.
func (id *Identity) refresh() (bool, error) {
	now := id.clock.Now()
	changed := false
	if p := id.proof(); now.After(p.NotBefore.Add(backdate + leafLife/2)) {
		chain, err := id.authority.renew(p, now)
		if err == nil {
			err = id.renewed(chain)
		}
		if err != nil {
			return changed, fmt.Errorf("renew own credential: %w", err)
		}
		changed = true
	}
	if id.authority.unlisted(id.revoked) || id.revoked.oldest().Add(listEvery).Before(now) {
		if err := id.relist(); err != nil {
			return changed, err
		}
		changed = true
	}
	if _, at := id.Beacon(); changed || now.Sub(at) >= beaconEvery {
		env, err := id.makeBeacon(nil)
		if err == nil {
			_, err = id.tell(env, nil)
		}
		if err != nil {
			return changed, fmt.Errorf("sign time: %w", err)
		}
		changed = true
	}
	return changed, nil
}
