package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/compose"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

const linkHelp = `Show and change the links between sites and the WAN of the testnet that stands
here. Up is from the site to the WAN, down the other way.

Usage:
  go run ./testnet link                          show all
  go run ./testnet link SITE up|down SETTINGS    change what SETTINGS name
  go run ./testnet link SITE cut                 lose all packets, both ways
  go run ./testnet link SITE heal                and no longer: without any outage

SETTINGS are those of testnet/wan, for example
  "rate=2mbit delay=300ms jitter=10ms loss=1% buffer=500ms"
`

// Of a link that is cut everything is lost, for as long as can be said; what else
// it does is kept for when it is healed.
const (
	cut    = "outage=0s+744h"
	healed = "outage=none"
)

// linkTime is for all links; each answers at once.
const linkTime = time.Minute

var directions = map[string]box.Direction{"up": box.Up, "down": box.Down}

func link(ctx context.Context, args []string) error {
	f, err := flags("link", linkHelp, args, func(*flag.FlagSet) {})
	if errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	change, err := linkVerb(f.Args())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, linkTime, fmt.Errorf("link: not done after %v", linkTime))
	defer cancel()
	e, err := compose.Attach(ctx)
	if err != nil {
		return err
	}
	defer e.Close()
	if change == nil {
		return showLinks(ctx, e)
	}
	l := e.Link(f.Arg(0))
	if l == nil {
		return fmt.Errorf("%w: there is no site %s; want one of %s", errUsage, f.Arg(0), strings.Join(e.Plan().Sites(), ", "))
	}
	for d, text := range change {
		s, err := l.Settings(ctx, d)
		if err != nil {
			return err
		}
		if s, err = s.With(text); err != nil {
			return fmt.Errorf("%w: %w", errUsage, err)
		}
		if err := l.Set(ctx, d, s); err != nil {
			return err
		}
	}
	return showLinks(ctx, e)
}

// linkVerb returns what is to be changed in which direction, or nil for nothing.
func linkVerb(args []string) (map[box.Direction]string, error) {
	switch {
	case len(args) == 0 || len(args) == 1 && args[0] == "ls":
		return nil, nil
	case len(args) == 2 && args[1] == "cut":
		return map[box.Direction]string{box.Up: cut, box.Down: cut}, nil
	case len(args) == 2 && args[1] == "heal":
		return map[box.Direction]string{box.Up: healed, box.Down: healed}, nil
	case len(args) >= 3:
		if d, ok := directions[args[1]]; ok {
			text := strings.Join(args[2:], " ")
			if _, err := wan.Parse(text); err != nil {
				return nil, fmt.Errorf("%w: %w", errUsage, err)
			}
			return map[box.Direction]string{d: text}, nil
		}
	}
	return nil, fmt.Errorf("%w: link %s; see go run ./testnet link --help", errUsage, strings.Join(args, " "))
}

func showLinks(ctx context.Context, e box.Enterprise) error {
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintf(t, "SITE\tWAY\tP2PNODE\tFOREGROUND\tOTHER\tDROPPED\tLOST\tSETTINGS\n")
	for _, site := range e.Plan().Sites() {
		for _, way := range []string{"up", "down"} {
			l, d := e.Link(site), directions[way]
			s, err := l.Settings(ctx, d)
			if err != nil {
				return err
			}
			c, err := l.Counts(ctx, d)
			if err != nil {
				return err
			}
			text := s.String()
			if slices.ContainsFunc(s.Outages, func(o wan.Outage) bool { return o.String() == "0s+744h0m0s" }) {
				text = "cut; else " + strings.Replace(text, " outage=0s+744h0m0s", "", 1)
			}
			carried := map[string]int64{}
			var full, lost int64
			for _, k := range c.Classes {
				carried[k.Class] = k.Delivered.Bytes
				full += k.Full.Packets
				lost += k.Lost.Packets + k.Out.Packets
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\n", site, way,
				megabytes(carried[box.ClassP2P]), megabytes(carried[box.ClassForeground]), megabytes(carried[wan.Other]), full, lost, text)
		}
	}
	return t.Flush()
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
