package trust

import (
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"testing"
	"time"

	ic "github.com/libp2p/go-libp2p/core/crypto"

	"github.com/p2pnode/p2pnode/content"
)

// A chronicle is an issuer's disk at two times, and what an attacker kept of the
// first to offer again.
type chronicle struct {
	old, now *memDisk
	begin    time.Time
	in       time.Duration // what the machine's clock shows, after begin

	used, withdrawn   Token
	lost              ic.PrivKey // of a device that was revoked
	lostChain         [][]byte
	oldLists, lists   [][]byte
	oldBeacon, beacon []byte
	expired           [][]byte // ran out before begin
}

func (c *chronicle) load(d *memDisk) (*Identity, error) {
	return Load("/data", on(d), WithWall(func() time.Time { return c.begin.Add(c.in) }))
}

func newChronicle(t testing.TB) *chronicle {
	t.Helper()
	c := &chronicle{begin: time.Now().UTC().Truncate(time.Second), in: 2 * time.Hour, lost: newKey(t)}
	d := newMemDisk()
	id, err := Init("/data", "hq", "first", on(d), WithWall(func() time.Time { return c.begin }))
	check(t, err)
	f := newForger(t, id)
	c.expired = f.leaf(newKey(t), f.member, func(x *x509.Certificate) {
		x.NotBefore, x.NotAfter = c.begin.Add(-48*time.Hour), c.begin.Add(-time.Hour)
	})
	beaconAt := func(at time.Time) []byte {
		b, err := id.sign(beaconType, encode(beacon{Enterprise: id.root.hash, Heads: id.revoked.heads()}), at)
		check(t, err)
		_, err = id.tell(b, nil)
		check(t, err)
		return b
	}
	c.used, err = id.Invite(InviteOptions{Site: "x", Name: "lost", Bootstrap: []string{anyAddress}})
	check(t, err)
	c.withdrawn, err = id.Invite(InviteOptions{Site: "x", Bootstrap: []string{anyAddress}})
	check(t, err)
	check(t, id.Accept("app", 4, content.ID{4}))
	c.oldLists, c.oldBeacon = id.memory.get().Lists, beaconAt(c.begin)
	c.old = d.clone()

	c.lostChain, err = id.authority.claim(c.used.ID[:], c.used.Secret[:], "", c.lost.GetPublic(), c.begin)
	check(t, err)
	check(t, id.Withdraw(c.withdrawn))
	_, err = id.Revoke("lost", "")
	check(t, err)
	check(t, id.Accept("app", 5, content.ID{5}))
	c.lists, c.beacon = id.memory.get().Lists, beaconAt(c.begin.Add(time.Hour))
	check(t, id.Close())
	c.now = d.clone()
	return c
}

// goOn learns something newer of each kind.
func (c *chronicle) goOn(id *Identity) error {
	b, err := id.sign(beaconType, encode(beacon{Enterprise: id.root.hash}), c.begin.Add(90*time.Minute))
	if err == nil {
		_, err = id.tell(b, nil)
	}
	if err == nil {
		err = id.relist()
	}
	if err == nil {
		err = id.Accept("app", 6, content.ID{6})
	}
	if err == nil {
		_, err = id.Invite(InviteOptions{Site: "x", Bootstrap: []string{anyAddress}})
	}
	return err
}

func want(err, is error) error {
	if !errors.Is(err, is) {
		return fmt.Errorf("%v, want %v", err, is)
	}
	return nil
}

// An attack returns an error if it got through. heals says that what peers hold
// ends it on a disk that was put back; else only the issuer's ledger could.
type attack struct {
	name  string
	heals bool
	try   func(*chronicle, *Identity) error
}

func (c *chronicle) lostIsOut(id *Identity) error {
	p, err := verifyInLife(id.root, c.lostChain)
	if err != nil {
		return err
	}
	return want(id.revoked.check(p), ErrRevoked)
}

func (c *chronicle) list(id *Identity, number uint64) error {
	l, err := signList(id.authority.member, number, nil, nil, c.begin)
	if err != nil {
		return err
	}
	if news, err := id.revoked.apply(l); err != nil || news {
		return fmt.Errorf("list %d taken: %v", number, err)
	}
	return c.lostIsOut(id)
}

