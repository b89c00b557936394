package boxtest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"

	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/testnet/box"
)

func everythingIsThere(t *testing.T, e box.Enterprise) {
	plan := e.Plan()
	places := plan.Places()
	if got := len(e.Nodes()); got != len(places) {
		t.Fatalf("%d nodes, want %d", got, len(places))
	}
	for _, site := range plan.Sites() {
		if e.Link(site) == nil {
			t.Errorf("%s has no link", site)
		}
	}
	if e.Node("nobody") != nil || e.Link("nowhere") != nil {
		t.Error("there is a node or a link that isn't in the plan")
	}
	enterprise := ""
	for i, n := range e.Nodes() {
		p := places[i]
		if n.Name() != p.Node || n.Site() != p.Site || e.Node(p.Node).Name() != p.Node || !n.Running() {
			t.Errorf("node %d: %s at %s, running %v; want %+v", i, n.Name(), n.Site(), n.Running(), p)
		}
		s, err := client(t, n).Status(t.Context())
		must(t, err)
		if enterprise == "" {
			enterprise = s.Enterprise
		}
		if s.Name != p.Node || s.Site != p.Site || !s.Ready || s.Enterprise != enterprise {
			t.Errorf("%s says that it is %s of %s, ready %v, in enterprise %s; want %s", p.Node, s.Name, s.Site, s.Ready, s.Enterprise, enterprise)
		}
	}
}

// sitesSeeTheirOwn: neighbours meet by mDNS, which doesn't cross the links.
func sitesSeeTheirOwn(t *testing.T, e box.Enterprise) {
	for _, n := range e.Nodes() {
		c := client(t, n)
		var want []string
		for _, other := range e.Nodes() {
			if other != n && other.Site() == n.Site() {
				want = append(want, other.Name())
			}
		}
		eventually(t, n.Name()+" has all its neighbours", func(ctx context.Context) error {
			peers, err := c.Peers(ctx)
			if err != nil {
				return err
			}
			lan := map[string]bool{}
			for _, p := range peers {
				if (p.Link == "lan") != (p.Site == n.Site()) {
					return fmt.Errorf("%s of %s is on the %s", p.Name, p.Site, p.Link)
				}
				lan[p.Name] = p.Link == "lan"
			}
			for _, name := range want {
				if !lan[name] {
					return fmt.Errorf("%w: %s", errNot, name)
				}
			}
			return nil
		})
	}
	for _, site := range e.Plan().Sites() {
		for _, d := range []box.Direction{box.Up, box.Down} {
			// Of nodes there is nothing on a link but what they send each other.
			if c := count(t, e, site, d, "other"); c.Offered.Packets > 0 {
				t.Errorf("%s: %+v crossed its link that isn't between nodes", site, c)
			}
		}
	}
}

// contentArrives: at every endpoint, and as often over each link as its site
// could not help.
func contentArrives(t *testing.T, e box.Enterprise) {
	const size = 8 * mib
	ctx := within(t, patience)
	type both struct{ up, down int64 }
	carried := func() map[string]both {
		m := map[string]both{}
		for _, s := range e.Plan().Sites() {
			m[s] = both{
				count(t, e, s, box.Up, box.ClassP2P).Delivered.Bytes,
				count(t, e, s, box.Down, box.ClassP2P).Delivered.Bytes,
			}
		}
		return m
	}
	before := carried()
	id, digest := publish(t, ctx, e, size, 1)
	for _, n := range e.Nodes() {
		if n.Site() != box.HQ {
			get(t, ctx, n, id, digest)
		}
	}
	after := carried()
	for _, s := range e.Plan().Sites() {
		up, down := after[s].up-before[s].up, after[s].down-before[s].down
		t.Logf("%s: up %.2f, down %.2f times the content", s, float64(up)/size, float64(down)/size)
		if s == box.HQ && up < size || s != box.HQ && down < size {
			t.Errorf("%s: less than the content has crossed its link", s)
		}
		if most := int64(size) * 5 / 4 * int64(e.Plan().Branches*e.Plan().Peers); up > most || down > most {
			t.Errorf("%s: more has crossed its link than all copies together", s)
		}
	}
}

