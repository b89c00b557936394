package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/node"
	"github.com/p2pnode/p2pnode/node/api"
)

func (a *app) cacheCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "cache",
		GroupID: groupContent,
		Short:   "See, check and make room on the disk that content takes",
		Args:    unknownCommand,
		RunE:    help,
	}
	stat := &cobra.Command{
		Use:   "stat",
		Short: "Say what content takes of the disk, and what may go",
		Args:  args(),
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.cacheStat(cmd.Context()) },
	}
	var r api.CleanRequest
	var yes bool
	gc := &cobra.Command{
		Use:   "gc [--dry-run] [--to SIZE | --all]",
		Short: "Make room: let go what is worth least",
		Long: `Let go the contents that are worth least, until the rest is within the quota and
the disk has its free space, or within --to SIZE, or with --all everything that may
go. What is pinned, on its way here, being read, or needed by others stays. The node
does this by itself when it needs room.`,
		Example: "  p2pnode cache gc --to 20GiB --dry-run\n  p2pnode cache gc --all --yes",
		Args:    args(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.cacheClean(cmd.Context(), r, yes) },
	}
	gc.Flags().SortFlags = false
	gc.Flags().BoolVar(&r.DryRun, "dry-run", false, "only say what would go")
	gc.Flags().Var(sizeFlag{&r.To}, "to", "until no more than this is taken")
	gc.Flags().BoolVar(&r.All, "all", false, "everything that may go")
	gc.Flags().BoolVarP(&yes, "yes", "y", false, "don't ask")
	verify := &cobra.Command{
		Use:   "verify",
		Short: "Read and hash everything that this node holds",
		Long: `Read and hash everything that this node holds. Blocks that went bad on disk are
no longer served, and fetched anew. Exit code 12 if there were any. The node does
this by itself too, slowly, once in 30 days.`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.cacheVerify(cmd.Context()) },
	}
	move := &cobra.Command{
		Use:   "move DIR",
		Short: "Move what this node holds to another folder or disk",
		Long: `Move what this node holds to another folder, which must be new or empty. The node
must not run. On the same disk it is renamed; to another it is copied, read back and
compared before the original goes, so whatever happens meanwhile one of the two is
whole and in use: run the same command again, and it goes on.`,
		Example: "  p2pnode cache move /mnt/large/p2pnode-cache",
		Args:    args("a DIR"),
		RunE:    func(cmd *cobra.Command, got []string) error { return a.cacheMove(cmd.Context(), got[0]) },
	}
	c.AddCommand(stat, gc, verify, move)
	return c
}

func (a *app) cacheStat(ctx context.Context) error {
	c, err := ask(a, func(c *api.Client) (api.Cache, error) { return c.Cache(ctx) })
	if err != nil {
		return err
	}
	return a.answer(c, func(w io.Writer) error {
		fmt.Fprintf(w, "cache   %s\n", c.Dir)
		fmt.Fprintf(w, "used    %s of %s (%s) by %s; %s may go, %s pinned, %s in use, %s partial, %s reserved\n",
			size(c.Used), size(c.Quota), percent(c.Used, c.Quota), count(c.Contents, "content"), size(c.Reclaimable), size(c.Pinned),
			size(max(0, c.Used-c.Reclaimable-c.Pinned)), size(c.Partial), size(c.Reserved))
		fmt.Fprintf(w, "disk    %s free of %s, %s kept free\n", size(c.Free), size(c.Total), size(c.Floor))
		if c.Evicted.Contents > 0 {
			fmt.Fprintf(w, "evicted %s, %s since the start\n", count(int(c.Evicted.Contents), "content"), size(c.Evicted.Bytes))
		}
		since := "nothing to read yet"
		if !c.Scrub.Since.IsZero() {
			since = "everything was read since " + day(c.Scrub.Since)
		}
		fmt.Fprintf(w, "scrub   %s; once in %s\n", since, span(time.Duration(c.Scrub.Period)))
		if c.Damaged > 0 || c.Scrub.Damaged > 0 {
			fmt.Fprintf(w, "damage  %s bad now; %s found since the start, %d of them fetched again\n",
				count(c.Damaged, "content"), count(int(c.Scrub.Damaged), "block"), c.Scrub.Healed)
		}
		if len(c.Types) == 0 {
			return nil
		}
		fmt.Fprintln(w)
		return table(w, []string{"TYPE", "CONTENTS", "USED"}, func(row func(...string)) {
			for _, t := range c.Types {
				row(t.Type, fmt.Sprint(t.Contents), size(t.Used))
			}
		})
	})
}