func (c *chronicle) signedTime(id *Identity, env []byte) error {
	before, floor := id.memory.get().Beacon, id.clock.Now()
	if news, _ := id.tell(env, nil); news || string(id.memory.get().Beacon) != string(before) {
		return errors.New("beacon taken")
	}
	if id.clock.Now().Sub(floor) > time.Minute {
		return errors.New("the clock moved")
	}
	return nil
}

var attacks = []attack{
	{"an older release", true, func(_ *chronicle, id *Identity) error {
		return want(id.Accept("app", 4, content.ID{4}), ErrRollback)
	}},
	{"the newest content under an older number", true, func(_ *chronicle, id *Identity) error {
		return want(id.Accept("app", 4, content.ID{5}), ErrRollback)
	}},
	{"another content under the newest number", true, func(_ *chronicle, id *Identity) error {
		seq, _, _ := id.Seen("app")
		return want(id.Accept("app", min(seq, 5), content.ID{0xbd}), map[bool]error{true: ErrEquivocation, false: ErrRollback}[seq == 5])
	}},
	{"an older revocation list", true, func(c *chronicle, id *Identity) error {
		for _, l := range c.oldLists {
			if news, err := id.revoked.apply(l); err != nil || news {
				return fmt.Errorf("taken: %v", err)
			}
		}
		return c.lostIsOut(id)
	}},
	{"another list under the newest number", true, func(c *chronicle, id *Identity) error { return c.list(id, 2) }},
	{"a higher list of the other issuer", true, func(c *chronicle, id *Identity) error {
		l, err := signList(id.authority.oper, 99, nil, nil, c.begin)
		if err == nil {
			_, err = id.revoked.apply(l)
		}
		if err != nil {
			return err
		}
		return c.lostIsOut(id)
	}},
	{"an older beacon", true, func(c *chronicle, id *Identity) error { return c.signedTime(id, c.oldBeacon) }},
	{"a beacon for another's nonce", true, func(c *chronicle, id *Identity) error {
		b, err := id.sign(beaconType, encode(beacon{Enterprise: id.root.hash, Nonce: newNonce()}), c.begin.Add(20*24*time.Hour))
		if err != nil {
			return err
		}
		return c.signedTime(id, b)
	}},
	{"a beacon of a time beyond its signer's end", true, func(c *chronicle, id *Identity) error {
		b, err := id.sign(beaconType, encode(beacon{Enterprise: id.root.hash}), c.begin.Add(leafLife+time.Hour))
		if err != nil {
			return err
		}
		return c.signedTime(id, b)
	}},
	{"a credential that ran out, with the clock set back", true, func(c *chronicle, id *Identity) error {
		_, err := id.root.verify(c.expired, id.clock.Now())
		return want(err, ErrExpired)
	}},
	{"a token that was used", false, func(c *chronicle, id *Identity) error {
		key, _, err := ic.GenerateEd25519Key(rand.Reader)
		if err != nil {
			return err
		}
		_, err = id.authority.claim(c.used.ID[:], c.used.Secret[:], "", key.GetPublic(), c.begin)
		return want(err, ErrTokenUsed)
	}},
	{"a token that was withdrawn", false, func(c *chronicle, id *Identity) error {
		_, err := id.authority.claim(c.withdrawn.ID[:], c.withdrawn.Secret[:], "", c.lost.GetPublic(), c.begin)
		return want(err, ErrTokenUnknown)
	}},
}

