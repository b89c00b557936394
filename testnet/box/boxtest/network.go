package boxtest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/box/probe"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

// count returns what a link has done with a class.
func count(t *testing.T, e box.Enterprise, site string, d box.Direction, class string) wan.Count {
	t.Helper()
	counts, err := e.Link(site).Counts(t.Context(), d)
	must(t, err)
	for _, c := range counts.Classes {
		if c.Class == class {
			return c.Count
		}
	}
	t.Fatalf("%s: no class %s in %+v", site, class, counts)
	return wan.Count{}
}

// tool runs one on a node's machine and returns what it wrote.
func tool(t *testing.T, ctx context.Context, n box.Node, args ...string) string {
	t.Helper()
	var stderr strings.Builder
	cmd := n.Tool(ctx, args...)
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: testnet %s: %v\n%s", n.Name(), strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(text))
}

// Send has one machine of the enterprise send bytes to another, at the port of
// foreground traffic, and returns what arrived. To is at its home.
func Send(ctx context.Context, e box.Enterprise, from, to string, bytes int64) (a probe.Arrived, err error) {
	places := e.Plan().Places()
	i := slices.IndexFunc(places, func(p box.Place) bool { return p.Node == to })
	addr := fmt.Sprintf("%s:%d", places[i].Addr.Addr(), box.ForegroundPort)

	ctx, cancel := context.WithCancel(ctx) // ends the server if the sender fails
	defer cancel()
	serve := e.Node(to).Tool(ctx, probe.Name, "serve", addr)
	out, err := serve.StdoutPipe()
	if err != nil {
		return a, err
	}
	var stderr strings.Builder
	serve.Stderr = &stderr
	if err := serve.Start(); err != nil {
		return a, err
	}
	defer func() {
		if err != nil {
			cancel()
			_ = serve.Wait() // why it ended is told by err
		}
	}()
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != probe.Listening {
		return a, fmt.Errorf("serve at %s: %q: %w", addr, lines.Text(), errors.Join(lines.Err(), errNot))
	}
	if text, err := e.Node(from).Tool(ctx, probe.Name, "send", addr, strconv.FormatInt(bytes, 10)).CombinedOutput(); err != nil {
		return a, fmt.Errorf("send from %s to %s: %w: %s", from, addr, err, text)
	}
	lines.Scan()
	if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
		return a, fmt.Errorf("serve at %s: %w: %s", addr, err, lines.Text())
	}
	if err := serve.Wait(); err != nil {
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			return a, fmt.Errorf("serve at %s: %w: %s", addr, err, stderr.String())
		}
		return a, err
	}
	return a, nil
}

// toolRunsOnTheMachine: what one machine sends to another crosses both links, at
// the rate of the slower one, and is counted in its class.
func toolRunsOnTheMachine(t *testing.T, e box.Enterprise) {
	const size = 2_000_000
	ctx := within(t, patience)
	site := box.Branch(0)
	slow, err := wan.Parse("rate=8mbit delay=5ms")
	must(t, err, e.Link(site).Set(ctx, box.Down, slow))
	a, err := Send(ctx, e, box.Publisher, box.Endpoint(site, 1), size)
	must(t, err)
	if a.Bytes != size || a.From != box.Addr(0, 1).Addr().String() {
		t.Errorf("arrived: %+v, want %d bytes from %v", a, size, box.Addr(0, 1).Addr())
	}
	if rate := float64(a.Bytes) * 8 / a.Elapsed.Seconds(); rate > 8.4e6 {
		t.Errorf("at %.2f Mbit/s over a link of 8", rate/1e6)
	} else {
		t.Logf("%.2f Mbit/s over a link of 8", rate/1e6)
	}
	for _, c := range []wan.Count{
		count(t, e, box.HQ, box.Up, box.ClassForeground), count(t, e, site, box.Down, box.ClassForeground),
	} {
		if c.Delivered.Bytes < size {
			t.Errorf("%+v, want at least %d bytes delivered", c, size)
		}
	}
	must(t, e.Link(site).Set(ctx, box.Down, e.Plan().Down))
}

