package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/p2pnode/p2pnode/node/api"
)

func (a *app) siteCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "site",
		GroupID: groupEnterprise,
		Short:   "See this node's site, and the others that it knows",
		Args:    unknownCommand,
		RunE:    help,
	}
	ls := &cobra.Command{
		Use:   "ls",
		Short: "List the sites of the nodes that this one is connected to",
		Args:  args(),
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.sites(cmd.Context()) },
	}
	show := &cobra.Command{
		Use:   "show [SITE]",
		Short: "Show who is at a site, and what is on its way there",
		Long: `Show who is at a site: of this node's own, or without SITE, what each member says
of itself, which of them are its delegates, that speak for it to other sites, and
which contents are under way, with who carries them over the WAN. Of another site
only the nodes that this one is connected to are known.`,
		Example: "  p2pnode site show\n  p2pnode site show hq",
		Args: func(cmd *cobra.Command, got []string) error {
			if len(got) == 1 {
				return nil
			}
			return args()(cmd, got)
		},
		ValidArgsFunction: a.completeSites,
		RunE: func(cmd *cobra.Command, got []string) error {
			return a.showSite(cmd.Context(), strings.Join(got, ""))
		},
	}
	c.AddCommand(ls, show)
	return c
}

func (a *app) completeSites(cmd *cobra.Command, got []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(got) > 0 || a.settle(cmd) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
	defer cancel()
	list, err := ask(a, func(c *api.Client) ([]api.Site, error) { return c.Sites(ctx) })
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []cobra.Completion
	for _, s := range list {
		out = append(out, cobra.CompletionWithDesc(s.Site, count(s.Nodes, "node")))
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) sites(ctx context.Context) error {
	list, err := ask(a, func(c *api.Client) ([]api.Site, error) { return c.Sites(ctx) })
	if err != nil {
		return err
	}
	return a.answer(api.List[api.Site]{Items: list}, func(w io.Writer) error {
		return table(w, []string{"SITE", "LINK", "NODES", "NAMES"}, func(row func(...string)) {
			for _, s := range list {
				row(s.Site, s.Link, strconv.Itoa(s.Nodes), namesText(s))
			}
		})
	})
}

// shownNames is how many nodes of a site its line names.
const shownNames = 5

func namesText(s api.Site) string {
	var names []string
	for _, n := range s.Names[:min(len(s.Names), shownNames)] {
		names = append(names, shortPeer(n))
	}
	text := strings.Join(names, ", ")
	if more := s.Nodes - len(names); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func (a *app) showSite(ctx context.Context, id string) error {
	s, err := ask(a, func(c *api.Client) (api.SiteDetail, error) { return c.Site(ctx, id) })
	if err != nil {
		return err
	}
	return a.answer(s, func(w io.Writer) error {
		fmt.Fprintf(w, "site %s   %s\n", s.Site, siteText(s))
		called := make(map[string]string) // by peer id
		err := table(w, []string{"NAME", "ROLE", "POWER", "NETWORK", "FREE", "RTT", "SINCE", "PEER"}, func(row func(...string)) {
			for _, m := range s.Members {
				called[m.Peer] = cmp.Or(m.Name, shortPeer(m.Peer))
				power, network, free := "", "", ""
				if r := m.Report; r != nil {
					power, network, free = either(r.Mains, "mains", "battery"), either(r.Wired, "wired", "wireless"), size(r.Free)
				}
				row(m.Name, roleText(m), power, network, free, latency(time.Duration(m.RTT)), day(m.Since), m.Peer)
			}
		})
		for _, c := range s.Underway {
			fmt.Fprintf(w, "under way  %s\n", carryingText(c, called))
		}
		if s.Own && len(s.Members) == 1 {
			fmt.Fprintln(a.err, a.next("No other node of this site is connected. Find out why: p2pnode doctor"))
		}
		return err
	})
}

// siteText says how a site is known.
func siteText(s api.SiteDetail) string {
	if !s.Own {
		return fmt.Sprintf("another site: %s of it connected to this node", count(len(s.Members), "node"))
	}
	from := map[string]string{
		"config":     "this node's configuration says so",
		"map":        "the enterprise's map of networks says so",
		"credential": "this node's credential says so",
		"subnet":     "named after this node's subnet",
	}[s.From]
	return fmt.Sprintf("this node's (%s)   %s known, %s", cmp.Or(from, s.From), count(len(s.Members), "member"), count(len(s.Delegates), "delegate"))
}

func roleText(m api.SiteMember) string {
	var parts []string
	if m.Self {
		parts = append(parts, "this node")
	}
	if m.Delegate {
		parts = append(parts, "delegate")
	}
	if m.Silent {
		parts = append(parts, "silent")
	}
	return strings.Join(parts, ", ")
}

func either(is bool, yes, no string) string {
	if is {
		return yes
	}
	return no
}

// carryingText says how a content comes to a site; called has the names of members.
func carryingText(c api.Carrying, called map[string]string) string {
	name := cmp.Or(title(c.Name, c.Version, ""), c.Content)
	switch {
	case c.Planner == "":
		return name + "  no planner in reach: each member brings what it lacks itself"
	case !c.Planned:
		return name + "  planned by " + cmp.Or(called[c.Planner], shortPeer(c.Planner)) + ", which knows more: run p2pnode site show there"
	}
	far := "its manifest isn't here yet"
	if c.Chunks > 0 {
		far = fmt.Sprintf("%d of %s at the site", c.Here, count(c.Chunks, "chunk"))
	}
	text := fmt.Sprintf("%s  %s, %s it, planned by this node", name, far, fetchers(c.Members))
	var carriers []string
	for _, x := range c.Carriers {
		brings := "nothing now"
		if x.Chunks > 0 {
			brings = count(x.Chunks, "chunk")
		}
		carriers = append(carriers, fmt.Sprintf("%s (%s)", cmp.Or(x.Name, shortPeer(x.Peer)), brings))
	}
	if len(carriers) > 0 {
		text += "; carried by " + strings.Join(carriers, ", ")
	}
	return text
}

func fetchers(n int) string {
	if n == 1 {
		return "1 member fetches"
	}
	return count(n, "member") + " fetch"
}
