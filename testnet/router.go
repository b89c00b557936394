package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"

	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

// router is what runs in a site's router, until it is told to stop.
func router(ctx context.Context, args []string) (err error) {
	cfg := wan.RouterConfig{Classes: box.Classes}
	flags := flag.NewFlagSet("router", flag.ContinueOnError)
	site := flags.String("site", "", "whose router this is, for messages")
	flags.TextVar(&cfg.LAN, "gateway", netip.Prefix{}, "the router's address on the LAN, with the subnet's bits")
	flags.TextVar(&cfg.WAN, "wan", netip.Prefix{}, "and on the WAN")
	settings := func(d wan.Direction) func(string) error {
		return func(text string) (err error) {
			cfg.Settings[d], err = wan.Parse(text)
			return err
		}
	}
	flags.Func("up", "what the link does on the way to the WAN, as in rate=20mbit delay=20ms", settings(box.Up))
	flags.Func("down", "and on the way from it", settings(box.Down))
	flags.Func("route", "SUBNET=ADDRESS of another site's router; as often as there are others", func(text string) error {
		r, err := wan.ParseRoute(text)
		cfg.Routes = append(cfg.Routes, r)
		return err
	})
	flags.Uint64Var(&cfg.Seed, "seed", 1, "of what is random: losses and jitter")
	flags.StringVar(&cfg.Control, "control", "", "the unix socket on which the link is read and changed")
	healthy := flags.Bool("healthy", false, "do nothing but ask the router on --control whether it runs")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("%w: router: %w", errUsage, err)
	}
	if cfg.Control == "" {
		return fmt.Errorf("%w: router: want --control SOCKET", errUsage)
	}
	if *healthy {
		_, err := wan.NewControl(cfg.Control).State(ctx, box.Up)
		return err
	}
	if !cfg.LAN.IsValid() || !cfg.WAN.IsValid() {
		return fmt.Errorf("%w: router: want --gateway and --wan, as in 10.77.2.254/24", errUsage)
	}
	// Late packets are counted, so this is no reason to stop.
	if err := wan.RealTime(); err != nil {
		fmt.Fprintf(os.Stderr, "router of %s: on a busy machine its packets will be late: %v\n", *site, err)
	}
	r, err := wan.NewRouter(cfg)
	if err != nil {
		return fmt.Errorf("router of %s: %w", *site, err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	fmt.Printf("router of %s: up %s; down %s\n", *site, cfg.Settings[box.Up], cfg.Settings[box.Down])
	return r.Run(ctx)
}
