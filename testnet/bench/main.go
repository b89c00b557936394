//go:build linux

// Bench measures how fast real nodes move real bytes on this machine, what CPU
// and memory that takes, and what the parts of it would take alone.
//
//	go run ./testnet/bench speed [-size MIB] [-runs N] [-dir DIR] [-veth]
//	go run ./testnet/bench branch [-link "rate=50mbit delay=20ms"] [-sites N] [-peers N] [-beside http]
//
// Without a command it lists all of them; `COMMAND -h` lists a command's flags.
// Every figure stands beside a baseline of the same run, because machines
// differ and are busy. README.md keeps the figures that were found.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/testnet/scenario"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

// options are the flags of all commands.
type options struct {
	said string // the command with its flags, as it was typed
	size int64  // bytes of the sample
	runs int
	dir  string
	veth bool
	idle time.Duration

	// Of difference.
	quick bool
	live  bool
	args  []string // two paths, or none

	command *command
	json    bool
	scene   scene // of commands that deliver to sites
}

// A command is the first word.
type command struct {
	name, what string
	mib        int64 // its -size, unless another is given
	measure    func(context.Context, *bench) error

	// What stands in for measure if the command sets up its own lab, if any.
	alone func(context.Context, options) error
	// deliver gives the command its own scene: it delivers to sites.
	deliver *scene
	goals   []goal
}

var wan50 = wan.Settings{Rate: 50 * bandwidth.MbitPerSecond, Delay: 20 * time.Millisecond}

// What one copy for each site, at the speed of the wire, comes to.
var (
	goalsBranch = []goal{
		{row: rowIn, most: 1.06}, {row: rowPayload, most: 1.01}, {row: rowFirst, most: 1.05}, {row: rowAll, most: 1.10},
		{row: rowLate, most: 0, each: true}, {row: rowPeak, most: 96},
	}
	goalsUpdate   = []goal{{row: rowPayload, most: 0.13}, {row: rowOnce, most: 1.01}}
	goalsCarriers = []goal{{row: rowKillPayload, most: 1.03, each: true}, {row: rowKillLost, most: 2.5, each: true}}
	goalsSpread   = []goal{{row: rowAll, most: 1.25}, {row: rowCPU, most: 3.5}}
	goalsCrowd    = []goal{{row: rowPeak, most: 96, each: true}}
)

var commands = []command{
	{name: "speed", what: "a get between two nodes, against a plain stream", mib: 1024, measure: speed},
	{name: "add", what: "publishing, on two cores", mib: 1024, measure: add},
	{name: "idle", what: "a node that has nothing to do", mib: 1024, measure: idle},
	{name: "profile", what: "where the CPU time of a get goes", mib: 1024, measure: profile},
	{name: "disk", what: "what a get takes on file systems that share blocks, and others (root)", mib: 1024, measure: disk},
	{name: "pagecache", what: "what seeding leaves of others' page cache (root)", mib: 8192, measure: pagecache},
	{name: "difference", what: "what a holder of one version fetches to have the next", mib: 1024, alone: difference},
	{name: "spread", what: "one LAN: from one to all others, against others (root)", mib: 1024, measure: spread, goals: goalsSpread,
		deliver: &scene{sites: 1, peers: 8, runs: 5, beside: "http,aria2,syncthing"}},
	{name: "branch", what: "branches behind links, against HTTP (root)", mib: 100, measure: branch, goals: goalsBranch,
		deliver: &scene{sites: 2, peers: 5, link: wan50, runs: 5, beside: "http"}},
	{name: "crowd", what: "a branch of 50: memory, connections and goroutines of a node (root)", mib: 100, measure: branch, goals: goalsCrowd,
		deliver: &scene{sites: 1, peers: 50, link: wan50, runs: 1}},
	{name: "update", what: "branches where all have a version of which 5 % differ (root)", mib: 100, measure: newVersion, goals: goalsUpdate,
		deliver: &scene{sites: 2, peers: 5, link: wan50, runs: 5, beside: "http"}},
	{name: "carriers", what: "a branch, where one that fetches over the WAN is killed, beside one undisturbed (root)", mib: 100, measure: carriers, goals: goalsCarriers,
		deliver: &scene{sites: 1, peers: 5, link: wan50, runs: 1, kills: 10}},
	{name: "crash", what: "a branch where one is killed again and again (root)", mib: 100, measure: crash,
		deliver: &scene{sites: 1, peers: 2, link: wan50, runs: 3, kills: 3, beside: "http"}},
	{name: "linkdown", what: "a branch whose link is down for a while (root)", mib: 100, measure: linkdown,
		deliver: &scene{sites: 1, peers: 2, link: wan50, runs: 3, beside: "http"}},
}

