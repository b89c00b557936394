package inside

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// patience bounds the wait for an invite, and for the publisher to answer.
const (
	patience = 3 * time.Minute
	again    = 500 * time.Millisecond // between attempts
)

// Endpoint joins with the token in invite, however long the publisher and the
// routers take to be there, and then becomes argv, which is p2pnode and how to
// run it: signals reach it. A folder that has joined before is left as it is, and
// needs nobody else to be there.
//
// It is not `run --join-file`: that gives up where nobody answers, and in the first
// seconds of the box nobody does.
//
// The folder files is for whoever brings something or takes it away: a disk in
// memory begins without it.
func Endpoint(ctx context.Context, invite, files string, argv []string, log io.Writer) error {
	if len(argv) == 0 {
		return errors.New("endpoint: nothing to run; want testnet endpoint --invite FILE -- /p2pnode run")
	}
	if err := os.MkdirAll(files, 0o755); err != nil {
		return fmt.Errorf("endpoint: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not invited after %v", patience))
	defer cancel()
	said := ""
	for invite != "" {
		err := join(ctx, argv[0], invite)
		if err == nil {
			break
		}
		if said != err.Error() {
			said = err.Error()
			fmt.Fprintln(log, "endpoint: trying again:", said)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("endpoint: %w: %s; is the publisher up? docker logs of it, of its router and of invite say more", context.Cause(ctx), said)
		case <-time.After(again):
		}
	}
	return become(argv)
}

func join(ctx context.Context, p2pnode, invite string) error {
	if _, err := os.Stat(invite); err != nil {
		return errors.New("there is no invite yet")
	}
	var text bytes.Buffer
	cmd := exec.CommandContext(ctx, p2pnode, "join", "--join-file", invite)
	cmd.Stdout, cmd.Stderr = &text, &text
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(text.String()))
	}
	return nil
}
