package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/box/spaces"
	"github.com/p2pnode/p2pnode/testnet/chaos"
	"github.com/p2pnode/p2pnode/testnet/compose"
	"github.com/p2pnode/p2pnode/testnet/scenario"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

// chaosFlags are those of the command.
type chaosFlags struct {
	minutes  float64
	plan     box.Plan
	planOnly bool
	on       string
	json     bool
	out      string // file for the result
	race     bool
}

func parseChaos(args []string) (f chaosFlags, err error) {
	f.plan = chaosBox()
	set := flag.NewFlagSet("chaos", flag.ContinueOnError)
	set.Float64Var(&f.minutes, "minutes", 5, "how long faults and load last")
	set.Uint64Var(&f.plan.Seed, "seed", 0, "of everything random (default: another one each time)")
	set.IntVar(&f.plan.Branches, "sites", f.plan.Branches, "branches, beside HQ")
	set.IntVar(&f.plan.Peers, "peers", f.plan.Peers, "endpoints of each branch")
	set.BoolVar(&f.planOnly, "plan", false, "print the timeline and do nothing")
	set.StringVar(&f.on, "on", onSpaces, "spaces, for a testnet of namespaces of its own; compose, for the one that `testnet up` started")
	set.BoolVar(&f.json, "json", false, "print the result as JSON on stdout, what happens on stderr")
	set.StringVar(&f.out, "out", "", "file to write the result to, as JSON")
	set.BoolVar(&f.race, "race", false, "run nodes with the race detector (needs gcc; memory isn't judged then)")
	if err := set.Parse(args); err != nil {
		return f, err
	}
	if set.NArg() > 0 {
		return f, fmt.Errorf("chaos: %q is no flag", set.Arg(0))
	}
	if f.on != onSpaces && f.on != onCompose {
		return f, fmt.Errorf("chaos: --on %s: want %s or %s", f.on, onSpaces, onCompose)
	}
	if f.plan.Seed == 0 {
		f.plan.Seed = uint64(time.Now().UnixNano()) % 1_000_000
	}
	return f, nil
}

// What a testnet can be made of.
const (
	onSpaces  = "spaces"
	onCompose = "compose"
)

// chaosBox is what chaos breaks by default: links that several gets fill, and disks
// that have room for all that is published.
func chaosBox() box.Plan {
	branch := wan.Settings{Rate: 50 * bandwidth.MbitPerSecond, Delay: 10 * time.Millisecond}
	hq := wan.Settings{Rate: 200 * bandwidth.MbitPerSecond, Delay: 5 * time.Millisecond}
	return box.Plan{Branches: 2, Peers: 3, Up: branch, Down: branch, HQUp: hq, HQDown: hq, Disk: 512 << 20}
}

