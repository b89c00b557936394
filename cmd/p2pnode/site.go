package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
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
	c.AddCommand(ls, show, a.siteMapCommand())
	return c
}

func (a *app) siteMapCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "map",
		Short: "Sign and check the enterprise's map of networks and sites",
		Long: `Sign and check the enterprise's map of networks and sites. A map is a text with a
line for each network, like "10.1.0.0/16 berlin"; the longest network that holds a
node's address says at which site it is. An operator signs it once, and all nodes are
given the same file with p2pnode run --sites FILE. A node for which its configuration
names a site is there, whatever the map says.`,
		Args: unknownCommand,
		RunE: help,
	}
	var out string
	sign := &cobra.Command{
		Use:     "sign FILE",
		Short:   "Sign a map, as an operator",
		Example: "  p2pnode site map sign sites.txt -o sites.signed",
		Args:    args("FILE"),
		RunE: func(cmd *cobra.Command, got []string) error {
			return a.signSites(cmd.Context(), got[0], cmp.Or(out, got[0]+".signed"))
		},
	}
	sign.Flags().StringVarP(&out, "output", "o", "", "write the signed map to this `FILE` (default: FILE with .signed behind it)")
	check := &cobra.Command{
		Use:   "check FILE",
		Short: "Tell what a signed map says, and whether nodes would use it",
		Args:  args("FILE"),
		RunE:  func(cmd *cobra.Command, got []string) error { return a.checkSites(cmd.Context(), got[0]) },
	}
	c.AddCommand(sign, check)
	return c
}

func (a *app) signSites(ctx context.Context, from, to string) error {
	text, err := readMap(from)
	if err != nil {
		return err
	}
	m, err := ask(a, func(c *api.Client) (api.SiteMap, error) {
		return c.SignSites(ctx, api.SignSitesRequest{Text: string(text)})
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(to, m.Envelope, 0o644); err != nil {
		return err
	}
	return a.answer(m, func(w io.Writer) error {
		fmt.Fprintln(w, mapText(m))
		fmt.Fprintln(a.err, a.next("Give it to every node: p2pnode run --sites "+to))
		return nil
	})
}

func (a *app) checkSites(ctx context.Context, path string) error {
	envelope, err := readMap(path)
	if err != nil {
		return err
	}
	m, err := ask(a, func(c *api.Client) (api.SiteMap, error) {
		return c.CheckSites(ctx, api.CheckSitesRequest{Envelope: envelope})
	})
	if err != nil {
		return err
	}
	return a.answer(m, func(w io.Writer) error {
		fmt.Fprintln(w, mapText(m))
		return nil
	})
}

// maxMapFile is more than any map of sites has.
const maxMapFile = 64 << 10

func readMap(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, api.Errorf(api.NotFound, "", "%w", err)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxMapFile+1))
	if err == nil && len(b) > maxMapFile {
		err = api.Errorf(api.Usage, "Put networks together, as 10.0.0.0/8 for all that begin with 10", "%s has more than %s, no map of sites does", path, size(maxMapFile))
	}
	return b, err
}

func mapText(m api.SiteMap) string {
	sites := strings.Join(m.Sites[:min(len(m.Sites), shownNames)], ", ")
	if more := len(m.Sites) - shownNames; more > 0 {
		sites += fmt.Sprintf(" and %d more", more)
	}
	here := "this node's networks are not in it"
	if m.Here != "" {
		here = "this node's network is at " + m.Here
	}
	return fmt.Sprintf("%s at %s: %s; signed by %s on %s; %s",
		count(m.Networks, "network"), count(len(m.Sites), "site"), sites, strings.Join(m.Signers, ", "), m.Signed.Format(time.DateTime), here)
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