func (a *app) cacheClean(ctx context.Context, r api.CleanRequest, yes bool) error {
	if r.All && r.To > 0 {
		return usageError{errors.New("--all and --to: choose one")}
	}
	if r.All && !r.DryRun && !yes {
		if err := a.confirm("Let go everything that is not pinned?"); err != nil {
			return err
		}
	}
	res, err := ask(a, func(c *api.Client) (api.CleanResult, error) { return c.Clean(ctx, r) })
	if err != nil {
		return err
	}
	if err := a.answer(res, func(w io.Writer) error {
		verb := "removed"
		if res.DryRun {
			verb = "would remove"
		}
		for _, x := range res.Contents {
			fmt.Fprintf(w, "%s %s%s, %s\n", verb, title(x.Name, x.Version, "  "), x.Content, size(x.Freed))
		}
		freed := "freed"
		if res.DryRun {
			freed = "would be freed"
		}
		_, err := fmt.Fprintf(w, "%s %s\n", size(res.Freed), freed)
		return err
	}); err != nil {
		return err
	}
	if res.Short > 0 {
		return api.Errorf(api.PartlyDone, "See what is pinned: p2pnode content ls --sort size. Let it go: p2pnode content unpin ID", "%s more may not go: %s", size(res.Short), res.Why)
	}
	return nil
}

// A cacheMoved tells where the cache was and is.
type cacheMoved struct {
	From    string      `json:"from"`
	To      string      `json:"to"`
	Elapsed api.Seconds `json:"seconds"`
}

func (a *app) cacheMove(ctx context.Context, dir string) error {
	to, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if c, err := a.client(); err == nil {
		running := c.Live(ctx) == nil
		c.Close()
		if running {
			return api.Errorf(api.Failed, "Stop the node first, and start it again afterwards", "the cache can't be moved while the node runs")
		}
	}
	m, err := a.meter(false)
	if err != nil {
		return err
	}
	start := time.Now()
	from, err := node.MoveStore(ctx, a.data, to, func(done, total int64) {
		p := api.Progress{Phase: "copy", Done: done, Total: total, Elapsed: api.Seconds(time.Since(start)), Rate: api.MeanRate(done, time.Since(start))}
		m.show(progressText(p), p)
	})
	m.Close()
	switch {
	case errors.Is(err, fs.ErrExist):
		return api.Errorf(api.Usage, "Give a new or empty folder", "%w", err)
	case errors.Is(err, content.ErrPath):
		return api.Errorf(api.Usage, "Give a folder elsewhere", "%w", err)
	case errors.Is(err, content.ErrNoSpace):
		return api.Errorf(api.NoSpace, "Make room there, and run the same command again: it goes on", "%w", err)
	case err != nil:
		return err
	}
	return a.summary(cacheMoved{from, to, api.Seconds(time.Since(start))}, func(w io.Writer) error {
		if from == to {
			_, err := fmt.Fprintf(w, "it is at %s already\n", to)
			return err
		}
		_, err := fmt.Fprintf(w, "moved from %s\n        to %s in %s\n", from, to, span(time.Since(start)))
		return err
	})
}

// fetchedAgain is what to do about blocks that went bad.
const fetchedAgain = "The node fetches them again as soon as somebody has them; see: p2pnode content ls. If this comes back, replace the disk"

func (a *app) cacheVerify(ctx context.Context) error {
	r, err := long(a, false, func(c *api.Client, m *meter) (api.VerifyAllResult, error) {
		return c.VerifyAll(ctx, func(p api.Progress) { m.show(progressText(p), p) })
	})
	if err != nil {
		return err
	}
	if err := a.summary(r, func(w io.Writer) error {
		for _, x := range r.Damaged {
			fmt.Fprintf(w, "bad  %s%s  %s (%s)\n", title(x.Name, x.Version, "  "), x.Content, count(x.BadCount, "block"), size(x.Bad))
		}
		state := "all good"
		if r.BadCount > 0 {
			state = fmt.Sprintf("%s bad (%s)", count(r.BadCount, "block"), size(r.Bad))
		}
		_, err := fmt.Fprintf(w, "%s, %s read in %s: %s\n", count(r.Contents, "content"), size(r.Checked), span(time.Duration(r.Elapsed)), state)
		return err
	}); err != nil {
		return err
	}
	if r.BadCount > 0 {
		return api.Errorf(api.Corrupt, fetchedAgain, "%s went bad on disk", count(r.BadCount, "block"))
	}
	return nil
}
