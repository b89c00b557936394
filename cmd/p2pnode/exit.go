package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/node"
	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/node/trust"
)

// exits is the exit code of each kind of failure: part of the contract in
// README.md. 2 stays free, as a Go program that panics ends with it.
var exits = map[api.Code]int{
	api.Failed:       1,
	api.Busy:         1,
	api.PartlyDone:   3,
	api.NotRunning:   10,
	api.NotFound:     11,
	api.Corrupt:      12,
	api.NotPermitted: 13,
	api.TimedOut:     14,
	api.NoSpace:      15,
	api.Usage:        64,
	api.Interrupted:  130,
}

// causes is what commands without a node's help have to say about errors of
// node/trust: a node says so itself.
var causes = []struct {
	err  error
	code api.Code
	next string
}{
	{trust.ErrToken, api.Usage, "Ask for a new one: p2pnode invite --site SITE, on the node that issues credentials"},
	{trust.ErrTokenUsed, api.NotPermitted, ""},
	{trust.ErrTokenExpired, api.NotPermitted, ""},
	{trust.ErrTokenUnknown, api.NotPermitted, ""},
	{trust.ErrUnreached, api.Failed, "See that the node that made the token runs, and that firewalls let TCP and UDP 4740 through to it. Then run the same command again"},
	{trust.ErrForeignEnterprise, api.NotPermitted, ""},
	{trust.ErrHasIdentity, api.NotPermitted, ""},
	{trust.ErrInUse, api.Failed, "Stop the node that runs on this folder first, or use another: --data FOLDER"},
	{trust.ErrNotAdmitted, api.NotPermitted, ""},
	{node.ErrNoStore, api.Failed, noStoreNext},
	{store.ErrLocked, api.Failed, "Stop the node that runs on this folder first"},
	{trust.ErrNewer, api.Failed, "Run the newer version again; this one left the folder as it was"},
	{trust.ErrDamaged, api.Corrupt, "Put the folder \"trust\" back from a backup, or join again: p2pnode join --replace TOKEN"},
}

const noStoreNext = "Mount the disk that it is on. To begin with an empty cache, remove store.at from the data folder"

// usageError is an error in how the program was called.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// failure returns err as what a caller is told.
func (a *app) failure(ctx context.Context, cmd *cobra.Command, err error) *api.Error {
	var u usageError
	if !a.begun || errors.As(err, &u) {
		return &api.Error{Code: api.Usage, Message: err.Error(), Next: "See: " + cmd.CommandPath() + " --help"}
	}
	if errors.Is(context.Cause(ctx), errSignal) && (errors.Is(err, context.Canceled) || errors.Is(err, errSignal)) {
		return &api.Error{Code: api.Interrupted, Message: verb(cmd) + ": interrupted"}
	}
	e := api.From(err)
	if e.Code == api.Failed && e.Next == "" {
		for _, c := range causes {
			if errors.Is(err, c.err) {
				return &api.Error{Code: c.code, Message: e.Message, Next: c.next}
			}
		}
	}
	return e
}

// fail tells of err and returns the exit code. The text goes to stderr; with
// --json the last line of stdout is the error as well.
func (a *app) fail(ctx context.Context, cmd *cobra.Command, err error) int {
	e := a.failure(ctx, cmd, err)
	code, ok := exits[e.Code]
	if !ok {
		code = 1
	}
	fmt.Fprintf(a.err, "p2pnode: %s\n", strings.TrimSpace(e.Message))
	for _, t := range e.Tried {
		fmt.Fprintf(a.err, "  tried: %s\n", t)
	}
	if e.Next != "" {
		fmt.Fprintln(a.err, a.next(e.Next))
	}
	if a.json {
		line, err := api.MarshalLine(api.ErrorLine, struct {
			Exit int `json:"exit"`
			*api.Error
		}{code, e})
		if err == nil {
			_, _ = a.out.Write(line) // the exit code says the same
		}
	}
	return code
}

// next returns a hint whose commands, if --data was given, name the same folder.
func (a *app) next(hint string) string {
	if a.chosen == "" || strings.Contains(hint, "--data") || strings.HasSuffix(hint, "--help") {
		return hint
	}
	folder := a.chosen
	if strings.ContainsAny(folder, " \t'\"$\\&;()<>|*?") {
		folder = fmt.Sprintf("%q", folder)
	}
	return strings.ReplaceAll(hint, "p2pnode ", "p2pnode --data "+folder+" ")
}
