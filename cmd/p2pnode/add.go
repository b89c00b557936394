package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/node/api"
)

func (a *app) addCommand() *cobra.Command {
	var r api.AddRequest
	var labels []string
	var quiet bool
	c := &cobra.Command{
		Use:     "add PATH...",
		GroupID: groupContent,
		Short:   "Publish files or a folder",
		Long: `Publish files or a folder: cut, hash, store and sign them, and tell the
enterprise. One file is published as itself; a folder, or several paths, as a
tree. The last line is the content id, which others get it by; with a name they
can also say NAME or NAME@VERSION.`,
		Example: `  p2pnode add ./pos-image.iso --name pos-image --version 7.2 --type os-image
  p2pnode add ./site-content --name menu --label region=north
  id=$(p2pnode add -q ./setup.exe)`,
		Args: args("a PATH..."),
		RunE: func(cmd *cobra.Command, paths []string) error {
			for _, p := range paths {
				abs, err := filepath.Abs(p)
				if err != nil {
					return fmt.Errorf("add %s: %w", p, err)
				}
				r.Paths = append(r.Paths, abs)
			}
			var err error
			if r.Labels, err = parseLabels(labels); err != nil {
				return err
			}
			return a.add(cmd.Context(), r, quiet)
		},
	}
	f := c.Flags()
	f.SortFlags = false
	f.StringVar(&r.Name, "name", "", "`NAME` to publish under")
	f.StringVar(&r.Version, "version", "", "`VERSION` of that name")
	f.StringVar(&r.Type, "type", "", "content `TYPE` for operators: app, os-image, update, media, config, ...")
	f.StringArrayVar(&labels, "label", nil, "`KEY=VALUE` for operators, may be repeated")
	f.BoolVarP(&quiet, "quiet", "q", false, "write the content id and nothing else")
	return c
}

func parseLabels(texts []string) (map[string]string, error) {
	if len(texts) == 0 {
		return nil, nil
	}
	labels := make(map[string]string, len(texts))
	for _, t := range texts {
		k, v, ok := strings.Cut(t, "=")
		if !ok || k == "" {
			return nil, usageError{fmt.Errorf("--label %s: want KEY=VALUE", t)}
		}
		if _, twice := labels[k]; twice {
			return nil, usageError{fmt.Errorf("--label %s: given twice", k)}
		}
		labels[k] = v
	}
	return labels, nil
}

func (a *app) add(ctx context.Context, r api.AddRequest, quiet bool) error {
	if quiet && a.json {
		return usageError{errors.New("-q and --json: choose one")}
	}
	if r.Version != "" && r.Name == "" {
		return usageError{errors.New("--version is of a name: give --name too")}
	}
	res, err := long(a, quiet, func(c *api.Client, m *meter) (api.AddResult, error) {
		return c.Add(ctx, r, func(p api.Progress) { m.show(progressText(p), p) })
	})
	if err != nil {
		return err
	}
	return a.summary(res, func(w io.Writer) error {
		if quiet {
			_, err := fmt.Fprintln(w, res.Content)
			return err
		}
		already, took := res.Size-res.New, time.Duration(res.Elapsed)
		_, err := fmt.Fprintf(w, "%s%s, %s, %s, %s already here, signed by %s, %s%s\n%s\n",
			title(res.Name, res.Version, "  "), size(res.Size), count(res.Files, "file"), count(res.Chunks, "chunk"), size(already),
			orNone(res.Signer), span(took), at(res.Rate, took), res.Content)
		return err
	})
}

// long calls the node with a meter that is closed before anything else is
// written.
func long[R any](a *app, quiet bool, call func(*api.Client, *meter) (R, error)) (R, error) {
	var none R
	m, err := a.meter(quiet)
	if err != nil {
		return none, err
	}
	defer m.Close()
	return ask(a, func(c *api.Client) (R, error) { return call(c, m) })
}

// summary writes the answer of a long command: with --json the last of its
// lines.
func (a *app) summary(v any, text func(io.Writer) error) error {
	if !a.json {
		return text(a.out)
	}
	b, err := api.MarshalLine(api.SummaryLine, v)
	if err != nil {
		return err
	}
	_, err = a.out.Write(b)
	return err
}

func progressText(p api.Progress) string {
	return fmt.Sprintf("%-6s  %s  %s  %s", p.Phase, percent(p.Done, p.Total), share(p.Done, p.Total), speed(p.Rate))
}

// at writes how fast something went, unless it was over before that could be
// told.
func at(r bandwidth.Rate, took time.Duration) string {
	if r <= 0 || took < 100*time.Millisecond {
		return ""
	}
	return " at " + speed(r)
}

// title is a name and version with after behind it, or nothing.
func title(name, version, after string) string {
	switch {
	case name == "":
		return ""
	case version == "":
		return name + after
	}
	return name + " " + version + after
}

// count writes a number of things: 1 file, 2 files.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
