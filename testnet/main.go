// Testnet shows on one machine what p2pnode does to an enterprise's network: it
// starts real nodes in containers and checks what comes of it.
//
//	go run ./testnet smoke    build, start 2 sites in containers, spread a file, take all away
//	go run ./testnet tally    read `go test -json` from stdin, print what matters of it
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const usage = "usage: go run ./testnet smoke|tally"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "testnet:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%s", usage)
	}
	switch args[0] {
	case "smoke":
		return smoke(ctx, os.Stdout)
	case "tally":
		return tally(os.Stdin, os.Stdout)
	}
	return fmt.Errorf("no command %q; %s", args[0], usage)
}
