// Testnet shows on one machine what p2pnode does to an enterprise's network: it
// starts real nodes, makes things happen to them, and checks what comes of it.
//
// `go run ./testnet` lists the commands.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"text/tabwriter"

	"github.com/p2pnode/p2pnode/testnet/box/probe"
	"github.com/p2pnode/p2pnode/testnet/chaos"
)

// A command is the first word behind `testnet`.
type command struct {
	name, what string
	// tool is a command that other commands run, inside of containers and
	// namespaces; it isn't listed.
	tool bool
	run  func(ctx context.Context, args []string) error
}

var commands = []command{
	{name: "up", what: "start the enterprise in a box, in containers", run: up},
	{name: "verify", what: "publish a file in it, and see that it arrives everywhere as it should", run: verify},
	{name: "link", what: "show the links of its sites, change, cut and heal them", run: link},
	{name: "down", what: "take it away, whatever became of it", run: down},
	{name: "smoke", what: "up, verify and down of a small one", run: smoke},
	{name: "chaos", what: "break the testnet at random under load, see that nothing is lost", run: breakIt},
	{name: chaos.ToolName, tool: true, run: func(_ context.Context, args []string) error { return chaos.Tool(args, os.Stdout) }},
	{name: "scenario", what: "play scenarios (what happens when) and hold them against their levels", run: func(ctx context.Context, args []string) error { return playScenarios(ctx, args, os.Stdout) }},
	{name: "sample", tool: true, run: func(_ context.Context, args []string) error { return makeSample(args) }},
	{name: "digest", tool: true, run: func(_ context.Context, args []string) error { return digestOf(args, os.Stdout) }},
	{name: probe.Name, tool: true, run: func(ctx context.Context, args []string) error { return probe.Main(ctx, args, os.Stdout) }},
	{name: "tally", what: "read `go test -json` from stdin, print what matters of it", run: func(_ context.Context, args []string) error { return tally(os.Stdin, os.Stdout) }},
	{name: "router", tool: true, run: router},
	{name: "foreground", tool: true, run: playForeground},
}

// exit codes beside 1: those of p2pnode.
const exitUsage = 64

// errUsage is what a command returns that was called in a wrong way.
var errUsage = errors.New("wrong use")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "testnet:", err)
	if errors.Is(err, errUsage) {
		os.Exit(exitUsage)
	}
	os.Exit(1)
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 || slices.Contains([]string{"help", "-h", "-help", "--help"}, args[0]) {
		usage(os.Stdout)
		return nil
	}
	for _, c := range slices.Concat(commands, insideCommands) {
		if c.name == args[0] {
			return c.run(ctx, args[1:])
		}
	}
	return fmt.Errorf("%w: no command %q; `go run ./testnet` lists them", errUsage, args[0])
}

func usage(w io.Writer) {
	fmt.Fprintf(w, "The enterprise in a box.\n\nUsage:\n  go run ./testnet COMMAND [flags]\n\nCommands:\n")
	t := tabwriter.NewWriter(w, 0, 0, 4, ' ', 0)
	for _, c := range commands {
		if !c.tool {
			fmt.Fprintf(t, "  %s\t%s\n", c.name, c.what)
		}
	}
	t.Flush()
}
