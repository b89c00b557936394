package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/node/api"
)

// The demo's shape: two sites of three nodes.
const (
	demoSites = 2
	demoNodes = 3 // of each site
	demoSeed  = 1 // of the generated sample
	demoName  = "sample"
)

// demoFlags say what the demo is to do.
type demoFlags struct {
	path string // to publish; "" for a generated sample
	size int64  // of the sample
	wan  bandwidth.Rate
	exit bool
}

// A demoNet is the little enterprise that the demo shows.
type demoNet interface {
	// Sites has the sites with their nodes; the first node of the first site
	// is the publisher.
	Sites() []demoSite
	// WAN returns how many bytes crossed between sites until now, encryption
	// and protocols included.
	WAN() int64
	// Close stops all nodes.
	Close() error
}

type demoSite struct {
	Name  string
	Nodes []demoNode
}

type demoNode struct {
	Name string
	Data string // its data folder
	Node api.Node
}

func (a *app) demoCommand() *cobra.Command {
	f := demoFlags{size: 64 << 20, wan: 20 * bandwidth.MbitPerSecond}
	c := &cobra.Command{
		Use:     "demo [PATH]",
		GroupID: groupStart,
		Short:   "See two sites share a file, in this one process",
		Long: `Start two sites of three real nodes in this process, joined into one enterprise
and connected over loopback, with the link between the sites limited in software.
Publish PATH, or a generated sample, on one node, get it on the five others, check
every copy, and say what crossed the link.

Nothing is written but a temporary folder, which goes away at the end; no other
host is spoken to; no node that runs is touched.`,
		Example: `  p2pnode demo
  p2pnode demo ./pos-image.iso --wan 100Mbit
  p2pnode demo --size 8MiB --exit --json | tail -1`,
		Args: func(cmd *cobra.Command, got []string) error {
			if len(got) > 0 {
				return args("PATH")(cmd, got)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, got []string) error {
			if len(got) > 0 {
				f.path = got[0]
			}
			if f.wan <= 0 || f.size <= 0 {
				return usageError{errors.New("demo: --wan and --size are above zero")}
			}
			return a.demo(cmd.Context(), f)
		},
	}
	l := c.Flags()
	l.SortFlags = false
	l.Var(rateFlag{&f.wan}, "wan", "of the link between the sites, each way")
	l.Var(sizeFlag{&f.size}, "size", "of the sample, if no PATH is given")
	l.BoolVar(&f.exit, "exit", false, "end when all is done, instead of waiting for Ctrl-C")
	return c
}

// A demoResult is what the demo measured.
type demoResult struct {
	Content   string         `json:"content"`
	Size      int64          `json:"size_bytes"`
	Copies    int            `json:"copies"`   // that were to be made
	Verified  int            `json:"verified"` // of them, equal to what was published
	Delivered int64          `json:"delivered_bytes"`
	From      api.ByLink     `json:"from_bytes"` // content, by what it crossed
	Wasted    api.Wasted     `json:"wasted"`
	WAN       int64          `json:"wan_bytes"` // on the wire, both ways, from publishing to the last copy
	Rate      bandwidth.Rate `json:"wan_limit_bits_per_second"`
	Elapsed   api.Seconds    `json:"seconds"`
}

func (a *app) demo(ctx context.Context, f demoFlags) (err error) {
	dir, err := os.MkdirTemp("", "p2pnode-demo-")
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	what := fmt.Sprintf("sample %s, seed %d", size(f.size), demoSeed)
	if f.path == "" {
		f.path = filepath.Join(dir, demoName)
		if err := writeSample(f.path, f.size, demoSeed); err != nil {
			return fmt.Errorf("demo: make a sample: %w", err)
		}
	} else {
		what = f.path
		if f.path, err = filepath.Abs(f.path); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
		if _, err := os.Stat(f.path); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
	}
	log, err := newLogger(a.err, "error", "auto")
	if err != nil {
		return err
	}
	if !a.json {
		fmt.Fprintf(a.out, "p2pnode demo: %d sites x %d nodes in this process, WAN limited to %s, %s\n", demoSites, demoNodes, bits(f.wan), what)
	}
	net, err := startDemo(ctx, dir, f.wan, log)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer func() { err = errors.Join(err, net.Close()) }()

	show := newBoard(a, net.Sites())
	res, err := distribute(ctx, net, f.path, filepath.Join(dir, "copies"), show)
	show.Close()
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	res.Rate = f.wan
	if err := a.summary(res, func(w io.Writer) error { return res.write(w, net.Sites()) }); err != nil {
		return err
	}
	if res.Verified < res.Copies {
		return api.Errorf(api.Corrupt, "", "demo: %d of %d copies are not what was published", res.Copies-res.Verified, res.Copies)
	}
	if f.exit {
		return nil
	}
	last := net.Sites()[demoSites-1].Nodes[demoNodes-1]
	fmt.Fprintf(a.err, "The nodes go on until Ctrl-C. Look around from another terminal: p2pnode --data %s peer ls\n", last.Data)
	<-ctx.Done()
	return nil
}

// distribute publishes path on the first node and gets it on all others at once,
// then compares every copy with what was published.
func distribute(ctx context.Context, net demoNet, path, copies string, show *board) (demoResult, error) {
	if err := os.MkdirAll(copies, 0o700); err != nil {
		return demoResult{}, err
	}
	before, began := net.WAN(), time.Now()
	sites := net.Sites()
	added, err := sites[0].Nodes[0].Node.Add(ctx, api.AddRequest{Paths: []string{path}, Name: demoName, Version: "1"}, nil)
	if err != nil {
		return demoResult{}, err
	}
	show.published(added, time.Since(began))
	res := demoResult{Content: added.Content, Size: added.Size}

	var mu sync.Mutex // guards res
	g, gctx := errgroup.WithContext(ctx)
	var outputs []string
	for i, s := range sites {
		for j, n := range s.Nodes {
			if i == 0 && j == 0 {
				continue
			}
			out := filepath.Join(copies, n.Name)
			outputs = append(outputs, out)
			g.Go(func() error {
				got, err := n.Node.Get(gctx, api.GetRequest{Ref: added.Content, Output: out}, func(s api.FlowStatus) { show.flow(i, j, s) })
				if err != nil {
					return fmt.Errorf("get on %s: %w", n.Name, err)
				}
				mu.Lock()
				defer mu.Unlock()
				res.Delivered += got.Size
				res.From.LAN += got.From.LAN
				res.From.WAN += got.From.WAN
				res.Wasted = res.Wasted.Plus(got.Wasted)
				show.complete(i, j, got, time.Since(began))
				return nil
			})
		}
	}
	if err := g.Wait(); err != nil {
		return res, err
	}
	res.WAN, res.Elapsed, res.Copies = net.WAN()-before, api.Seconds(time.Since(began)), len(outputs)

	want, err := digest(path)
	if err != nil {
		return res, err
	}
	for _, out := range outputs {
		got, err := digest(out)
		if err != nil {
			return res, err
		}
		if got == want {
			res.Verified++
		}
	}
	return res, nil
}

// write says what was measured, and what it was not.
func (r demoResult) write(w io.Writer, sites []demoSite) error {
	local := percent(r.From.LAN, max(r.From.Total(), 1))
	_, err := fmt.Fprintf(w, "verified %d/%d copies in %s. The WAN carried %s of content (%s on the wire) for %s delivered: %s came from the own site; %s wasted.\n",
		r.Verified, r.Copies, clock(time.Duration(r.Elapsed)), size(r.From.WAN), size(r.WAN), size(r.Delivered), local, size(r.Wasted.Total()))
	if err != nil {
		return err
	}
	if once := int64(len(sites)-1) * r.Size; once > 0 && r.From.WAN > once+once/20 {
		_, err = fmt.Fprintf(w, "One copy for each site without it would have been %s: the nodes of a site don't share out yet who fetches what.\n", size(once))
	}
	return err
}
