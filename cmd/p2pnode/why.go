package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/p2pnode/p2pnode/node/api"
)

func (a *app) whyCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "why ID|NAME[@VERSION] [CHUNK]",
		GroupID: groupContent,
		Short:   "Explain where a content came from, or what it waits for",
		Long: `Explain the last choices about a content that is here or on its way: who gave
how many of its chunks, over the LAN of the site, over the WAN or by HTTP; what it
waits for; who gave bad bytes; and what was decided, in sentences.

With CHUNK, a number from 0, explain that one chunk. Where each chunk came from is
remembered for as long as the node runs, unless a million others have come since;
what led to it for the last few thousand choices.`,
		Example: `  p2pnode why pos-image
  p2pnode why pos-image@7.2 12
  p2pnode why pos-image --json | jq '.came[] | select(.link=="wan")'`,
		Args: func(cmd *cobra.Command, got []string) error {
			if len(got) == 2 {
				return nil
			}
			return args("an ID or NAME")(cmd, got)
		},
		ValidArgsFunction: a.completeContents,
		RunE: func(cmd *cobra.Command, got []string) error {
			chunk := api.AllChunks
			if len(got) == 2 {
				n, err := strconv.Atoi(got[1])
				if err != nil || n < 0 {
					return usageError{fmt.Errorf("why: chunk %q: want its number, from 0", got[1])}
				}
				chunk = n
			}
			return a.why(cmd.Context(), got[0], chunk)
		},
	}
}

func (a *app) why(ctx context.Context, ref string, chunk int) error {
	x, err := ask(a, func(c *api.Client) (api.Why, error) { return c.Why(ctx, ref, chunk) })
	if err != nil {
		return err
	}
	return a.answer(x, func(w io.Writer) error {
		if x.Chunk != nil {
			return a.chunkStory(w, x)
		}
		return a.whyAll(w, ref, x)
	})
}

// whyAll tells about a content as a whole: where it came from, how it stands, and what
// was decided.
func (a *app) whyAll(w io.Writer, ref string, x api.Why) error {
	if x.Content == "" && x.Flow != nil {
		fmt.Fprintln(w, flowText(ref, *x.Flow))
		return nil
	}
	fmt.Fprintf(w, "%s%s\n", title(x.Name, x.Version, "  "), x.Content)
	if x.Chunks > 0 {
		fmt.Fprintf(w, "%d of %s here\n", x.Here, count(x.Chunks, "chunk"))
	}
	came := 0
	for _, c := range x.Came {
		came += c.Chunks
	}
	var err error
	if came > 0 {
		fmt.Fprintln(w)
		err = table(w, []string{"FROM", "LINK", "CHUNKS", "FIRST", "LAST"}, func(row func(...string)) {
			for _, c := range x.Came {
				row(cmp.Or(c.Name, shortPeer(c.Peer)), c.Link, strconv.Itoa(c.Chunks), moment(c.First), moment(c.Last))
			}
		})
	}
	if own := x.Here - came; own > 0 && x.Chunks > 0 {
		fmt.Fprintf(w, "%s fetched since the node started: here before, added, imported or copied from this disk\n", notFetched(own))
	}
	if x.Flow != nil {
		fmt.Fprintf(w, "\nflow  %s\n", flowText(ref, *x.Flow))
	}
	for _, s := range x.Shunned {
		fmt.Fprintf(w, "banned until %s: %s, for bytes that don't match their hash\n", moment(s.Until), cmp.Or(s.Name, shortPeer(s.Peer)))
	}
	if len(x.Said) > 0 {
		fmt.Fprintln(w)
	}
	return errors.Join(err, a.said(w, x))
}

// notFetched says of how many chunks that is so.
func notFetched(n int) string {
	if n == 1 {
		return "1 chunk was not"
	}
	return count(n, "chunk") + " were not"
}

func (a *app) chunkStory(w io.Writer, x api.Why) error {
	s := x.Chunk
	when := ""
	if s.Time != nil {
		when = moment(*s.Time) + "  "
	}
	fmt.Fprintf(w, "%s%s\n%s%s\n", title(x.Name, x.Version, "  "), x.Content, when, s.Text)
	if len(x.Said) > 0 {
		fmt.Fprintln(w)
	}
	return a.said(w, x)
}

// said tells the choices, each in a line.
func (a *app) said(w io.Writer, x api.Why) error {
	for _, s := range x.Said {
		more := ""
		if s.More > 0 {
			more = fmt.Sprintf(" (and %d more like it right before)", s.More)
		}
		if _, err := fmt.Fprintf(w, "%s  %s%s\n", moment(s.Time), s.Text, more); err != nil {
			return err
		}
	}
	if x.Forgotten {
		fmt.Fprintln(a.err, "Older choices are forgotten; where chunks came from is not.")
	}
	return nil
}

// moment writes a time in this machine's zone to the second; without its day if that
// is near.
func moment(t time.Time) string {
	if d := time.Since(t); d > -12*time.Hour && d < 12*time.Hour {
		return t.Local().Format(time.TimeOnly)
	}
	return t.Local().Format(time.DateTime)
}
