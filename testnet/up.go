package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/compose"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

const upHelp = `Start the enterprise in a box: a publisher and an operator at HQ, and branches of
some endpoints, each site behind a router that emulates its link to the WAN. It
runs in containers until you take it down; nothing in it reaches anything outside.

Needs Docker Engine 20.10 or newer and docker-compose (1.29 or v2), and builds
what else it needs. The window is a page, and all nodes' APIs, on this machine's
loopback: whoever is on this machine may use it.

Usage:
  go run ./testnet up [flags]

Flags:
`

// setupFlags are the flags of a Setup.
func setupFlags(f *flag.FlagSet, s *compose.Setup) {
	f.IntVar(&s.Plan.Branches, "sites", s.Plan.Branches, "`N` branches, beside HQ")
	f.IntVar(&s.Plan.Peers, "peers", s.Plan.Peers, "`N` endpoints in each branch")
	for _, l := range []struct {
		name, what string
		into       *wan.Settings
	}{
		{"up", "what branches' links do on the way to the WAN: `SETTINGS` as testnet/wan has them", &s.Plan.Up},
		{"down", "what they do on the way from it: `SETTINGS`", &s.Plan.Down},
		{"hq-up", "the same of HQ's link: `SETTINGS`", &s.Plan.HQUp},
		{"hq-down", "the same of HQ's link: `SETTINGS`", &s.Plan.HQDown},
	} {
		f.Func(l.name, fmt.Sprintf("%s (default %q)", l.what, l.into.String()), func(text string) (err error) {
			*l.into, err = wan.Parse(text)
			return err
		})
	}
	f.Func("disk", "give each endpoint of a branch a disk of `SIZE` in memory, as in 512MiB (default: they share this machine's)", func(text string) (err error) {
		s.Plan.Disk, err = parseSize(text)
		return err
	})
	f.Uint64Var(&s.Plan.Seed, "seed", s.Plan.Seed, "`SEED` of losses and jitter")
	f.IntVar(&s.Port, "port", s.Port, "`PORT` of the window on this machine's loopback")
}

func parseSize(text string) (int64, error) {
	for unit, bytes := range map[string]int64{"MiB": 1 << 20, "GiB": 1 << 30} {
		if number, ok := strings.CutSuffix(text, unit); ok {
			n, err := strconv.ParseInt(number, 10, 32)
			if err != nil || n < 1 {
				break
			}
			return n * bytes, nil
		}
	}
	return 0, errors.New("want MiB or GiB, as in 512MiB")
}

// flags reads the flags of a command for people. Help that was asked for is
// flag.ErrHelp, which main takes for success.
func flags(name, help string, args []string, define func(*flag.FlagSet)) (*flag.FlagSet, error) {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	define(f)
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Print(help)
		f.SetOutput(os.Stdout)
		f.PrintDefaults()
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w: %w; see go run ./testnet %s --help", errUsage, err, name)
	}
	return f, nil
}

// only is flags of a command that takes nothing else.
func only(name, help string, args []string, define func(*flag.FlagSet)) error {
	f, err := flags(name, help, args, define)
	if err == nil && f.NArg() > 0 {
		err = fmt.Errorf("%w: %s takes no %q; see go run ./testnet %s --help", errUsage, name, f.Arg(0), name)
	}
	return err
}

// teller returns what tells people what was done, and after how long.
func teller() func(format string, args ...any) {
	start := time.Now()
	return func(format string, args ...any) {
		fmt.Printf("[%5.1fs] %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}
}

// upTime is for all of it, on a machine that does other things as well.
const upTime = 20 * time.Minute

func up(ctx context.Context, args []string) error {
	s := compose.Default()
	if err := only("up", upHelp, args, func(f *flag.FlagSet) { setupFlags(f, &s) }); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	if err := s.Check(); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, upTime, fmt.Errorf("up: not done after %v", upTime))
	defer cancel()
	say := teller()
	e, err := compose.Up(ctx, s, say)
	if err != nil {
		return err
	}
	nodes := len(e.Nodes())
	say("%d of %d nodes healthy", nodes, nodes)
	stands(e)
	return nil
}

// stands says what stands and what can be done with it.
func stands(e *compose.Enterprise) {
	p := e.Plan()
	first := box.Branch(0)
	fmt.Printf("\n%-12s %s, %s\n", box.HQ, box.Publisher, box.Operator)
	for i, site := range p.Sites()[1:] {
		fmt.Printf("%-12s %s\n", site, span(box.Endpoint(site, 1), box.Endpoint(site, p.Peers)))
		if i == 4 && p.Branches > 6 {
			fmt.Printf("...          and %d more branches\n", p.Branches-5)
			break
		}
	}
	fmt.Printf("%-12s up %v; down %v; of HQ up %v; down %v\n", "links", p.Up, p.Down, p.HQUp, p.HQDown)
	fmt.Printf("%-12s %s/ (all nodes: status, peers, contents, metrics)\n", "window", e.URL())
	fmt.Printf("%-12s %s/%s/v1/status, %s/%s/metrics, ...\n", "", e.URL(), box.Publisher, e.URL(), box.Endpoint(first, 1))
	fmt.Printf(`
Next:
  go run ./testnet verify                                a file to all, and is it right?
  go run ./testnet link                                  what the links do and have carried
  go run ./testnet link %s down "rate=2mbit delay=300ms"
  go run ./testnet link %s cut                     and heal
  docker exec %s /p2pnode add -q /p2pnode --name tool
  docker exec %s /p2pnode get tool -o /data/files/tool
  go run ./testnet down
`, first, first, compose.Container(box.Publisher), compose.Container(box.Endpoint(first, 1)))
}

func span(first, last string) string {
	if first == last {
		return first
	}
	return first + " ... " + last
}
