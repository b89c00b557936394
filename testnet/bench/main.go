//go:build linux

// Bench measures how fast real nodes move real bytes on this machine, what CPU
// and memory that takes, and what the parts of it would take alone.
//
//	go run ./testnet/bench speed [-size MIB] [-runs N] [-dir DIR] [-veth]
//	go run ./testnet/bench add   [-size MIB] [-runs N] [-dir DIR]
//	go run ./testnet/bench idle  [-for D] [-runs N] [-dir DIR]
//	go run ./testnet/bench profile [-size MIB] [-dir DIR]
//	go run ./testnet/bench disk  [-size MIB] [-dir DIR]
//	go run ./testnet/bench pagecache [-size MIB] [-dir DIR]
//	go run ./testnet/bench difference [-quick] [-live] [-runs N] [-dir DIR] [OLD NEW]
//
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
	"syscall"
	"time"

	"github.com/p2pnode/p2pnode/testnet/scenario"
)

const usage = "usage: go run ./testnet/bench speed|add|idle|profile|disk|pagecache|difference [flags]"

// options are the flags of all commands.
type options struct {
	size int64 // bytes of the sample
	runs int
	dir  string
	veth bool
	idle time.Duration

	// Of difference.
	quick bool
	live  bool
	args  []string // two paths, or none
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
		return errors.New(usage)
	}
	switch args[0] {
	case rawServe, rawFetch: // this program as its own child
		return raw(ctx, args)
	case rawWarm:
		return warm(ctx, args[1:])
	case inMounts:
		if args = args[1:]; len(args) == 0 {
			return errors.New(usage)
		}
	case "disk":
		return mountsOf(ctx, args)
	}
	var o options
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	mib := int64(1024)
	if args[0] == "pagecache" {
		mib = 8192 // an image, and a machine with an eighth of it in memory
	}
	size := flags.Int64("size", mib, "MiB of the sample")
	flags.IntVar(&o.runs, "runs", 3, "how often to measure; medians are printed")
	flags.StringVar(&o.dir, "dir", "", "where samples and data folders go; /dev/shm leaves the disk out of it; difference keeps its downloads there")
	flags.BoolVar(&o.veth, "veth", false, "through a pair of network namespaces (root) instead of loopback")
	flags.DurationVar(&o.idle, "for", time.Minute, "how long an idle node is watched")
	flags.BoolVar(&o.quick, "quick", false, "difference: the made-up file only, nothing is downloaded")
	flags.BoolVar(&o.live, "live", false, "difference: have real nodes fetch it, in network namespaces (root)")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	o.size, o.args = *size<<20, flags.Args()
	if args[0] == "difference" {
		return difference(ctx, o)
	}
	measure := map[string]func(context.Context, *bench) error{
		"speed": speed, "add": add, "idle": idle, "profile": profile, "disk": disk, "pagecache": pagecache,
	}[args[0]]
	if measure == nil {
		return fmt.Errorf("no command %q; %s", args[0], usage)
	}
	return o.with(ctx, measure)
}

// bench is what a measurement runs with.
type bench struct {
	options
	lab    *scenario.Lab
	sample string
	// Where the publishing and the fetching side run, and the first one's
	// address. Both spaces are nil on loopback.
	here, there *scenario.Space
	addr        string
	table       table
}

// with sets up a lab, measures, prints, and takes all away.
func (o options) with(ctx context.Context, measure func(context.Context, *bench) error) (err error) {
	dir, err := os.MkdirTemp(o.dir, "p2pnode-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := room(dir, o.size); err != nil {
		return err
	}
	binary, err := scenario.Build(ctx, dir)
	if err != nil {
		return err
	}
	b := &bench{options: o, lab: scenario.New(binary, dir), sample: dir + "/sample.bin", addr: "127.0.0.1"}
	defer func() { err = errors.Join(err, b.lab.Close()) }()
	if o.veth {
		net, err := b.wire()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, net.Close()) }()
	}
	machine(os.Stdout)
	if err := measure(ctx, b); err != nil {
		return fmt.Errorf("%w\n%s", err, b.lab.Logs())
	}
	b.table.print(os.Stdout)
	return nil
}
