package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/p2pnode/p2pnode/node/api"
)

func (a *app) contentCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "content",
		GroupID: groupContent,
		Short:   "See, check and remove what this node holds",
		Args:    unknownCommand,
		RunE:    help,
	}
	by := "name"
	ls := &cobra.Command{
		Use:     "ls",
		Short:   "List what this node holds, wholly or in part",
		Example: "  p2pnode content ls\n  p2pnode content ls --sort size\n  p2pnode content ls --json | jq -r '.items[].content'",
		Args:    args(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.contents(cmd.Context(), by) },
	}
	ls.Flags().StringVar(&by, "sort", by, "`KEY`: name, size (largest first), added, used (latest first) or type")
	pin := &cobra.Command{
		Use:   "pin ID|NAME[@VERSION]",
		Short: "Keep a content, whatever else needs room",
		Long: `Keep a content in this node's store, whatever else needs room. What this node
published is pinned from the start.`,
		Args:              args("an ID or NAME"),
		ValidArgsFunction: a.completeContents,
		RunE:              func(cmd *cobra.Command, got []string) error { return a.pinContent(cmd.Context(), got[0], true) },
	}
	unpin := &cobra.Command{
		Use:               "unpin ID|NAME[@VERSION]",
		Short:             "Let a content go when room is needed",
		Args:              args("an ID or NAME"),
		ValidArgsFunction: a.completeContents,
		RunE:              func(cmd *cobra.Command, got []string) error { return a.pinContent(cmd.Context(), got[0], false) },
	}
	show := &cobra.Command{
		Use:               "show ID|NAME[@VERSION]",
		Short:             "Show a content: its releases, labels and files",
		Args:              args("an ID or NAME"),
		ValidArgsFunction: a.completeContents,
		RunE:              func(cmd *cobra.Command, got []string) error { return a.showContent(cmd.Context(), got[0]) },
	}
	var yes bool
	rm := &cobra.Command{
		Use:   "rm ID|NAME[@VERSION]",
		Short: "Remove a content from this node",
		Long: `Remove a content from this node's store: it serves it no more. Copies that were
written with get, and other nodes, keep theirs.`,
		Args:              args("an ID or NAME"),
		ValidArgsFunction: a.completeContents,
		RunE:              func(cmd *cobra.Command, got []string) error { return a.removeContent(cmd.Context(), got[0], yes) },
	}
	rm.Flags().BoolVarP(&yes, "yes", "y", false, "don't ask")
	verify := &cobra.Command{
		Use:   "verify ID|NAME[@VERSION]",
		Short: "Read and hash all that this node holds of a content",
		Long: `Read and hash all that this node holds of a content. Blocks that went bad on
disk are no longer served, and fetched anew by the next get. Exit code 12 if there
were any.`,
		Args:              args("an ID or NAME"),
		ValidArgsFunction: a.completeContents,
		RunE:              func(cmd *cobra.Command, got []string) error { return a.verifyContent(cmd.Context(), got[0]) },
	}
	c.AddCommand(ls, show, pin, unpin, rm, verify, a.exportCommand(), a.importCommand())
	return c
}

// orders are the keys that contents can be sorted by. Where several are equal,
// their names, ages and ids decide.
var orders = map[string]func(x, y api.Content) int{
	"name":  func(x, y api.Content) int { return 0 },
	"size":  func(x, y api.Content) int { return cmp.Compare(y.Size, x.Size) },
	"added": func(x, y api.Content) int { return y.Added.Compare(x.Added) },
	"used":  func(x, y api.Content) int { return y.Used.Compare(x.Used) },
	"type":  func(x, y api.Content) int { return cmp.Compare(x.Type, y.Type) },
}

func (a *app) contents(ctx context.Context, by string) error {
	order, ok := orders[by]
	if !ok {
		return usageError{fmt.Errorf("--sort %s: want name, size, added, used or type", by)}
	}
	list, err := ask(a, func(c *api.Client) ([]api.Content, error) { return c.Contents(ctx) })
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(x, y api.Content) int {
		return cmp.Or(order(x, y), cmp.Compare(x.Name, y.Name), x.Added.Compare(y.Added), cmp.Compare(x.ID, y.ID))
	})
	return a.answer(api.List[api.Content]{Items: list}, func(w io.Writer) error {
		if len(list) == 0 {
			fmt.Fprintln(a.err, a.next("Nothing yet. Publish something: p2pnode add PATH"))
			return nil
		}
		head, when := "ADDED", func(x api.Content) time.Time { return x.Added }
		if by == "used" {
			head, when = "USED", func(x api.Content) time.Time { return x.Used }
		}
		return table(w, []string{"NAME", "VERSION", "TYPE", "SIZE", "HERE", "PIN", head, "CONTENT"}, func(row func(...string)) {
			for _, x := range list {
				row(x.Name, x.Version, x.Type, size(x.Size), here(x), pinned(x), day(when(x)), x.ID)
			}
		})
	})
}

// here says how much of a content is, and if some of it went bad.
func here(x api.Content) string {
	s := percent(x.Here, x.Size)
	if x.Damaged {
		s += " damaged"
	}
	return s
}

func pinned(x api.Content) string {
	if x.Pinned {
		return "pinned"
	}
	return ""
}

func (a *app) pinContent(ctx context.Context, ref string, on bool) error {
	c, err := ask(a, func(c *api.Client) (api.Content, error) { return c.Pin(ctx, ref, on) })
	if err != nil {
		return err
	}
	return a.answer(c, func(w io.Writer) error {
		state := "pinned"
		if !c.Pinned {
			state = "not pinned"
		}
		_, err := fmt.Fprintf(w, "%s  %s%s\n", state, title(c.Name, c.Version, "  "), c.ID)
		return err
	})
}