// breakIt is the command chaos.
func breakIt(ctx context.Context, args []string) error {
	f, err := parseChaos(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if f.on == onCompose {
		return f.breakCompose(ctx)
	}
	t, err := f.timeline(f.plan)
	if err != nil || f.planOnly {
		return err
	}
	if err := spaces.Alone(); err != nil {
		return err
	}
	rec, err := f.breakSpaces(ctx, t)
	if err != nil {
		return err
	}
	return f.report(t, rec)
}

// timeline plans what is to happen to a box, and prints it if that is all.
func (f chaosFlags) timeline(b box.Plan) (chaos.Timeline, error) {
	t, err := chaos.Make(b, time.Duration(f.minutes*float64(time.Minute)))
	if err != nil {
		return t, fmt.Errorf("%w: %w", errUsage, err)
	}
	if f.planOnly {
		fmt.Print(t)
	}
	return t, nil
}

// talk is where it is told what happens.
func (f chaosFlags) talk() io.Writer {
	if f.json {
		return os.Stderr
	}
	return os.Stdout
}

// breakCompose breaks the testnet that stands here, and leaves it standing.
func (f chaosFlags) breakCompose(ctx context.Context) error {
	e, err := compose.Attach(ctx)
	if err != nil {
		return err
	}
	plan := e.Plan()
	plan.Seed = f.plan.Seed
	t, err := f.timeline(plan)
	if err != nil || f.planOnly {
		return err
	}
	rec, err := f.breakBox(ctx, e, t)
	if err := errors.Join(err, e.Close()); err != nil {
		return err
	}
	return f.report(t, rec)
}

// breakSpaces makes a testnet of namespaces, breaks it and takes it away.
func (f chaosFlags) breakSpaces(ctx context.Context, t chaos.Timeline) (rec chaos.Record, err error) {
	if _, err := spaces.Reap(); err != nil {
		return rec, err
	}
	dir, err := spaces.TempDir()
	if err != nil {
		return rec, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	env := []string{"CGO_ENABLED=0"}
	if f.race {
		env = []string{"CGO_ENABLED=1", "GOFLAGS=-race -buildvcs=false"}
	}
	binary, err := scenario.Build(ctx, dir, env...)
	if err != nil {
		return rec, err
	}
	self, err := os.Executable()
	if err != nil {
		return rec, err
	}
	e, err := spaces.New(ctx, t.Box, spaces.Config{Binary: binary, Dir: dir, Router: self})
	if err != nil {
		return rec, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	if err := e.Start(ctx); err != nil {
		return rec, err
	}
	return f.breakBox(ctx, e, t)
}

func (f chaosFlags) breakBox(ctx context.Context, e box.Enterprise, t chaos.Timeline) (chaos.Record, error) {
	talk := f.talk()
	fmt.Fprintf(talk, "chaos: seed %d, %v, %d branches of %d endpoints, %d faults\n", t.Box.Seed, t.For, t.Box.Branches, t.Box.Peers, len(t.Faults))
	files, err := chaos.NewMachines(ctx, e)
	if err != nil {
		return chaos.Record{}, err
	}
	rec, err := chaos.Run(ctx, e, files, t, func(at time.Duration, text string) {
		fmt.Fprintf(talk, "%7.1fs  %s\n", at.Seconds(), text)
	})
	if err != nil && ctx.Err() == nil {
		fmt.Fprintf(talk, "%v\n%s", t, e.Logs())
	}
	return rec, err
}

// chaosResult is what --json and --out have.
type chaosResult struct {
	Seed     uint64          `json:"seed"`
	Minutes  float64         `json:"minutes"`
	Branches int             `json:"branches"`
	Peers    int             `json:"peers"`
	Faults   int             `json:"faults"`
	Pass     bool            `json:"pass"`
	Verdicts []chaos.Verdict `json:"verdicts"`
	Timeline string          `json:"timeline"`
}

// judge leaves out what isn't judged: the race detector keeps a history of memory
// in memory.
func (f chaosFlags) judge(t chaos.Timeline, rec chaos.Record) []chaos.Verdict {
	return slices.DeleteFunc(chaos.Judge(t, rec), func(v chaos.Verdict) bool { return f.race && v.Name == chaos.Memory })
}

// again is the command that runs a timeline once more.
func (f chaosFlags) again(t chaos.Timeline) string {
	text := fmt.Sprintf("go run ./testnet chaos --seed %d --minutes %g --sites %d --peers %d --on %s", t.Box.Seed, f.minutes, t.Box.Branches, t.Box.Peers, f.on)
	if f.race {
		text += " --race"
	}
	return text
}

// report writes the verdicts, and is an error if one of them is FAIL.
func (f chaosFlags) report(t chaos.Timeline, rec chaos.Record) error {
	verdicts := f.judge(t, rec)
	talk, pass := f.talk(), chaos.Passed(verdicts)
	text, err := json.MarshalIndent(chaosResult{t.Box.Seed, f.minutes, t.Box.Branches, t.Box.Peers, len(t.Faults), pass, verdicts, t.String()}, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if f.out != "" {
		err = os.WriteFile(f.out, text, 0o644)
	}
	if f.json {
		_, werr := os.Stdout.Write(text)
		err = errors.Join(err, werr)
	}
	if !pass {
		fmt.Fprintf(talk, "\n%v", t)
	}
	fmt.Fprintln(talk)
	if err := errors.Join(err, chaos.Table(talk, verdicts)); err != nil {
		return err
	}
	if !pass {
		return fmt.Errorf("chaos: an invariant broke; the same again: %s", f.again(t))
	}
	return nil
}
