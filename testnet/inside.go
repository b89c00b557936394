package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/p2pnode/p2pnode/testnet/compose/inside"
)

// insideCommands are those that run in containers: see testnet/compose/inside.
var insideCommands = []command{
	{name: "endpoint", tool: true, run: endpoint},
	{name: "invite", tool: true, run: invite},
	{name: "window", tool: true, run: serveWindow},
	{name: "leash", tool: true, run: leash},
	{name: "cable", tool: true, run: cable},
	{name: "disk", tool: true, run: disk},
	{name: "usage", tool: true, run: usageOf},
	{name: "outside", tool: true, run: func(ctx context.Context, _ []string) error { return inside.Outside(ctx) }},
}

// parse reads the flags of a tool. What is wrong with them is told by the flag
// package.
func parse(name string, args []string, define func(*flag.FlagSet)) (*flag.FlagSet, error) {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	define(f)
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil, err
	} else if err != nil {
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	return f, nil
}

func endpoint(ctx context.Context, args []string) error {
	var token string
	f, err := parse("endpoint", args, func(f *flag.FlagSet) { f.StringVar(&token, "invite", "", "file of the token to join with") })
	if err != nil {
		return err
	}
	return inside.Endpoint(ctx, token, dataFolder+"/files", f.Args(), os.Stderr)
}

func invite(ctx context.Context, args []string) error {
	var of, to string
	f, err := parse("invite", args, func(f *flag.FlagSet) {
		f.StringVar(&of, "of", "", "data folder of the node that invites")
		f.StringVar(&to, "to", "", "folder for the tokens")
	})
	if err != nil {
		return err
	}
	return inside.Invite(ctx, of, to, f.Args(), os.Stdout)
}

func serveWindow(ctx context.Context, args []string) error {
	var nodes, routers, sites, listen string
	if _, err := parse("window", args, func(f *flag.FlagSet) {
		f.StringVar(&nodes, "nodes", "", "folder of the nodes' volumes")
		f.StringVar(&routers, "routers", "", "folder of the routers' sockets")
		f.StringVar(&sites, "sites", "", "names of sites, with commas between them")
		f.StringVar(&listen, "listen", "127.0.0.1:0", "address")
	}); err != nil {
		return err
	}
	w, err := inside.NewWindow(nodes, routers, strings.Split(sites, ","))
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	return w.Serve(ctx, l)
}

// leash ends as the command that it ran does.
func leash(ctx context.Context, args []string) error {
	code, err := inside.Leash(ctx, os.Stdin, args)
	if err != nil {
		return err
	}
	os.Exit(code)
	return nil
}

func cable(_ context.Context, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "unplug":
		return inside.Unplug()
	case len(args) == 2 && args[0] == "plug":
		via, err := netip.ParseAddr(args[1])
		if err != nil {
			return err
		}
		return inside.Plug(via)
	}
	return fmt.Errorf("%w: want cable unplug, or cable plug ADDRESS-OF-ROUTER", errUsage)
}

// dataFolder is the disk of a container.
const dataFolder = "/data"

func disk(_ context.Context, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "empty":
		return inside.Empty(dataFolder)
	case len(args) == 2 && args[0] == "fill":
		free, err := strconv.ParseInt(args[1], 10, 64)
		if err != nil {
			return err
		}
		return inside.Fill(dataFolder, free)
	}
	return fmt.Errorf("%w: want disk empty, or disk fill BYTES-TO-LEAVE", errUsage)
}

func usageOf(context.Context, []string) error {
	u, err := inside.Read()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(u)
}