func (a *app) showContent(ctx context.Context, ref string) error {
	d, err := ask(a, func(c *api.Client) (api.ContentDetail, error) { return c.Content(ctx, ref) })
	if err != nil {
		return err
	}
	return a.answer(d, func(w io.Writer) error {
		fmt.Fprintf(w, "%s\n%s%s, %s, %s, here %s\n", d.ID, title(d.Name, d.Version, "  "), size(d.Size), count(d.Files, "file"), count(d.Chunks, "chunk"), here(d.Content))
		if d.Pinned {
			fmt.Fprintln(w, "pinned")
		}
		if d.InPlace {
			fmt.Fprintln(w, "in place: served from files that are not the store's")
		}
		for _, c := range d.Changed {
			fmt.Fprintf(w, "changed in place: %s\n", c)
		}
		for _, o := range d.Origins {
			fmt.Fprintf(w, "origin %s\n", o)
		}
		if len(d.Origins) > 0 && d.Here == 0 && d.Size > 0 {
			fmt.Fprintln(w, "no copy is here: whoever gets it takes it from there, or from who did")
		}
		fmt.Fprintf(w, "added %s, last used %s\n", orNone(day(d.Added)), orNone(day(d.Used)))
		if d.Type != "" {
			fmt.Fprintf(w, "type  %s\n", d.Type)
		}
		for _, k := range slices.Sorted(maps.Keys(d.Labels)) {
			fmt.Fprintf(w, "label %s=%s\n", k, d.Labels[k])
		}
		for _, r := range d.Releases {
			fmt.Fprintf(w, "release %s %s  number %d, published %s, signed by %s\n", r.Name, r.Version, r.Sequence, day(r.Published), r.Signer)
		}
		fmt.Fprintln(w)
		if err := table(w, []string{"MODE", "SIZE", "MODIFIED", "PATH"}, func(row func(...string)) {
			for _, f := range d.List {
				row(f.Mode, size(f.Size), day(f.ModTime), f.Path)
			}
		}); err != nil {
			return err
		}
		if more := d.Files - len(d.List); more > 0 {
			fmt.Fprintf(w, "and %d more\n", more)
		}
		return nil
	})
}

func (a *app) removeContent(ctx context.Context, ref string, yes bool) error {
	if !yes {
		if err := a.confirm("Remove " + ref + " from this node?"); err != nil {
			return err
		}
	}
	r, err := ask(a, func(c *api.Client) (api.Removed, error) { return c.Remove(ctx, ref) })
	if err != nil {
		return err
	}
	return a.answer(r, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "removed %s%s, %s freed\n", title(r.Name, r.Version, "  "), r.Content, size(r.Freed))
		return err
	})
}

// confirm asks a person. Where there is none it refuses: a script says --yes.
func (a *app) confirm(question string) error {
	_, in := terminal(a.in)
	_, out := terminal(a.err)
	if !in || !out {
		return usageError{errors.New("there is no terminal to ask on: say --yes")}
	}
	fmt.Fprintf(a.err, "%s [y/N] ", question)
	line, err := bufio.NewReader(a.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	if s := strings.ToLower(strings.TrimSpace(line)); s != "y" && s != "yes" {
		return api.Errorf(api.Failed, "", "not done")
	}
	return nil
}

func (a *app) verifyContent(ctx context.Context, ref string) error {
	r, err := long(a, false, func(c *api.Client, m *meter) (api.VerifyResult, error) {
		return c.Verify(ctx, ref, func(p api.Progress) { m.show(progressText(p), p) })
	})
	if err != nil {
		return err
	}
	if err := a.summary(r, func(w io.Writer) error {
		state := "all good"
		switch {
		case r.BadCount > 0:
			state = fmt.Sprintf("%s bad (%s)", count(r.BadCount, "block"), size(r.Bad))
		case r.Changed > 0:
			state = "changed in place"
		case !r.Complete && r.Checked == 0:
			state = "no copy of it is here"
		case !r.Complete:
			state += ", but not all of it is here"
		}
		_, err := fmt.Fprintf(w, "%s%s  %s read in %s: %s\n", title(r.Name, r.Version, "  "), r.Content, size(r.Checked), span(time.Duration(r.Elapsed)), state)
		return err
	}); err != nil {
		return err
	}
	if r.Changed > 0 {
		return api.Errorf(api.Corrupt, "See which: p2pnode content show "+r.Content+". Publish what is there now: p2pnode add --reference PATH. Or have this fetched: p2pnode get "+ref+" -o PATH",
			"%s added in place changed, and can't be served", count(r.Changed, "file"))
	}
	if r.BadCount > 0 {
		return api.Errorf(api.Corrupt, fetchedAgain, "%s went bad on disk", count(r.BadCount, "block"))
	}
	return nil
}

// completeContents completes the name of a content that the node holds.
func (a *app) completeContents(cmd *cobra.Command, got []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(got) > 0 || a.settle(cmd) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
	defer cancel()
	list, err := ask(a, func(c *api.Client) ([]api.Content, error) { return c.Contents(ctx) })
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []cobra.Completion
	for _, x := range list {
		ref := x.ID
		if x.Name != "" {
			ref = x.Name + "@" + x.Version
		}
		out = append(out, cobra.CompletionWithDesc(ref, size(x.Size)))
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// completeTimeout is how long a shell waits for names.
const completeTimeout = 500 * time.Millisecond

// table writes rows in columns; what is empty shows as a dash.
func table(w io.Writer, head []string, fill func(row func(...string))) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(cells ...string) {
		for i, c := range cells {
			if c == "" {
				cells[i] = "-"
			}
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	row(head...)
	fill(row)
	return t.Flush()
}

// day writes a time in this machine's zone, to the minute.
func day(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04")
}