// G14: 12 attacks with what was true once, in four situations. The clock is set
// back to before everything in all of them.
func TestOldTruthsAreRefused(t *testing.T) {
	t.Parallel()
	c := newChronicle(t)
	c.in = -30 * time.Minute // the clock of the machine is behind from here on
	try := func(t *testing.T, what string, d *memDisk, a attack) {
		t.Helper()
		id, err := c.load(d)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if err := a.try(c, id); err != nil {
			t.Errorf("%s: %s got through: %v", what, a.name, err)
		}
		check(t, id.Close())
	}
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			// The first start: in the same process that learned it.
			id, err := c.load(c.old.clone())
			check(t, err)
			_, err = id.authority.claim(c.used.ID[:], c.used.Secret[:], "", c.lost.GetPublic(), c.begin)
			check(t, err)
			check(t, errors.Join(id.Withdraw(c.withdrawn), id.Accept("app", 5, content.ID{5})))
			for _, l := range c.lists {
				_, err := id.revoked.apply(l)
				check(t, err)
			}
			_, err = id.tell(c.beacon, nil)
			check(t, err)
			if err := a.try(c, id); err != nil {
				t.Errorf("first start: got through: %v", err)
			}
			check(t, id.Close())

			try(t, "restart", c.now.clone(), a)
		})
	}
	// The power goes between verifying something newer and having it on disk.
	d := c.now.clone()
	id, err := c.load(d)
	check(t, err)
	op, states, turn := 0, 0, 0
	d.before = func(string, string) error {
		if op++; op%3 == 0 && len(d.pending) > 0 {
			states += d.cuts(2, func(image *memDisk) {
				try(t, "crash", image, attacks[turn%len(attacks)])
				turn++
			})
		}
		return nil
	}
	for range 4 {
		check(t, c.goOn(id))
	}
	d.before = nil
	check(t, id.Close())
	for _, a := range attacks {
		try(t, "after it", d.clone(), a)
	}
	if states < 3*len(attacks) {
		t.Errorf("only %d crashes", states)
	}
	t.Logf("%d attacks; %d crashes", len(attacks), states)
}

// The fourth situation of G14 is a disk image put back as a whole. Alone, such a
// node can't know: it believes what it believed. What its peers hold shows it, and
// brings back all but the issuer's own ledger.
func TestOlderDiskImageIsNoticed(t *testing.T) {
	t.Parallel()
	c := newChronicle(t)
	c.in = -30 * time.Minute
	for _, a := range attacks {
		id, err := c.load(c.old.clone())
		check(t, err)
		if id.TurnedBack() != nil {
			t.Fatal("known without any peer")
		}
		for _, l := range c.lists {
			_, err := id.heed(l)
			check(t, err)
		}
		if !errors.Is(id.TurnedBack(), ErrTurnedBack) {
			t.Fatalf("%s: own newer lists from a peer: %v", a.name, id.TurnedBack())
		}
		_, err = id.tell(c.beacon, nil)
		check(t, err)
		check(t, id.Accept("app", 5, content.ID{5}))
		if err := a.try(c, id); err != nil && a.heals {
			t.Errorf("%s got through: %v", a.name, err)
		} else if err == nil && !a.heals {
			t.Errorf("%s is refused: then it heals as well", a.name)
		}
		check(t, id.Close())
	}
	// A publisher's own release is as good a witness; another's is none.
	id, err := c.load(c.old.clone())
	check(t, err)
	defer func() { check(t, id.Close()) }()
	other := id.Credential()
	other.Peer = "someone"
	id.Recall("app", 9, []Credential{other})
	id.Recall("app", 4, []Credential{id.Credential()})
	if err := id.TurnedBack(); err != nil {
		t.Errorf("without a reason: %v", err)
	}
	id.Recall("app", 5, []Credential{other, id.Credential()})
	if err := id.TurnedBack(); !errors.Is(err, ErrTurnedBack) {
		t.Errorf("own newer release: %v", err)
	}
}

// A map of sites that was signed earlier than one that was used isn't, after a restart
// either.
func TestOlderMapOfSitesIsRefused(t *testing.T) {
	d, now := newMemDisk(), time.Now()
	id, err := Init("/data", "hq", "first", on(d))
	check(t, err)
	check(t, id.AcceptSites(now, content.Hash{1}))
	check(t, id.AcceptSites(now, content.Hash{1}))
	check(t, id.AcceptSites(now.Add(time.Second), content.Hash{2}))
	check(t, id.Close())
	id, err = Load("/data", on(d))
	check(t, err)
	if err := id.AcceptSites(now, content.Hash{1}); err == nil {
		t.Error("an older one was taken")
	}
	if err := id.AcceptSites(now.Add(time.Second), content.Hash{3}); err == nil {
		t.Error("another one of the same second was taken")
	}
	check(t, id.AcceptSites(now.Add(time.Minute), content.Hash{3}))
	check(t, id.Close())
}
