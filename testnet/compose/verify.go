package compose

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/testnet/box"
)

// A Check is one thing that must hold, and whether it does.
type Check struct {
	What string
	Err  error
}

// A verification is what Verify has learnt so far.
type verification struct {
	e         box.Enterprise
	size      int64
	content   string
	digest    string
	before    map[string]int64 // bytes that nodes had sent each other over the link of a site, to it
	fromLAN   map[string]int64 // by site: of this content
	fromWAN   map[string]int64
	delivered int
}

// Verify publishes a file of so many bytes, gets it at every endpoint, and yields
// what it finds. It stops where there is no going on.
func Verify(ctx context.Context, e box.Enterprise, size int64) iter.Seq[Check] {
	v := &verification{e: e, size: size, before: map[string]int64{}, fromLAN: map[string]int64{}, fromWAN: map[string]int64{}}
	return func(yield func(Check) bool) {
		for _, step := range []struct {
			run  func(context.Context) (string, error)
			must bool // for what follows
		}{
			{v.healthy, true}, {v.closed, false}, {v.publish, true}, {v.get, false}, {v.neighbours, false}, {v.crossed, false},
		} {
			what, err := step.run(ctx)
			if ctx.Err() != nil {
				err = errors.Join(context.Cause(ctx), err)
			}
			if !yield(Check{what, err}) || err != nil && (step.must || ctx.Err() != nil) {
				return
			}
		}
	}
}

// each calls f for all nodes, some at a time.
func each(ctx context.Context, nodes []box.Node, f func(context.Context, box.Node) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, n := range nodes {
		g.Go(func() error {
			if err := f(ctx, n); err != nil {
				return fmt.Errorf("%s: %w", n.Name(), err)
			}
			return nil
		})
	}
	return g.Wait()
}

func (v *verification) healthy(ctx context.Context) (string, error) {
	nodes := v.e.Nodes()
	err := each(ctx, nodes, func(ctx context.Context, n box.Node) error {
		c, err := n.Client()
		if err != nil {
			return err
		}
		defer c.Close()
		r, err := c.Ready(ctx)
		if err == nil && !r.Ready {
			err = errors.New("it says that it isn't ready")
		}
		return err
	})
	return fmt.Sprintf("%d nodes at %d sites are healthy", len(nodes), len(v.e.Plan().Sites())), err
}

func (v *verification) closed(ctx context.Context) (string, error) {
	err := each(ctx, v.e.Nodes(), func(ctx context.Context, n box.Node) error {
		if text, err := n.Tool(ctx, "outside").CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(text)))
		}
		return nil
	})
	return "no way leads out of the box", err
}

func (v *verification) publish(ctx context.Context) (string, error) {
	const what = "published a file at HQ"
	for _, site := range v.e.Plan().Sites() {
		n, err := v.carried(ctx, site)
		if err != nil {
			return what, err
		}
		v.before[site] = n
	}
	p := v.e.Node(box.Publisher)
	file := p.Path("verify.bin")
	// Another one each time: endpoints would have the last one's blocks already.
	seed := uint64(time.Now().UnixNano())
	if text, err := p.Tool(ctx, "sample", file, strconv.FormatInt(v.size, 10), strconv.FormatUint(seed, 10)).CombinedOutput(); err != nil {
		return what, fmt.Errorf("make a sample: %w: %s", err, text)
	}
	text, err := p.Tool(ctx, "digest", file).Output()
	if err != nil {
		return what, fmt.Errorf("digest of the sample: %w", err)
	}
	v.digest = strings.TrimSpace(string(text))
	a, err := p.Ask(ctx, "add", "-q", file)
	if err == nil {
		err = a.Err(0)
	}
	v.content = strings.TrimSpace(a.Stdout)
	return fmt.Sprintf("%s published %.1f MB: %s", box.Publisher, float64(v.size)/1e6, v.content), err
}

func (v *verification) endpoints() []box.Node {
	return slices.DeleteFunc(v.e.Nodes(), func(n box.Node) bool { return n.Name() == box.Publisher || n.Name() == box.Operator })
}