func linkIsCutAndHealed(t *testing.T, e box.Enterprise) {
	ctx := within(t, 2*patience)
	site := box.Branch(0)
	publisher := client(t, e.Node(box.Publisher))
	here := client(t, e.Node(box.Endpoint(site, 1)))
	cut, err := wan.Parse("outage=0s+1h")
	must(t, err)
	there := reach(publisher, box.Endpoint(site, 1))
	eventually(t, "before", there)
	for _, d := range []box.Direction{box.Up, box.Down} {
		must(t, e.Link(site).Set(ctx, d, cut))
		got, err := e.Link(site).Settings(ctx, d)
		must(t, err)
		if got.String() != cut.String() {
			t.Errorf("the link's settings are %v, want %v", got, cut)
		}
	}
	lost := count(t, e, site, box.Down, box.ClassP2P).Out.Packets
	silent(t, "over a link that is cut", there)
	if now := count(t, e, site, box.Down, box.ClassP2P).Out.Packets; now <= lost {
		t.Errorf("%d packets were lost in the outage, and %d before", now, lost)
	}
	must(t, once(ctx, reach(here, box.Endpoint(site, 2)))) // which has nothing to do with it
	must(t, e.Link(site).Set(ctx, box.Up, e.Plan().Up), e.Link(site).Set(ctx, box.Down, e.Plan().Down))
	eventually(t, "once it is healed", there)
}

func cableIsPulled(t *testing.T, e box.Enterprise) {
	ctx := within(t, 2*patience)
	n := e.Node(box.Endpoint(box.Branch(0), 1))
	neighbour := client(t, e.Node(box.Endpoint(box.Branch(0), 2)))
	publisher := client(t, e.Node(box.Publisher))
	eventually(t, "before", reach(neighbour, n.Name()))
	must(t, n.Unplug(ctx))
	silent(t, "without its cable", reach(neighbour, n.Name()))
	if !n.Running() || n.Site() != box.Branch(0) {
		t.Errorf("running %v, at %s", n.Running(), n.Site())
	}
	must(t, once(ctx, client(t, n).Live))
	must(t, n.Plug(ctx))
	eventually(t, "its neighbour reaches it again", reach(neighbour, n.Name()))
	eventually(t, "the publisher reaches it again", reach(publisher, n.Name()))
}

// machineIsMoved: to another branch and back, while its node goes on. How soon
// others notice that its old address is gone is not the network's business.
func machineIsMoved(t *testing.T, e box.Enterprise) {
	ctx := within(t, 3*patience)
	n := e.Node(box.Endpoint(box.Branch(0), 2))
	c := client(t, n)
	before, err := c.Status(ctx)
	must(t, err)
	sites := e.Plan().Sites()
	for i, site := range []string{box.Branch(1), box.Branch(0)} {
		must(t, n.Move(ctx, site))
		if n.Site() != site {
			t.Errorf("it is at %s, want %s", n.Site(), site)
		}
		eventually(t, "it reaches a neighbour at "+site, reach(c, box.Endpoint(site, 1)))
		eventually(t, "it reaches the publisher from "+site, reach(c, box.Publisher))
		a, err := Send(ctx, e, n.Name(), box.Publisher, 1)
		must(t, err)
		from, err := netip.ParseAddr(a.From)
		must(t, err)
		if subnet := box.Subnet(slices.Index(sites, site)); !subnet.Contains(from) {
			t.Errorf("the publisher sees it at %v, want an address of %v", from, subnet)
		}
		id, digest := publish(t, ctx, e, mib, uint64(10+i))
		get(t, ctx, n, id, digest)
	}
	after, err := c.Status(ctx)
	must(t, err)
	if !after.Started.Equal(before.Started) {
		t.Error("its process was ended")
	}
	must(t, n.Move(ctx, box.Branch(0))) // where it is
	if err := n.Move(ctx, "nowhere"); err == nil {
		t.Error("it was moved to a site that isn't there")
	}
}
