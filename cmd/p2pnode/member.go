package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/p2pnode/p2pnode/node/api"
)

func (a *app) inviteCommand() *cobra.Command {
	var r api.InviteRequest
	expires := 24 * time.Hour
	c := &cobra.Command{
		Use:     "invite --site SITE",
		GroupID: groupEnterprise,
		Short:   "Make a token that lets other machines join",
		Long: `Make a token that lets other machines join this enterprise, as members of SITE
and nothing more. It works on the node that issues credentials: the one that
started the enterprise. The token is a secret: whoever has it can join until it is
used up or runs out.`,
		Example: `  p2pnode invite --site berlin
  p2pnode invite --site berlin --uses 50 --expires 7d > token.txt
  p2pnode run --join-file token.txt                  there`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if r.Site == "" {
				return usageError{fmt.Errorf("invite: say for which site: --site SITE")}
			}
			if r.Uses < 1 {
				return usageError{fmt.Errorf("invite: --uses %d: want 1 or more", r.Uses)}
			}
			r.Expires = api.Seconds(expires)
			return a.invite(cmd.Context(), r)
		},
	}
	f := c.Flags()
	f.SortFlags = false
	f.StringVar(&r.Site, "site", "", "`SITE` that the token is for")
	f.StringVar(&r.Name, "name", "", "`NAME` of the one machine that it is for (default: a machine says its own)")
	f.IntVar(&r.Uses, "uses", 1, "`N` machines may join with it")
	f.Var(timeFlag{&expires}, "expires", "how long it can be used")
	return c
}

func (a *app) invite(ctx context.Context, r api.InviteRequest) error {
	i, err := ask(a, func(c *api.Client) (api.Invitation, error) { return c.Invite(ctx, r) })
	if err != nil {
		return err
	}
	return a.answer(i, func(w io.Writer) error {
		// The hint isn't the answer: `invite > file` holds the token alone.
		machines := "one machine"
		if i.Uses > 1 {
			machines = fmt.Sprintf("%d machines", i.Uses)
		}
		fmt.Fprintf(a.err, "For %s at site %q until %s. On that machine: p2pnode run --join TOKEN\n", machines, i.Site, day(i.Expires))
		_, err := fmt.Fprintln(w, i.Token)
		return err
	})
}

func (a *app) memberCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "member",
		GroupID: groupEnterprise,
		Short:   "See and revoke the members of the enterprise",
		Long:    "See and revoke the members of the enterprise, on the node that issues credentials.",
		Args:    unknownCommand,
		RunE:    help,
	}
	ls := &cobra.Command{
		Use:   "ls",
		Short: "List the members",
		Args:  args(),
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.members(cmd.Context()) },
	}
	var reason string
	var yes bool
	revoke := &cobra.Command{
		Use:   "revoke PEER|NAME",
		Short: "End a membership at once and for good",
		Long: `End a membership: the node's connections end wherever the word arrives, within
seconds for nodes that are connected, and it is not admitted again. What it has
got, it keeps.`,
		Example: `  p2pnode member revoke till-17 --reason stolen --yes`,
		Args:    args("a PEER or NAME"),
		RunE: func(cmd *cobra.Command, got []string) error {
			return a.revoke(cmd.Context(), got[0], reason, yes)
		},
	}
	revoke.Flags().StringVar(&reason, "reason", "", "`TEXT` to keep with it")
	revoke.Flags().BoolVarP(&yes, "yes", "y", false, "don't ask")
	c.AddCommand(ls, revoke)
	return c
}

func (a *app) members(ctx context.Context) error {
	list, err := ask(a, func(c *api.Client) ([]api.Member, error) { return c.Members(ctx) })
	if err != nil {
		return err
	}
	return a.answer(api.List[api.Member]{Items: list}, func(w io.Writer) error {
		return table(w, []string{"NAME", "SITE", "ROLES", "STATE", "CREDENTIAL UNTIL", "PEER"}, func(row func(...string)) {
			for _, m := range list {
				state := "away"
				switch {
				case m.Revoked != nil:
					state = "revoked " + day(*m.Revoked)
				case m.Connected:
					state = "connected"
				}
				row(m.Name, m.Site, strings.Join(m.Roles, ","), state, day(m.Expires), m.Peer)
			}
		})
	})
}

func (a *app) revoke(ctx context.Context, who, reason string, yes bool) error {
	if !yes {
		if err := a.confirm("Revoke " + who + " for good?"); err != nil {
			return err
		}
	}
	m, err := ask(a, func(c *api.Client) (api.Member, error) {
		return c.Revoke(ctx, who, api.RevokeRequest{Reason: reason})
	})
	if err != nil {
		return err
	}
	return a.answer(m, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "revoked %s %s at site %s\n", m.Name, m.Peer, m.Site)
		return err
	})
}