func (v *verification) get(ctx context.Context) (string, error) {
	all := v.endpoints()
	start := time.Now()
	results := make(chan struct {
		site string
		from api.GetResult
	}, len(all))
	g, gctx := errgroup.WithContext(ctx)
	for _, n := range all {
		g.Go(func() error {
			r, err := v.fetch(gctx, n)
			if err != nil {
				return fmt.Errorf("%s: %w", n.Name(), err)
			}
			results <- struct {
				site string
				from api.GetResult
			}{n.Site(), r}
			return nil
		})
	}
	err := g.Wait()
	close(results)
	for r := range results {
		v.fromLAN[r.site] += r.from.From.LAN
		v.fromWAN[r.site] += r.from.From.WAN
		v.delivered++
	}
	return fmt.Sprintf("%d of %d endpoints have it, sha256 right at each, after %.1f s", v.delivered, len(all), time.Since(start).Seconds()), err
}

// fetch gets the content at a node and compares it.
func (v *verification) fetch(ctx context.Context, n box.Node) (r api.GetResult, err error) {
	out := n.Path("verify.bin") // in place of the last one's
	a, err := n.Ask(ctx, "get", v.content, "-o", out, "--overwrite", "--json")
	if err == nil {
		err = a.Err(0)
	}
	if err != nil {
		return r, err
	}
	text := strings.TrimSpace(a.Stdout)
	if err := json.Unmarshal([]byte(text[strings.LastIndexByte(text, '\n')+1:]), &r); err != nil {
		return r, fmt.Errorf("read the answer of get: %w", err)
	}
	digest, err := n.Tool(ctx, "digest", out).Output()
	if err != nil {
		return r, fmt.Errorf("digest of the copy: %w", err)
	}
	if got := strings.TrimSpace(string(digest)); got != v.digest {
		return r, fmt.Errorf("the copy's sha256 is %s, want %s", got, v.digest)
	}
	return r, nil
}

// neighbours looks whom nodes take for theirs: mDNS finds whoever is on the LAN.
func (v *verification) neighbours(ctx context.Context) (string, error) {
	nodes := v.e.Nodes()
	site := map[string]string{}
	for _, n := range nodes {
		site[n.Name()] = n.Site()
	}
	err := each(ctx, nodes, func(ctx context.Context, n box.Node) error {
		c, err := n.Client()
		if err != nil {
			return err
		}
		defer c.Close()
		peers, err := c.Peers(ctx)
		if err != nil {
			return err
		}
		for _, p := range peers {
			if p.Link == "lan" && site[p.Name] != n.Site() {
				return fmt.Errorf("it takes %s (%s) for a neighbour, which is at %s", p.Name, p.Address, site[p.Name])
			}
		}
		alone := slices.IndexFunc(nodes, func(o box.Node) bool { return o != n && o.Site() == n.Site() }) < 0
		if !alone && !slices.ContainsFunc(peers, func(p api.Peer) bool { return p.Link == "lan" }) {
			return errors.New("it found no neighbour on its LAN")
		}
		return nil
	})
	return "each node's neighbours on the LAN are those of its own site", err
}

// carried returns the bytes that nodes have sent to a site over its link so far.
func (v *verification) carried(ctx context.Context, site string) (int64, error) {
	counts, err := v.e.Link(site).Counts(ctx, box.Down)
	if err != nil {
		return 0, err
	}
	for _, c := range counts.Classes {
		if c.Class == box.ClassP2P {
			return c.Delivered.Bytes, nil
		}
	}
	return 0, fmt.Errorf("the link of %s doesn't count %s", site, box.ClassP2P)
}

// crossed holds what nodes say against what the links counted: what came from
// another site has crossed a link.
func (v *verification) crossed(ctx context.Context) (string, error) {
	var parts []string
	var errs []error
	for _, site := range v.e.Plan().Sites()[1:] {
		now, err := v.carried(ctx, site)
		if err != nil {
			return "links counted", err
		}
		link := now - v.before[site]
		parts = append(parts, fmt.Sprintf("%s %.1f MB (%.2f copies for %d)", site, float64(link)/1e6, float64(link)/float64(v.size), v.e.Plan().Peers))
		if link < v.fromWAN[site] {
			errs = append(errs, fmt.Errorf("the nodes of %s had %d bytes from other sites, and its link carried %d", site, v.fromWAN[site], link))
		}
	}
	if len(parts) > 4 {
		parts = append(parts[:4], fmt.Sprintf("and %d more", len(parts)-4))
	}
	return "what came from other sites crossed the links: " + strings.Join(parts, ", "), errors.Join(errs...)
}
