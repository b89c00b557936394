package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/p2pnode/p2pnode/node/api"
)

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		GroupID: groupOperation,
		Short:   "Say how the node stands",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			st, err := ask(a, func(c *api.Client) (api.Status, error) { return c.Status(cmd.Context()) })
			if err != nil {
				return err
			}
			return a.answer(st, func(w io.Writer) error {
				state := "running"
				if !st.Ready {
					state = "starting"
				}
				fmt.Fprintf(w, "%s %s   node %s   site %s   enterprise %s   roles %s   p2pnode %s\n",
					state, span(time.Since(st.Started)), me(st), st.Site, st.Enterprise, orNone(strings.Join(st.Roles, ",")), st.Version)
				fmt.Fprintf(w, "content %d   store %s of %s (%s pinned, %s free)   peers lan %d wan %d\n",
					st.Store.Contents, size(st.Store.Used), size(st.Store.Quota), size(st.Store.Pinned), size(st.Store.Free), st.Peers.LAN, st.Peers.WAN)
				fetched := cmp.Or(sourcesText(portionsOf(st.Moved.From, api.ByLink{}, st.Moved.Local, 0)), "nothing")
				fmt.Fprintf(w, "since the start   fetched %s%s; wasted %s   sent %s\n",
					fetched, nearText(st.Moved.From), size(st.Moved.Wasted.Total()), size(st.Moved.Sent))
				for _, f := range st.Flows {
					line := "flow  " + flowText(f.Content, f)
					if from := sourcesText(portionsOf(f.From, f.Givers, f.Local, 0)); from != "" {
						line += "  from " + from
					}
					fmt.Fprintln(w, line)
				}
				warnings(w, a, st.Warnings)
				return nil
			})
		},
	}
}

// waitEvery is how often wait looks.
const waitEvery = 200 * time.Millisecond

func (a *app) waitCommand() *cobra.Command {
	var peers int64
	var ready bool
	timeout := time.Minute
	c := &cobra.Command{
		Use:     "wait [--ready] [--peers N]",
		GroupID: groupOperation,
		Short:   "Block until the node is ready, or has peers",
		Long: `Block until the node is ready and, with --peers, connected to N others. A node
that doesn't run yet is waited for too. Exit code 14 when the time is over, 10 if
no node ran until then.`,
		Example: `  p2pnode run & p2pnode wait --ready --timeout 10s
  p2pnode wait --peers 1 --timeout 30s && p2pnode get image -o image.iso`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if peers < 0 {
				return usageError{fmt.Errorf("wait: --peers %d is negative", peers)}
			}
			return a.wait(cmd.Context(), ready, peers, timeout)
		},
	}
	c.Flags().SortFlags = false
	c.Flags().BoolVar(&ready, "ready", true, "until it is ready")
	c.Flags().Int64Var(&peers, "peers", 0, "until `N` other nodes are connected")
	c.Flags().Var(timeFlag{&timeout}, "timeout", "give up after this time")
	return c
}

func (a *app) wait(ctx context.Context, ready bool, peers int64, timeout time.Duration) error {
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	tick := time.NewTicker(waitEvery)
	defer tick.Stop()
	var last *api.Status
	var lastErr error
	for {
		st, err := c.Status(within)
		switch {
		case err == nil && (st.Ready || !ready) && st.Peers.Total() >= peers:
			return a.answer(st, func(w io.Writer) error {
				state := "ready"
				if !st.Ready {
					state = "starting"
				}
				_, err := fmt.Fprintf(w, "%s   peers lan %d wan %d\n", state, st.Peers.LAN, st.Peers.WAN)
				return err
			})
		case err == nil:
			last = &st
		case errors.Is(err, api.ErrNotRunning):
			last, lastErr = nil, err
		case within.Err() == nil:
			return err
		}
		select {
		case <-tick.C:
			continue
		case <-within.Done():
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case last == nil && lastErr != nil:
			return lastErr
		case last == nil:
			return api.Errorf(api.TimedOut, "See: p2pnode doctor", "wait: the node didn't answer in %s", timeout)
		case ready && !last.Ready:
			return api.Errorf(api.TimedOut, "See: p2pnode doctor", "wait: the node wasn't ready in %s", timeout)
		}
		return api.Errorf(api.TimedOut, "Find out why: p2pnode doctor", "wait: %d of %d peers in %s", last.Peers.Total(), peers, timeout)
	}
}

func (a *app) healthcheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "healthcheck",
		GroupID: groupOperation,
		Short:   "Exit 0 if the node can do its work, else 1",
		Long: `Exit 0 if the node can do its work, else 1: for containers and monitoring. It
doesn't ask for peers, as a node alone is a healthy one.`,
		Example: `  HEALTHCHECK CMD ["/p2pnode", "healthcheck"]`,
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), healthTimeout)
			defer cancel()
			r, err := ask(a, func(c *api.Client) (api.Readiness, error) { return c.Ready(ctx) })
			if err != nil {
				// Whatever it is, health checks know good and bad only.
				e := api.From(err)
				return &api.Error{Code: api.Failed, Message: e.Message, Next: e.Next}
			}
			if err := a.answer(r, func(w io.Writer) error {
				for _, p := range r.Parts {
					state := "ok"
					if !p.Ready {
						state = "fail"
					}
					fmt.Fprintf(w, "%-4s  %s  %s\n", state, p.Name, p.Message)
				}
				return nil
			}); err != nil {
				return err
			}
			if !r.Ready {
				return api.Errorf(api.Failed, "See: p2pnode doctor", "the node is not ready")
			}
			return nil
		},
	}
}

// healthTimeout is below that of a container's health check, so that the
// command, not the runtime, says what is wrong.
const healthTimeout = 4 * time.Second
