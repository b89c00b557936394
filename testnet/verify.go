package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/compose"
)

const verifyHelp = `Publish a file at the publisher of the testnet that stands here, get it at every
endpoint, and say of each thing that must hold whether it does. Exits with 1 if one
doesn't.

Usage:
  go run ./testnet verify [flags]

Flags:
`

// errFell is what verify returns when a check fails; what failed has been told.
var errFell = errors.New("the testnet isn't as it has to be: see the lines with FAIL")

func verify(ctx context.Context, args []string) error {
	size := int64(16 << 20)
	timeout := 5 * time.Minute
	err := only("verify", verifyHelp, args, func(f *flag.FlagSet) {
		f.Func("size", "`SIZE` of the file (default 16MiB)", func(text string) (err error) {
			size, err = parseSize(text)
			return err
		})
		f.DurationVar(&timeout, "timeout", timeout, "`TIME` for all of it")
	})
	if errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not done after %v; give it longer: --timeout", timeout))
	defer cancel()
	e, err := compose.Attach(ctx)
	if err != nil {
		return err
	}
	defer e.Close()
	return check(ctx, e, size)
}

// check prints a line for each thing that must hold.
func check(ctx context.Context, e box.Enterprise, size int64) error {
	start := time.Now()
	failed := 0
	for c := range compose.Verify(ctx, e, size) {
		word := "PASS"
		if c.Err != nil {
			word, failed = "FAIL", failed+1
		}
		fmt.Printf("%s  %s\n", word, c.What)
		if c.Err != nil {
			fmt.Printf("      %v\n", c.Err)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if failed > 0 {
		return errFell
	}
	fmt.Printf("all of it holds, %.1f s\n", time.Since(start).Seconds())
	return nil
}
