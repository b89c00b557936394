package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/p2pnode/p2pnode/node/api"
)

func (a *app) peerCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "peer",
		GroupID: groupEnterprise,
		Short:   "See the nodes that this one is connected to",
		Args:    unknownCommand,
		RunE:    help,
	}
	var refused bool
	ls := &cobra.Command{
		Use:   "ls",
		Short: "List connected nodes, or connections that were refused",
		Example: `  p2pnode peer ls
  p2pnode peer ls --refused    who was not admitted, and why`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if refused {
				return a.refusals(cmd.Context())
			}
			return a.peers(cmd.Context())
		},
	}
	ls.Flags().BoolVar(&refused, "refused", false, "the last connections that were not admitted")
	c.AddCommand(ls)
	return c
}

func (a *app) peers(ctx context.Context) error {
	list, err := ask(a, func(c *api.Client) ([]api.Peer, error) { return c.Peers(ctx) })
	if err != nil {
		return err
	}
	return a.answer(api.List[api.Peer]{Items: list}, func(w io.Writer) error {
		if len(list) == 0 {
			fmt.Fprintln(a.err, a.next("No other node is connected. Find out why: p2pnode doctor"))
			return nil
		}
		return table(w, []string{"NAME", "SITE", "LINK", "OVER", "RTT", "RECEIVED", "SENT", "SINCE", "PEER"}, func(row func(...string)) {
			for _, p := range list {
				row(p.Name, p.Site, p.Link, p.Transport, latency(time.Duration(p.RTT)), size(p.Received), size(p.Sent), day(p.Since), p.Peer)
			}
		})
	})
}

func (a *app) refusals(ctx context.Context) error {
	list, err := ask(a, func(c *api.Client) ([]api.Refusal, error) { return c.Refusals(ctx) })
	if err != nil {
		return err
	}
	return a.answer(api.List[api.Refusal]{Items: list}, func(w io.Writer) error {
		if len(list) == 0 {
			fmt.Fprintln(a.err, "Nobody was refused since the node started.")
			return nil
		}
		return table(w, []string{"TIME", "DIRECTION", "ADDRESS", "PEER", "REASON"}, func(row func(...string)) {
			for _, r := range list {
				direction := "out"
				if r.Inbound {
					direction = "in"
				}
				row(r.Time.Local().Format(time.DateTime), direction, r.Address, shortPeer(r.Peer), r.Reason)
			}
		})
	})
}

func (a *app) pingCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "ping PEER|NAME",
		GroupID: groupEnterprise,
		Short:   "Reach a node, and say over what and how fast",
		Example: "  p2pnode ping hq",
		Args:    args("a PEER or NAME"),
		ValidArgsFunction: func(cmd *cobra.Command, got []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(got) > 0 || a.settle(cmd) != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
			defer cancel()
			list, err := ask(a, func(c *api.Client) ([]api.Peer, error) { return c.Peers(ctx) })
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var out []cobra.Completion
			for _, p := range list {
				who := p.Name
				if who == "" {
					who = p.Peer
				}
				out = append(out, cobra.CompletionWithDesc(who, p.Site))
			}
			return out, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, got []string) error {
			p, err := ask(a, func(c *api.Client) (api.Pong, error) { return c.Ping(cmd.Context(), got[0]) })
			if err != nil {
				return err
			}
			return a.answer(p, func(w io.Writer) error {
				way := "direct"
				if !p.Direct {
					way = "relayed"
				}
				name := p.Name
				if name != "" {
					name += " "
				}
				_, err := fmt.Fprintf(w, "%s%s  site %s  %s %s %s  %s\n", name, shortPeer(p.Peer), p.Site, p.Link, way, p.Transport, latency(time.Duration(p.RTT)))
				return err
			})
		},
	}
}