// publish makes a file at the publisher and adds it.
func publish(t *testing.T, ctx context.Context, e box.Enterprise, size int64, seed uint64) (id, digest string) {
	t.Helper()
	p := e.Node(box.Publisher)
	path := p.Path(fmt.Sprintf("sample-%d", seed))
	tool(t, ctx, p, "sample", path, strconv.FormatInt(size, 10), strconv.FormatUint(seed, 10))
	r, err := client(t, p).Add(ctx, api.AddRequest{Paths: []string{path}}, nil)
	must(t, err)
	return r.Content, tool(t, ctx, p, "digest", path)
}

// get brings a content to a node and looks at the copy.
func get(t *testing.T, ctx context.Context, n box.Node, id, digest string) {
	t.Helper()
	out := n.Path("copy")
	_, err := client(t, n).Get(ctx, api.GetRequest{Ref: id, Output: out, Overwrite: true}, nil)
	must(t, err)
	if got := tool(t, ctx, n, "digest", out); got != digest {
		t.Errorf("%s: the copy's digest is %s, want %s", n.Name(), got, digest)
	}
}

func nodeIsFrozen(t *testing.T, e box.Enterprise) {
	ctx := within(t, patience)
	n := e.Node(box.Endpoint(box.Branch(0), 1))
	c := client(t, n)
	must(t, n.Freeze(ctx))
	if !n.Running() {
		t.Error("a frozen node doesn't run")
	}
	silent(t, "a frozen node is asked", c.Live)
	must(t, n.Thaw(ctx))
	eventually(t, "a thawed node answers", c.Live)
}

func nodeIsKilled(t *testing.T, e box.Enterprise) { comesBack(t, e, box.Node.Kill) }

func nodeIsStopped(t *testing.T, e box.Enterprise) { comesBack(t, e, box.Node.Stop) }

// comesBack: a node that was ended has who it was, and its neighbour, when it
// is started again.
func comesBack(t *testing.T, e box.Enterprise, end func(box.Node, context.Context) error) {
	ctx := within(t, patience)
	n := e.Node(box.Endpoint(box.Branch(0), 1))
	c := client(t, n)
	before, err := c.Status(ctx)
	must(t, err, end(n, ctx))
	if n.Running() {
		t.Error("it still runs")
	}
	silent(t, "a node that was ended is asked", c.Live)
	must(t, end(n, ctx)) // once more does no harm
	must(t, n.Start(ctx))
	if !n.Running() {
		t.Error("it doesn't run")
	}
	after, err := c.Status(ctx)
	must(t, err)
	if after.Peer != before.Peer || !after.Started.After(before.Started) {
		t.Errorf("it was %s, started %v; now %s, %v", before.Peer, before.Started, after.Peer, after.Started)
	}
	eventually(t, "its neighbour is there", reach(c, box.Endpoint(box.Branch(0), 2)))
}

func diskIsFilled(t *testing.T, e box.Enterprise) {
	const left = 4 * mib
	ctx := within(t, patience)
	n := e.Node(box.Endpoint(box.Branch(0), 1))
	c := client(t, n)
	before, err := c.Cache(ctx)
	must(t, err)
	if before.Total > e.Plan().Disk {
		t.Errorf("the disk has %d bytes, want %d", before.Total, e.Plan().Disk)
	}
	id, digest := publish(t, ctx, e, 16*mib, 2)
	must(t, n.Fill(ctx, left))
	full, err := c.Cache(ctx)
	must(t, err)
	if full.Free > left {
		t.Errorf("%d bytes are free, want %d", full.Free, left)
	}
	_, err = c.Get(ctx, api.GetRequest{Ref: id, Output: n.Path("copy"), Overwrite: true}, nil)
	if !errors.Is(err, &api.Error{Code: api.NoSpace}) {
		t.Errorf("get on a full disk: %v, want that there is no space", err)
	}
	must(t, n.Empty(ctx))
	empty, err := c.Cache(ctx)
	must(t, err)
	if empty.Free < before.Free-mib {
		t.Errorf("%d bytes are free, %d were before", empty.Free, before.Free)
	}
	get(t, ctx, n, id, digest)
}

func usageIsTold(t *testing.T, e box.Enterprise) {
	ctx := within(t, patience)
	for _, n := range e.Nodes() {
		u, err := n.Usage(ctx)
		must(t, err)
		if u.CPU <= 0 || u.RSS < mib || u.Goroutines < 2 || u.Descriptors < 2 || u.PeakRSS != 0 && u.PeakRSS < u.RSS/2 {
			t.Errorf("%s: %+v", n.Name(), u)
		}
		t.Logf("%s: %+v", n.Name(), u)
	}
}
