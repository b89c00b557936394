package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/p2pnode/p2pnode/node/api"
)

func (a *app) getCommand() *cobra.Command {
	var r api.GetRequest
	var seeds []string
	var timeout time.Duration
	c := &cobra.Command{
		Use:     "get ID|NAME[@VERSION] -o PATH",
		GroupID: groupContent,
		Short:   "Get content and write it to a path",
		Long: `Get content from whoever has it, and write it to PATH. Every byte is checked
against its hash before it counts. What is fetched stays in the node's store and
is given to others; a get that was interrupted goes on from there. What this disk
has already, in another content or in a --seed, isn't fetched.

Where the file system can (btrfs, XFS, APFS, ReFS) the copy shares its bytes with
the node's store, and takes no room. Elsewhere --link and --move do: with --link the
files are the store's own under a second name, so install from them but don't write
to them; with --move they are yours, and the node has the content no more, once others on
this node who have it open are done. What is pinned, as all that was added here is,
can't be moved.

If nobody who has the content is found in 30 s, or in --timeout, the answer is
what was tried, and exit code 11. Without room for it when it begins, nothing is
fetched: exit code 15. If the disk of the node's store becomes full or can't be
written to later, the get says so and waits; it goes on by itself once that is
mended, unless --timeout ends it.`,
		Example: `  p2pnode get pos-image -o ./pos-image.iso            the newest release
  p2pnode get pos-image@7.2 -o ./pos-image.iso
  p2pnode get pos-image@7.3 -o ./new.iso --seed ./pos-image.iso   only what changed
  p2pnode get bafyrei... -o /srv/menu --overwrite --timeout 10m`,
		Args:              args("an ID or NAME"),
		ValidArgsFunction: a.completeContents,
		RunE: func(cmd *cobra.Command, got []string) error {
			if r.Output == "" {
				return usageError{errors.New("get: say where to: -o PATH")}
			}
			abs, err := filepath.Abs(r.Output)
			if err != nil {
				return fmt.Errorf("get: %w", err)
			}
			r.Ref, r.Output, r.Timeout = got[0], abs, api.Seconds(timeout)
			if r.Move && r.Link {
				return usageError{errors.New("--move and --link: choose one")}
			}
			for _, s := range seeds {
				abs, err := filepath.Abs(s)
				if err == nil {
					_, err = os.Stat(abs)
				}
				if err != nil {
					return usageError{fmt.Errorf("--seed %s: %w", s, err)}
				}
				r.Seeds = append(r.Seeds, abs)
			}
			return a.get(cmd.Context(), r)
		},
	}
	f := c.Flags()
	f.SortFlags = false
	f.StringVarP(&r.Output, "output", "o", "", "`PATH` to write to: of the file, or of the folder for a tree")
	f.BoolVar(&r.Overwrite, "overwrite", false, "replace files that differ; what the content doesn't name stays")
	f.StringArrayVar(&seeds, "seed", nil, "`PATH` of a file or folder that may have some of it, may be repeated")
	f.BoolVar(&r.Link, "link", false, "write no copy: link the store's own files")
	f.BoolVar(&r.Move, "move", false, "write no copy: hand over the node's, which it then has no more")
	f.Var(timeFlag{&timeout}, "timeout", "give up after this time (default: 30 s without anybody who has it, else never)")
	return c
}

func (a *app) get(ctx context.Context, r api.GetRequest) error {
	res, err := long(a, false, func(c *api.Client, m *meter) (api.GetResult, error) {
		var waits diskNotice
		return c.Get(ctx, r, func(s api.FlowStatus) {
			if text := waits.news(a, s); text != "" {
				m.say(a.err, text)
			}
			m.show(flowText(r.Ref, s), s)
		})
	})
	if errors.Is(context.Cause(ctx), errSignal) && err != nil {
		return api.Errorf(api.Interrupted, "What is verified stays: the same command goes on from there", "get %s: interrupted", r.Ref)
	}
	if err != nil {
		return err
	}
	return a.summary(res, func(w io.Writer) error {
		fetched := res.From.Total()
		took := time.Duration(res.Elapsed)
		from := cmp.Or(sourcesText(portionsOf(res.From, res.Givers, res.Local, res.Here)), "nothing to fetch")
		if res.SeedsLeft > 0 {
			fmt.Fprintf(a.err, "%s of the seeds were not looked at: they are too many for one get. Name the files that matter: --seed PATH\n", size(res.SeedsLeft))
		}
		rate := ""
		if fetched >= res.Size/2 { // else it says nothing of the time that it took
			rate = at(api.MeanRate(fetched, took), took)
		}
		verified := "verified"
		if res.Moved {
			verified = "verified, moved (this node gives it to nobody any more)"
		}
		if !res.Verified {
			verified = "NOT VERIFIED"
		}
		_, err := fmt.Fprintf(w, "%s%s, %s, %s%s\nfrom  %s; wasted %s\n%s  %s\n",
			title(res.Name, res.Version, "  "), size(res.Size), count(res.Files, "file"), span(took), rate,
			from, size(res.Wasted.Total()), verified, res.Output)
		return err
	})
}

// A diskNotice tells once, whatever progress is shown, that a get waits for the disk.
type diskNotice struct{ next string }

// news returns what to say, if anything.
func (n *diskNotice) news(a *app, s api.FlowStatus) string {
	waits := s.Phase == api.Waiting && s.Reason == api.ForDisk
	switch {
	case waits && n.next != s.Next:
		n.next = s.Next
		return "p2pnode: waiting for disk: " + s.Detail + "\n" + a.next(s.Next)
	case !waits && n.next != "":
		n.next = ""
		return "p2pnode: the disk takes writes again"
	}
	return ""
}

// flowText is how a get stands, in a line. ref stands for the content until its
// name is known.
func flowText(ref string, s api.FlowStatus) string {
	name := title(s.Name, s.Version, "")
	if name == "" {
		name = ref
		if r := []rune(ref); len(r) > 20 {
			name = string(r[:9]) + "…" + string(r[len(r)-4:])
		}
	}
	elapsed := time.Duration(s.Elapsed)
	if (s.Phase == api.Finding || s.Total == 0) && s.Reason != api.ForDisk {
		return fmt.Sprintf("%s  looking for it  %s  lan %d wan %d", name, clock(elapsed), s.Sources.LAN, s.Sources.WAN)
	}
	line := fmt.Sprintf("%s  %s  %s", name, percent(s.Done, s.Total), share(s.Done, s.Total))
	switch s.Phase {
	case api.Copying:
		return line + "  copying what is on this disk"
	case api.Writing:
		return line + "  writing"
	case api.Waiting:
		if s.Reason == api.ForDisk {
			return line + "  waiting for disk: " + s.Detail
		}
		if s.Reason == api.ForOthers {
			return line + "  waiting: others on this node have it open"
		}
		return line + "  waiting: " + cmp.Or(s.Detail, s.Reason)
	}
	line += fmt.Sprintf("  %s  lan %d wan %d", speed(s.Rate), s.Sources.LAN, s.Sources.WAN)
	if s.Left > 0 {
		line += "  ETA " + clock(time.Duration(s.Left))
	}
	return line
}
