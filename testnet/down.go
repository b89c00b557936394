package main

import (
	"context"
	"errors"
	"flag"
	"time"

	"github.com/p2pnode/p2pnode/testnet/box/spaces"
	"github.com/p2pnode/p2pnode/testnet/compose"
)

const downHelp = `Take the testnet away: containers, networks, volumes, the image, temporary folders,
and what a command that was killed has left of them, namespaces too.

Usage:
  go run ./testnet down
`

func down(ctx context.Context, args []string) error {
	if err := only("down", downHelp, args, func(*flag.FlagSet) {}); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	return takeDown(ctx, teller())
}

func takeDown(ctx context.Context, say func(string, ...any)) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	// Docker may not even be here, and what was made without it goes nevertheless.
	reaped, err := spaces.Reap()
	if reaped > 0 {
		say("taken away of commands that were killed: %d namespaces and temporary folders", reaped)
	}
	removed, derr := compose.Down(ctx)
	if err := errors.Join(err, derr); err != nil {
		return err
	}
	if removed != (compose.Removal{}) {
		say("taken away: %v", removed)
	} else if reaped == 0 {
		say("no testnet stands here, and nothing is left of one")
	}
	return nil
}
