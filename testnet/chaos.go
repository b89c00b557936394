package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/chaos"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

// chaosFlags are those of the command.
type chaosFlags struct {
	minutes  float64
	plan     box.Plan
	planOnly bool
}

// breakIt is the command chaos.
func breakIt(_ context.Context, args []string) error {
	f := chaosFlags{plan: chaosBox()}
	set := flag.NewFlagSet("chaos", flag.ContinueOnError)
	set.Float64Var(&f.minutes, "minutes", 5, "how long faults and load last")
	set.Uint64Var(&f.plan.Seed, "seed", 0, "of everything random (default: another one each time)")
	set.IntVar(&f.plan.Branches, "sites", f.plan.Branches, "branches, beside HQ")
	set.IntVar(&f.plan.Peers, "peers", f.plan.Peers, "endpoints of each branch")
	set.BoolVar(&f.planOnly, "plan", false, "print the timeline and do nothing")
	if err := set.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil || set.NArg() > 0 {
		return fmt.Errorf("%w: chaos %v", errUsage, args)
	}
	if f.plan.Seed == 0 {
		f.plan.Seed = uint64(time.Now().UnixNano()) % 1_000_000
	}
	t, err := chaos.Make(f.plan, time.Duration(f.minutes*float64(time.Minute)))
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	fmt.Fprint(os.Stdout, t)
	return nil
}

// chaosBox is what chaos breaks by default: links that several gets fill, and disks
// that have room for all that is published.
func chaosBox() box.Plan {
	branch := wan.Settings{Rate: 50 * bandwidth.MbitPerSecond, Delay: 10 * time.Millisecond}
	hq := wan.Settings{Rate: 200 * bandwidth.MbitPerSecond, Delay: 5 * time.Millisecond}
	return box.Plan{Branches: 2, Peers: 3, Up: branch, Down: branch, HQUp: hq, HQDown: hq, Disk: 512 << 20}
}
