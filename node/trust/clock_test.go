package trust

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

const year = 365 * 24 * time.Hour

// healTime is what G10 gives. A dial that failed while the clock was wrong keeps
// libp2p from the next one for 5 s, and for longer the second time.
const healTime = time.Minute

// off is a system's clock that is wrong by d.
func off(d time.Duration) Option {
	return WithWall(func() time.Time { return time.Now().Add(d) })
}

// near is whether two times are the same as far as trust is concerned.
func near(a, b time.Time) bool { return a.Sub(b).Abs() < tolerance }

// G10: with its clock wrong by any of these, a node joins and connects, to the
// issuer and to a plain member, over both transports and after a restart.
func TestWrongClockJoinsAndConnects(t *testing.T) {
	t.Parallel()
	first := start(t, newEnterprise(t), Config{}, true)
	member := start(t, join(t, first, "hq", "member", "tcp"), Config{}, true)
	check(t, member.Connect(t.Context(), first.addrs("tcp")))
	within(t, patience, "member has a beacon", func() bool { b, _ := member.Beacon(); return len(b) > 0 })
	for _, c := range []struct {
		name string
		off  time.Duration
		then ClockState
	}{
		{"-10 years", -10 * year, ClockBehind}, {"-48 h", -48 * time.Hour, ClockBehind}, {"-25 h", -25 * time.Hour, ClockBehind},
		{"right", 0, ClockGood}, {"+25 h", 25 * time.Hour, ClockAnchored}, {"+10 years", 10 * year, ClockAnchored},
	} {
		for _, tr := range transports {
			t.Run(c.name+" "+tr, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				tok, err := first.Invite(InviteOptions{Site: "hq", Bootstrap: first.p2pAddrs(t, tr)})
				check(t, err)
				id, err := Enrol(t.Context(), dir, tok, EnrolOptions{}, off(c.off))
				check(t, err)
				check(t, id.Close())
				id, err = Load(dir, off(c.off)) // an anchor is lost with the process
				check(t, err)
				defer func() { check(t, id.Close()) }()
				serial := id.Credential().Serial
				n := start(t, id, Config{}, true)
				within(t, healTime, "connects to the member", func() bool { return n.Connect(t.Context(), member.addrs(tr)) == nil })
				within(t, healTime, "connects to the issuer", func() bool { return n.Connect(t.Context(), first.addrs(tr)) == nil })
				within(t, healTime, "clock is put right", func() bool { return near(id.clock.Now(), time.Now()) })
				if got := id.clock.State(); got != c.then {
					t.Errorf("clock is %s, want %s", got, c.then)
				}
				if c.then == ClockGood && id.Credential().Serial != serial {
					t.Error("credential was replaced")
				}
			})
		}
	}
}

// A clock far ahead makes everything look expired. The node says so, admits
// nothing on the strength of it, throws nothing away, and heals at an issuer.
func TestSuspectClockIsSeenAndHeals(t *testing.T) {
	t.Parallel()
	first := start(t, newEnterprise(t), Config{}, true)
	member := start(t, join(t, first, "hq", "member", "tcp"), Config{}, true)
	id := join(t, first, "hq", "ahead", "tcp")
	dir := id.memory.dir
	serial := id.Credential().Serial
	id.clock = newClock(func() time.Time { return time.Now().Add(10 * year) }, time.Now(), id.root.cert.NotAfter)
	n := start(t, id, Config{}, false)
	if err := n.Connect(t.Context(), member.addrs("tcp")); !errors.Is(err, ErrExpired) {
		t.Fatalf("connected with every credential expired by this clock: %v", err)
	}
	if s := id.clock.State(); s != ClockSuspect {
		t.Fatalf("clock is %s", s)
	}
	runNode(t, n)
	within(t, healTime, "clock is put right", func() bool { return id.clock.State() == ClockAnchored })
	within(t, healTime, "connects", func() bool { return n.Connect(t.Context(), member.addrs("tcp")) == nil })
	if id.Credential().Serial != serial || !dir.has(credentialFile) || !dir.has(slotNames[0]) {
		t.Error("something was replaced or deleted")
	}
	if !near(id.clock.Now(), time.Now()) {
		t.Errorf("it is %s for it", id.clock.Now())
	}
}

func TestClockNeverGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		roof := begin.Add(20 * year)
		wall := begin
		c := newClock(func() time.Time { return wall }, time.Time{}, roof)
		c.floor = time.Time{} // forget the time of the build
		want := func(at time.Time, s ClockState) {
			t.Helper()
			if now := c.Now(); !now.Equal(at) || c.State() != s {
				t.Fatalf("now %s, %s; want %s, %s", now, c.State(), at, s)
			}
		}
		want(begin, ClockGood)
		c.raise(begin.Add(time.Hour))
		want(begin.Add(time.Hour), ClockBehind)
		c.raise(begin.Add(time.Minute))
		want(begin.Add(time.Hour), ClockBehind)
		time.Sleep(time.Hour) // the floor rises with the time that passes
		want(begin.Add(2*time.Hour), ClockBehind)
		wall = begin.Add(3 * time.Hour)
		want(wall, ClockGood)

		// Ahead, but nothing looks expired: nothing to suspect.
		wall = begin.Add(30 * 24 * time.Hour)
		want(wall, ClockGood)
		if !c.doubtful() {
			t.Fatal("a month ahead of all signed times is not in doubt")
		}
		c.sawExpired()
		want(wall, ClockSuspect)
		c.bind(begin.Add(3 * time.Hour))
		want(begin.Add(3*time.Hour), ClockAnchored)
		time.Sleep(time.Hour)
		want(begin.Add(4*time.Hour), ClockAnchored)
		wall = begin.Add(4*time.Hour + tolerance/2) // someone set it right
		want(wall, ClockGood)

		// A signed time below the floor can't turn it back.
		wall = begin.Add(30 * 24 * time.Hour)
		c.bind(begin)
		want(begin.Add(4*time.Hour), ClockAnchored)

		c.raise(roof.Add(year))
		if now := c.Now(); now.After(roof.Add(tolerance)) {
			t.Fatalf("floor above the roof: %s", now)
		}
	})
}

func TestBeaconsThatDontCount(t *testing.T) {
	t.Parallel()
	id, other := newEnterprise(t), newEnterprise(t)
	f := newForger(t, id)
	good, err := id.makeBeacon(nil)
	check(t, err)
	byMember, err := f.someone(f.member, nil).makeBeacon(nil)
	check(t, err)
	foreign, err := other.makeBeacon(nil)
	check(t, err)
	later, err := id.sign(beaconType, encode(beacon{Enterprise: id.root.hash}), time.Now().Add(leafLife+time.Hour))
	check(t, err)
	wrongType, err := id.sign("other", encode(beacon{Enterprise: id.root.hash}), time.Now())
	check(t, err)
	elsewhere, err := id.sign(beaconType, encode(beacon{}), time.Now())
	check(t, err)
	nonce, err := id.makeBeacon(newNonce())
	check(t, err)
	for name, b := range map[string][]byte{
		"of a member": byMember, "of another enterprise": foreign, "for another enterprise": elsewhere, "beyond its signer's end": later,
		"of another type": wrongType, "for another's nonce": nonce, "cut short": good[:len(good)-1], "no beacon": {0xa0}, "large": make([]byte, maxBeacon+1),
	} {
		before := id.clock.floor
		if news, err := id.tell(b, nil); err == nil || news {
			t.Errorf("%s: taken", name)
		}
		if !id.clock.floor.Equal(before) {
			t.Errorf("%s: moved the clock", name)
		}
	}
	if f := id.Freshness(); !f.Stale {
		t.Errorf("fresh without any beacon: %+v", f)
	}
	if news, err := id.tell(good, nil); err != nil || !news {
		t.Errorf("good one refused: %v", err)
	}
	if f := id.Freshness(); f.Stale || f.Missing != 0 || !near(f.Beacon, time.Now()) {
		t.Errorf("with a new beacon: %+v", f)
	}
	check(t, id.relist())
	newer, err := id.sign(beaconType, encode(beacon{Enterprise: id.root.hash, Heads: id.revoked.heads()}), time.Now().Add(time.Minute))
	check(t, err)
	// Someone who got the beacon and not the lists knows what is missing.
	v := scratch(t)
	late := &Identity{root: id.root, clock: id.clock, revoked: newRevocations(id.root, v), memory: v}
	_, err = late.tell(newer, nil)
	check(t, err)
	if f := late.Freshness(); f.Missing != 2 {
		t.Errorf("without any list: %+v", f)
	}
	late.clock = newClock(func() time.Time { return time.Now().Add(beaconLife + time.Hour) }, time.Time{}, id.root.cert.NotAfter)
	if f := late.Freshness(); !f.Stale {
		t.Errorf("a week later: %+v", f)
	}
}

