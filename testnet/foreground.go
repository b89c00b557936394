package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/foreground"
)

const foregroundUsage = `
  testnet foreground serve [--listen :4799]
  testnet foreground run --server HOST:4799 [--bulk] [--web] [--voip] [--for 20s] [--seed N] [--json]
  testnet foreground compare ALONE.json WITH.json`

// playForeground is traffic of a branch's users: its server, its clients, and what
// the difference was.
func playForeground(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("%w: foreground: want one of%s", errUsage, foregroundUsage)
	}
	switch args[0] {
	case "serve":
		return serveForeground(ctx, args[1:])
	case "run":
		return runForeground(ctx, args[1:])
	case "compare":
		return compareForeground(args[1:])
	}
	return fmt.Errorf("%w: foreground: no command %q; want one of%s", errUsage, args[0], foregroundUsage)
}

func serveForeground(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("foreground serve", flag.ContinueOnError)
	listen := flags.String("listen", net.JoinHostPort("", strconv.Itoa(box.ForegroundPort)), "address, TCP and UDP")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	s, err := foreground.Listen(*listen)
	if err != nil {
		return err
	}
	if s.NotCubic != nil {
		fmt.Fprintln(os.Stderr, "foreground: downloads don't go by CUBIC, as most users' do; as root they would:", s.NotCubic)
	}
	fmt.Println("foreground: listening on", s.Addr())
	return s.Serve(ctx)
}

func runForeground(ctx context.Context, args []string) error {
	var cfg foreground.Config
	flags := flag.NewFlagSet("foreground run", flag.ContinueOnError)
	flags.StringVar(&cfg.Server, "server", "", "HOST:PORT of `testnet foreground serve`")
	flags.DurationVar(&cfg.For, "for", 20*time.Second, "how long")
	flags.Uint64Var(&cfg.Seed, "seed", 1, "of sizes and pauses")
	asJSON := flags.Bool("json", false, "a line of JSON each 250 ms, and what was felt as the last")
	wanted := map[foreground.Kind]*bool{}
	for _, k := range foreground.Kinds {
		wanted[k] = flags.Bool(string(k), false, "play "+string(k))
	}
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	for _, k := range foreground.Kinds {
		if *wanted[k] {
			cfg.Kinds = append(cfg.Kinds, k)
		}
	}
	out := json.NewEncoder(os.Stdout)
	var report func(foreground.Line)
	if *asJSON {
		report = func(l foreground.Line) { _ = out.Encode(l) }
	}
	s, err := foreground.Run(ctx, cfg, report)
	if err != nil {
		return err
	}
	if *asJSON {
		return out.Encode(s)
	}
	fmt.Print(s)
	return nil
}

func compareForeground(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("%w: foreground compare: want two files, each the last line of `foreground run --json`", errUsage)
	}
	var s [2]foreground.Summary
	for i, name := range args {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, &s[i]); err != nil || s[i].Type != "summary" {
			return errors.Join(fmt.Errorf("%s is no summary; it has to be the last line of `foreground run --json`", name), err)
		}
	}
	return json.NewEncoder(os.Stdout).Encode(foreground.Compare(s[0], s[1]))
}
