//go:build netns

package scenario

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/node/api"
)

// network returns a Net that ends with the test. Who asks for the tag netns has
// to be root: these tests don't skip.
func network(t *testing.T) *Net {
	t.Helper()
	n, err := NewNet()
	must(t, err)
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// host makes a namespace with an address on the LAN.
func host(t *testing.T, n *Net, name string, l *LAN, number int) (*Space, *Port) {
	t.Helper()
	s, err := n.Space(name)
	must(t, err)
	p, err := l.Join(s, number)
	must(t, err)
	return s, p
}

func subnet(t *testing.T, n *Net, name, prefix string) *LAN {
	t.Helper()
	l, err := n.LAN(name, netip.MustParsePrefix(prefix))
	must(t, err)
	return l
}

// line is two branches with a middle between them, each behind a router of its
// own: a - left - middle - right - b.
type line struct {
	a, middle, b *Space
	aPort        *Port
	middlePort   *Port
}

func newLine(t *testing.T, n *Net) line {
	t.Helper()
	la, lm, lb := subnet(t, n, "lan-a", "10.1.0.0/24"), subnet(t, n, "lan-m", "10.2.0.0/24"), subnet(t, n, "lan-b", "10.3.0.0/24")
	var x line
	x.a, x.aPort = host(t, n, "a", la, 2)
	x.middle, x.middlePort = host(t, n, "m", lm, 2)
	x.b, _ = host(t, n, "b", lb, 2)
	left, _ := host(t, n, "left", la, 1)
	right, _ := host(t, n, "right", lb, 1)
	_, err := lm.Join(left, 3)
	must(t, err)
	_, err = lm.Join(right, 4)
	must(t, err, left.Forward(), right.Forward())
	toLeft, toRight := lm.Host(3).Addr(), lm.Host(4).Addr()
	must(t,
		x.a.Route("default", la.Host(1).Addr()),
		x.b.Route("default", lb.Host(1).Addr()),
		left.Route("10.3.0.0/24", toRight),
		right.Route("10.1.0.0/24", toLeft),
		x.middle.Route("10.1.0.0/24", toLeft),
		x.middle.Route("10.3.0.0/24", toRight),
	)
	return x
}

// The network itself: a packet finds its way over both routers, and nothing is
// left when it is closed.
func TestNetCarriesAndLeavesNothing(t *testing.T) {
	n, err := NewNet()
	must(t, err)
	defer n.Close()
	x := newLine(t, n)
	self, err := os.Executable()
	must(t, err)
	listen := Command(t.Context(), x.b, self)
	listen.Env = append(os.Environ(), listenEnv+"=0.0.0.0:4740")
	must(t, listen.Start())
	dial := Command(t.Context(), x.a, self)
	dial.Env = append(os.Environ(), listenEnv+"=dial 10.3.0.2:4740")
	text, err := dial.CombinedOutput()
	if err != nil || string(text) != "10.1.0.2\n" {
		t.Errorf("dial over two routers: %v: %q, want the caller's own address", err, text)
		_ = listen.Process.Kill()
	}
	must(t, listen.Wait(), n.Close())
	left, err := exec.Command("ip", "netns", "list").Output()
	must(t, err)
	if strings.Contains(string(left), n.prefix) {
		t.Errorf("left behind:\n%s", left)
	}
}

// Neighbours that never met, on a subnet where neither was before and without
// anybody who could introduce them, have nothing but mDNS.
func TestNeighboursMeetByMDNSAlone(t *testing.T) {
	l, n := lab(t), network(t)
	ctx := within(t, 2*time.Minute)
	office := subnet(t, n, "office", "10.1.0.0/24")
	hall := subnet(t, n, "hall", "10.9.0.0/24")
	desk, _ := host(t, n, "desk", office, 1)
	hub := l.Node("hub", desk, "--site", "hq", "--mdns", "off")
	must(t, hub.Start(ctx))
	path := sample(t, l, 64*mib)
	id := publish(t, ctx, hub, path)
	// They join one after the other, so that they don't meet at the hub. The
	// first of them takes the content along.
	var members []*Node
	for i := range 2 {
		name := fmt.Sprintf("m%d", i)
		space, _ := host(t, n, name, office, 2+i)
		m := l.Node(name, space, "--mdns", "off")
		token, err := hub.Tell(ctx, "invite", "--site", "branch")
		must(t, err, m.Start(ctx, "--join", token))
		if i == 0 {
			_, err := fetch(ctx, m, id, filepath.Join(l.Dir, "first"))
			must(t, err)
		}
		must(t, m.Stop())
		members = append(members, m)
	}
	must(t, hub.Stop())
	for i, m := range members {
		space, _ := host(t, n, fmt.Sprintf("hall%d", i), hall, 1+i)
		m.Move(space)
		must(t, m.Start(ctx))
	}
	start := time.Now()
	_, err := members[1].Tell(ctx, "wait", "--peers", "1", "--timeout", "60s")
	must(t, err)
	t.Logf("met after %v", time.Since(start).Round(time.Millisecond))
	out := filepath.Join(l.Dir, "second")
	r, err := fetch(ctx, members[1], id, out)
	must(t, err)
	same(t, out, path)
	if r.From.LAN != r.Size {
		t.Errorf("%+v: want all of it from the LAN", r)
	}
}

// Two branches know of the middle only, and it has nothing. The DHT tells who
// has.
func TestBranchesMeetByDHTAlone(t *testing.T) {
	l, n := lab(t), network(t)
	ctx := within(t, 2*time.Minute)
	x := newLine(t, n)
	hub := l.Node("hub", x.middle, "--site", "hq", "--mdns", "off")
	must(t, hub.Start(ctx))
	path := sample(t, l, 16*mib)
	id := publish(t, ctx, hub, path)
	join := func(name string, space *Space) *Node {
		m := l.Node(name, space, "--mdns", "off")
		token, err := hub.Tell(ctx, "invite", "--site", "site-"+name)
		must(t, err, m.Start(ctx, "--join", token))
		return m
	}
	a := join("a", x.a)
	_, err := fetch(ctx, a, id, filepath.Join(l.Dir, "out-a"))
	must(t, err)
	_, err = hub.Tell(ctx, "content", "rm", id, "--yes")
	must(t, err)
	b := join("b", x.b)
	out := filepath.Join(l.Dir, "out-b")
	r, err := fetch(ctx, b, id, out)
	must(t, err)
	same(t, out, path)
	if r.From.WAN != r.Size {
		t.Errorf("%+v: want all of it over the WAN", r)
	}
	if got, err := hub.Here(ctx, id); err != nil || got != 0 {
		t.Errorf("the node in the middle has %d bytes of it (%v), want none", got, err)
	}
}

// A branch has many endpoints and one address (G4).
func TestFiftyMembersBehindOneAddress(t *testing.T) {
	const branch = 50
	l, n := lab(t), network(t)
	ctx := within(t, 4*time.Minute)
	wan := subnet(t, n, "wan", "10.1.0.0/24")
	desk, _ := host(t, n, "desk", wan, 1)
	site, _ := host(t, n, "site", wan, 2)
	hub := l.Node("hub", desk, "--site", "hq", "--mdns", "off")
	must(t, hub.Start(ctx))
	token, err := hub.Tell(ctx, "invite", "--site", "branch", "--uses", fmt.Sprint(branch))
	must(t, err)
	var starting errgroup.Group
	starting.SetLimit(8)
	for i := range branch {
		m := l.Node(fmt.Sprintf("m%02d", i), site, "--mdns", "off", "--listen", "/ip4/0.0.0.0/tcp/0")
		starting.Go(func() error { return m.Start(ctx, "--join", token) })
	}
	must(t, starting.Wait())
	a, err := hub.Ask(ctx, "wait", "--peers", fmt.Sprint(branch), "--timeout", "60s")
	must(t, err)
	var peers api.List[api.Peer]
	must(t, hub.Read(ctx, &peers, "peer", "ls"))
	if a.Code != 0 || len(peers.Items) != branch {
		t.Errorf("%d of %d members are connected (%v)", len(peers.Items), branch, a.Err(0))
	}
	for _, p := range peers.Items {
		if !strings.HasPrefix(p.Address, "/ip4/10.1.0.2/") {
			t.Errorf("%s is at %s, want one address for all", p.Name, p.Address)
		}
	}
}

// An endpoint loses its link and comes back with another address: its get goes
// on within 30 s (G22).
func TestGetGoesOnAtANewAddress(t *testing.T) {
	l, n := lab(t), network(t)
	ctx := within(t, 3*time.Minute)
	lan := subnet(t, n, "lan", "10.1.0.0/24")
	desk, deskPort := host(t, n, "desk", lan, 1)
	till, tillPort := host(t, n, "till", lan, 2)
	outage := time.Duration(size(3, 60)) * time.Second
	// 64 MiB take 5 s: time enough to pull the cable.
	must(t, deskPort.Limit(100_000_000))
	hub := l.Node("hub", desk, "--site", "hq", "--mdns", "off")
	must(t, hub.Start(ctx))
	token, err := hub.Tell(ctx, "invite", "--site", "branch")
	must(t, err)
	m := l.Node("till", till, "--mdns", "off")
	must(t, m.Start(ctx, "--join", token))
	path := sample(t, l, 64*mib)
	id := publish(t, ctx, hub, path)
	out := filepath.Join(l.Dir, "out.bin")
	get := fetchBehind(ctx, m, id, out)
	arrived(t, ctx, m, id, 8*mib)
	must(t, tillPort.Down(), tillPort.Readdress(lan.Host(77)))
	time.Sleep(outage)
	had, err := m.Here(ctx, id)
	must(t, err)
	if had >= 64*mib {
		t.Fatal("the get was over before the link went down")
	}
	must(t, tillPort.Up())
	up := time.Now()
	arrived(t, ctx, m, id, had+mib)
	if took := time.Since(up); took > 30*time.Second {
		t.Errorf("went on after %v, want 30 s", took)
	} else {
		t.Logf("went on after %v", took.Round(time.Millisecond))
	}
	must(t, <-get.done)
	same(t, out, path)
}