// aged makes an enterprise and a member of it that are as old as that, both
// stopped, and returns their folders.
func aged(t *testing.T, age time.Duration) (issuer, member string) {
	t.Helper()
	issuer, member = t.TempDir(), t.TempDir()
	id, err := Init(issuer, "hq", "first", off(-age))
	check(t, err)
	n := start(t, id, Config{}, false)
	tok, err := n.Invite(InviteOptions{Site: "hq", Bootstrap: n.p2pAddrs(t, "tcp")})
	check(t, err)
	m, err := Enrol(t.Context(), member, tok, EnrolOptions{Name: "m"}, off(-age))
	check(t, err)
	check(t, errors.Join(m.Close(), id.Close(), n.Host.Close()))
	return issuer, member
}

// reopen starts from a folder that knows a node over these transports.
func reopen(t *testing.T, dir string, at *testNode, over ...string) *Identity {
	t.Helper()
	id, err := Load(dir)
	check(t, err)
	t.Cleanup(func() { check(t, id.Close()) })
	if at != nil {
		check(t, id.memory.commit(func(next *state) error {
			next.Bootstrap = nil
			for _, tr := range over {
				next.Bootstrap = append(next.Bootstrap, at.p2pAddrs(t, tr)...)
			}
			return nil
		}))
	}
	return id
}

// A credential at half of its life is renewed over a connection, which goes on
// with the new one.
func TestRenewalOverConnection(t *testing.T) {
	t.Parallel()
	issuerDir, memberDir := aged(t, 20*24*time.Hour)
	first := start(t, reopen(t, issuerDir, nil), Config{}, true)
	id := reopen(t, memberDir, &first, "tcp") // over both, a slow machine may get a connection of each
	old := id.Credential()
	m := start(t, id, Config{}, true)
	within(t, patience, "renewed", func() bool { return id.Credential().NotAfter.After(old.NotAfter) })
	c := id.Credential()
	if c.Device != old.Device || c.Peer != old.Peer || c.Name != old.Name || c.Site != old.Site || c.Serial == old.Serial {
		t.Errorf("%+v became %+v", old, c)
	}
	within(t, patience, "issuer sees the new one on the old connection", func() bool {
		got, ok := first.Of(m.Host.ID())
		return ok && got.NotAfter.Equal(c.NotAfter) && len(first.Network().ConnsToPeer(m.Host.ID())) == 1
	})
}

// A credential that ran out is renewed by whoever has its key, for 90 days.
func TestLateRenewal(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		age   time.Duration
		spoil func(*Identity)
		ok    bool
	}{
		{"60 days old", 60 * 24 * time.Hour, nil, true},
		{"121 days old", 121 * 24 * time.Hour, nil, false},
		{"revoked", 60 * 24 * time.Hour, func(id *Identity) {
			if _, err := id.Revoke("m", "lost"); err != nil {
				panic(err)
			}
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			issuerDir, memberDir := aged(t, c.age)
			issuer := reopen(t, issuerDir, nil)
			if c.spoil != nil {
				c.spoil(issuer)
			}
			first := start(t, issuer, Config{}, true)
			id := reopen(t, memberDir, &first, transports...)
			m := start(t, id, Config{}, false)
			err := m.renewNow(t.Context(), m.Host)
			if c.ok {
				check(t, err)
				check(t, m.Connect(t.Context(), first.addrs("quic-v1")))
			} else if err == nil || m.Connect(t.Context(), first.addrs("tcp")) == nil {
				t.Fatal("renewed, or connected")
			}
		})
	}
}