// children are what the program is called as its own child.
var children = map[string]func(context.Context, []string) error{
	rawServe: raw, rawFetch: raw,
	rawWarm: func(ctx context.Context, args []string) error { return warm(ctx, args[1:]) },
	rawExec: execute, rawTracker: track, rawAddr: sayAddr,
	rawHTTPServe: rawHTTP, rawHTTPFetch: rawHTTP,
}

func help() error {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 4, ' ', 0)
	for _, c := range commands {
		fmt.Fprintf(w, "  %s\t%s\n", c.name, c.what)
	}
	w.Flush()
	return errors.New("usage: go run ./testnet/bench COMMAND [flags]; COMMAND -h lists the flags\n" + b.String())
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return help()
	}
	if child := children[args[0]]; child != nil {
		return child(ctx, args)
	}
	switch {
	case args[0] == "disk":
		return mountsOf(ctx, args)
	case args[0] == inMounts && len(args) > 1:
		args = args[1:]
	}
	i := slices.IndexFunc(commands, func(c command) bool { return c.name == args[0] })
	if i < 0 {
		return fmt.Errorf("no command %q; %w", args[0], help())
	}
	c := commands[i]
	o, err := c.parse(args[1:])
	if err != nil {
		return err
	}
	if c.alone != nil {
		return c.alone(ctx, o)
	}
	return o.with(ctx, c.measure)
}

// parse reads the flags of a command.
func (c *command) parse(args []string) (o options, err error) {
	flags := flag.NewFlagSet(c.name, flag.ContinueOnError)
	runs := 3
	if c.deliver != nil {
		runs = c.deliver.runs
		flags.BoolVar(&o.json, "json", false, "print JSON (schema 1)")
	}
	size := flags.Int64("size", c.mib, "`MiB` of the sample")
	flags.IntVar(&o.runs, "runs", runs, "how often to measure; medians are printed")
	flags.StringVar(&o.dir, "dir", "", "where samples and data folders go; /dev/shm leaves the disk out of it; difference keeps its downloads there")
	if c.deliver == nil {
		flags.BoolVar(&o.veth, "veth", false, "through a pair of network namespaces (root) instead of loopback")
		flags.DurationVar(&o.idle, "for", time.Minute, "how long an idle node is watched")
		flags.BoolVar(&o.quick, "quick", false, "difference: the made-up file only, nothing is downloaded")
		flags.BoolVar(&o.live, "live", false, "difference: have real nodes fetch it, in network namespaces (root)")
	} else {
		o.scene = *c.deliver
		o.scene.flags(flags)
	}
	err = flags.Parse(args)
	o.command = c
	if err == nil && c.deliver != nil {
		err = o.scene.check()
	}
	o.size, o.args, o.said = *size<<20, flags.Args(), strings.Join(append([]string{c.name}, args...), " ")
	return o, err
}

// bench is what a measurement runs with.
type bench struct {
	options
	lab    *scenario.Lab
	router string // the program that runs links, of what is delivered to branches
	sample string
	// Where the publishing and the fetching side run, and the first one's
	// address. Both spaces are nil on loopback.
	here, there *scenario.Space
	addr        string
	table       table

	// Of commands that deliver to sites: the table is what p2pnode takes, others is
	// what they take. late packets of all there were came out of the emulator not as
	// asked.
	others        []*named
	late, packets int64
	machine       string
}

// with sets up a lab, measures, prints, and takes all away.
func (o options) with(ctx context.Context, measure func(context.Context, *bench) error) (err error) {
	dir, err := os.MkdirTemp(o.dir, "p2pnode-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := room(dir, o.size, copies(o.scene)); err != nil {
		return err
	}
	binary, err := scenario.Build(ctx, dir)
	if err != nil {
		return err
	}
	b := &bench{options: o, lab: scenario.New(binary, dir), sample: dir + "/sample.bin", addr: "127.0.0.1"}
	if o.scene.sites > 0 {
		if b.router, err = scenario.BuildTestnet(ctx, dir); err != nil {
			return err
		}
	}
	defer func() { err = errors.Join(err, b.lab.Close()) }()
	if o.veth {
		net, err := b.wire()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, net.Close()) }()
	}
	if b.machine = machine(); !o.json {
		fmt.Printf("%s\n\n", b.machine)
	}
	if err := measure(ctx, b); err != nil {
		return fmt.Errorf("%w\n%s", err, b.lab.Logs())
	}
	if o.scene.sites == 0 {
		b.table.print(os.Stdout)
		return nil
	}
	return b.tell(os.Stdout)
}

// copies is how many times its size a command may have on disk.
func copies(s scene) int {
	if s.sites == 0 {
		return 5
	}
	// Each endpoint's store and the copy for the user; a third where another means has
	// files of its own. At the publisher the samples and its store.
	each := 2
	if s.beside != "" && s.beside != noRival {
		each++
	}
	return max(1, s.contents)*(each*s.sites*s.peers+6) + s.kills
}
