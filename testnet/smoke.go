package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/p2pnode/p2pnode/testnet/compose"
)

const smokeHelp = `Start a small testnet, verify it, and take it away, whatever happens.

Usage:
  go run ./testnet smoke [flags]

Flags:
`

const smokeTime = 5 * time.Minute // for all of it

func smoke(ctx context.Context, args []string) (err error) {
	s := compose.Default()
	s.Plan.Peers = 2
	if err := only("smoke", smokeHelp, args, func(f *flag.FlagSet) { setupFlags(f, &s) }); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, smokeTime, fmt.Errorf("smoke: not done after %v", smokeTime))
	defer cancel()
	say := teller()
	e, err := compose.Up(ctx, s, say)
	if err != nil {
		return err
	}
	say("%d nodes healthy", len(e.Nodes()))
	defer func() {
		if err != nil {
			fmt.Println(e.Logs())
		}
		err = errors.Join(err, takeDown(context.WithoutCancel(ctx), say))
	}()
	return check(ctx, e, 8<<20)
}
