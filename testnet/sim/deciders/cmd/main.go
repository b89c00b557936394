// Deciders simulates what the product's decisions cost an enterprise, and prints a
// table; see package deciders.
//
//	go run ./testnet/sim/deciders/cmd -sites 10,50,250 -nodes 20 -policy today,mesh
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/testnet/plot"
	"github.com/p2pnode/p2pnode/testnet/sim/deciders"
)

func main() {
	err := run(os.Args[1:], os.Stdout)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return
	}
	fmt.Fprintln(os.Stderr, "deciders:", err)
	os.Exit(1)
}

// A question is what the command was asked: runs of all its combinations.
type question struct {
	shape                deciders.Shape
	sites, nodes, chunks numbers
	policies             []deciders.Policy
	runs                 int
	plot, profile        string

	curves []plot.Series // share of nodes that are done, of each first run
}

func run(args []string, out io.Writer) (err error) {
	q, err := parse(args)
	if err != nil {
		return err
	}
	if q.profile != "" {
		f, err := os.Create(q.profile)
		if err != nil {
			return fmt.Errorf("keep the profile: %w", err)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		if err := pprof.StartCPUProfile(f); err != nil {
			return fmt.Errorf("keep the profile: %w", err)
		}
		defer pprof.StopCPUProfile()
	}
	fmt.Fprintln(out, "| policy | sites x nodes | chunks | seed | median | 95 % | last | unfinished | copies per site | most | publisher's uplink | wasted | least time: hub, mesh | moments | took |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
	for _, sites := range q.sites {
		for _, nodes := range q.nodes {
			for _, chunks := range q.chunks {
				for _, p := range q.policies {
					s := q.shape
					s.Sites, s.Nodes, s.Chunks = sites, nodes, chunks
					if err := q.rows(s, p, out); err != nil {
						return err
					}
				}
			}
		}
	}
	if err := q.draw(); err != nil {
		return err
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Fprintf(out, "\nmemory: %d MiB from the system at most\n", m.Sys>>20)
	return nil
}

// rows prints a row for each seed.
func (q *question) rows(s deciders.Shape, p deciders.Policy, out io.Writer) error {
	for i := range q.runs {
		plan, began := s.Plan(), time.Now()
		r, err := deciders.Run(plan, p)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "| %s | %d x %d | %d | %d | %.1f s | %.1f s | %.1f s | %d | %.2f | %.2f | %.2f | %.1f %% | %.1f s, %.1f s | %.1f M | %.1f s |\n",
			p.Name, s.Sites, s.Nodes, s.Chunks, s.Seed, r.Median.Seconds(), r.Most95.Seconds(), r.Last.Seconds(), r.Unfinished,
			r.Copies, r.MostCopies, r.Uplink, 100*r.Waste, deciders.HubBound(plan).Time.Seconds(), deciders.MeshBound(plan).Time.Seconds(),
			float64(r.Moments)/1e6, time.Since(began).Seconds())
		s.Seed++
		if i == 0 && q.plot != "" {
			name := fmt.Sprintf("%s %d x %d", p.Name, s.Sites, s.Nodes)
			if len(q.chunks) > 1 {
				name += fmt.Sprintf(", %d chunks", s.Chunks)
			}
			q.curves = append(q.curves, curve(name, r, s.Sites*s.Nodes))
		}
	}
	return nil
}

// curve tells how many of the nodes are done, over time.
func curve(name string, r *deciders.Result, nodes int) plot.Series {
	line := plot.Series{Name: name, Steps: true, Points: []plot.Point{{}}}
	for i, at := range r.Done {
		line.Points = append(line.Points, plot.Point{T: at, V: 100 * float64(i+1) / float64(nodes)})
	}
	return line
}

func (q *question) draw() error {
	if q.plot == "" {
		return nil
	}
	f := plot.Figure{Title: "How long until all have it", Panels: []plot.Panel{
		{Title: "nodes that have all", Unit: plot.Percent, Series: q.curves, Height: 240},
	}}
	if err := os.WriteFile(q.plot, []byte(f.SVG()), 0o644); err != nil {
		return fmt.Errorf("keep the plot: %w", err)
	}
	return nil
}

func parse(args []string) (*question, error) {
	q := &question{sites: numbers{50}, nodes: numbers{20}, chunks: numbers{100}}
	s, f := &q.shape, flag.NewFlagSet("deciders", flag.ContinueOnError)
	var names []string
	for _, p := range deciders.Policies {
		names = append(names, p.Name)
	}
	f.Var(&q.sites, "sites", "`numbers` of sites beside the publisher's, separated by commas")
	f.Var(&q.nodes, "nodes", "`numbers` of nodes of each site")
	f.Var(&q.chunks, "chunks", "`numbers` of chunks of 1 MiB")
	policy := f.String("policy", strings.Join(names, ","), "`names` of policies, separated by commas")
	f.Uint64Var(&s.Seed, "seed", 1, "`seed` of the first run")
	f.IntVar(&q.runs, "runs", 1, "`number` of seeds, one after the other")
	f.IntVar(&s.Blocks, "blocks", 0, "`number` of blocks of a chunk (default 4)")
	f.IntVar(&s.Full, "full", 0, "`number` of sites whose nodes know each neighbour; -1: all")
	f.IntVar(&s.Far, "far", 0, "`number` of nodes elsewhere that each knows (default 4)")
	f.DurationVar(&s.Tick, "tick", 0, "how often a node looks at what is late, but in full sites (default 100ms)")
	f.BoolVar(&s.Mixed, "mixed", false, "draw the rates of each site between a quarter and four times the rates given")
	f.DurationVar(&s.Over, "over", 0, "spread the wishes over this time")
	f.Float64Var(&s.Late, "late", 0, "`share` of nodes that wish later")
	f.DurationVar(&s.LateBy, "late-by", time.Minute, "how much later")
	f.Float64Var(&s.Churn, "churn", 0, "`share` of nodes that are off for a minute")
	f.DurationVar(&s.Limit, "limit", 0, "end after this time (default 6h)")
	publisher := f.Int("publisher", 1000, "`Mbit/s` of the publisher's uplink")
	up := f.Int("up", 50, "`Mbit/s` of a site's uplink")
	down := f.Int("down", 100, "`Mbit/s` of a site's downlink")
	f.StringVar(&q.plot, "plot", "", "draw into this `file` (SVG) how many nodes are done when")
	f.StringVar(&q.profile, "cpuprofile", "", "keep a CPU profile in this `file`")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	s.Publisher = bandwidth.Rate(*publisher) * bandwidth.MbitPerSecond
	s.Up, s.Down = bandwidth.Rate(*up)*bandwidth.MbitPerSecond, bandwidth.Rate(*down)*bandwidth.MbitPerSecond
	for name := range strings.SplitSeq(*policy, ",") {
		i := slices.IndexFunc(deciders.Policies, func(p deciders.Policy) bool { return p.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("no policy is called %q: there are %s", name, strings.Join(names, ", "))
		}
		q.policies = append(q.policies, deciders.Policies[i])
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("what is %q for? All is told by flags: see -h", f.Arg(0))
	}
	if q.runs < 1 {
		return nil, fmt.Errorf("-runs %d: wants 1 or more", q.runs)
	}
	for name, share := range map[string]float64{"late": s.Late, "churn": s.Churn} {
		if !(share >= 0 && share <= 1) {
			return nil, fmt.Errorf("-%s %v: wants a share, 0 to 1", name, share)
		}
	}
	return q, nil
}

// numbers is a flag of some numbers above 0.
type numbers []int

func (n *numbers) String() string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint([]int(*n)), " ", ","), "[]")
}

func (n *numbers) Set(text string) error {
	*n = nil
	for word := range strings.SplitSeq(text, ",") {
		i, err := strconv.Atoi(word)
		if err != nil || i < 1 {
			return fmt.Errorf("%q isn't a number above 0", word)
		}
		*n = append(*n, i)
	}
	return nil
}
