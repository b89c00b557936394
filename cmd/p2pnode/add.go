package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
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
		Use:     "add PATH... | URL",
		GroupID: groupContent,
		Short:   "Publish files or a folder",
		Long: `Publish files or a folder: cut, hash, store and sign them, and tell the
enterprise. One file is published as itself; a folder, or several paths, as a
tree. The last line is the content id, which others get it by; with a name they
can also say NAME or NAME@VERSION.

The next version of something moves as its difference, block by block. Packing
defeats that: in a tar.gz, zip or deb one changed byte changes all behind it. With
--unpack the files in the archive are published instead, and get writes them as a
folder. It pays where versions follow each other and whoever gets it wants the
files; not for what has to stay one file, such as a package that an installer
checks as a whole. Links, devices and pipes can't be published: a folder or an
archive that has some is refused, or published without them, with --skip-links.

With --reference the files are served from where they are, and the store keeps no
copy. They have to stay there as they are: what changes is noticed, and no longer
served, until it is added again.

An http or https address, of one file, is fetched and published, and the address
goes into the manifest: whoever gets it may take parts of it from that server. With
--remote no copy is kept here, only the list of blocks; the server has to give
parts (Range) and tell its versions apart (ETag or Last-Modified). The manifest goes
to every endpoint: the address can't have a password, and one with a secret in its
query is of no use once that ends.`,
		Example: `  p2pnode add ./pos-image.iso --name pos-image --version 7.2 --type os-image
  p2pnode add ./site-content --name menu --label region=north
  p2pnode add --unpack ./app-2.1.tar.gz --name app --version 2.1
  p2pnode add --reference /srv/images/pos.iso --name pos
  p2pnode add https://files.example.com/os.iso --remote --name os --version 12
  id=$(p2pnode add -q ./setup.exe)`,
		Args: args("a PATH..."),
		RunE: func(cmd *cobra.Command, paths []string) error {
			for _, p := range paths {
				if api.IsAddress(p) {
					r.Paths = append(r.Paths, p)
					continue
				}
				if _, err := os.Lstat(p); err != nil && strings.Contains(p, "://") {
					return usageError{fmt.Errorf("add %s: an address has to begin with http:// or https://", p)}
				}
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
	f.StringVar(&r.Type, "type", "", "content `TYPE` for operators: app, os-image, update, media, config, ... (default file, or folder)")
	f.StringArrayVar(&labels, "label", nil, "`KEY=VALUE` for operators, may be repeated")
	f.BoolVar(&r.Unpack, "unpack", false, "publish the files in an archive: tar, also .gz .zst .xz .bz2; zip; deb")
	f.BoolVar(&r.SkipLinks, "skip-links", false, "leave out links, devices and pipes of a folder or an archive, instead of refusing it")
	f.BoolVar(&r.Reference, "reference", false, "publish the files where they are, without copying them")
	f.BoolVar(&r.Remote, "remote", false, "leave what is at the URL there: keep its list of blocks and no copy")
	f.BoolVarP(&quiet, "quiet", "q", false, "write the content id and nothing else")
	return c
}

// checkURL checks what can't be said of an address, or only of one.
func checkURL(r api.AddRequest) error {
	urls := 0
	for _, p := range r.Paths {
		if api.IsAddress(p) {
			urls++
		}
	}
	switch {
	case urls > 0 && len(r.Paths) > 1:
		return usageError{errors.New("an address is a content of its own: add it alone")}
	case urls > 0 && (r.Unpack || r.Reference):
		return usageError{errors.New("--unpack and --reference are of files here: download it first")}
	case urls == 0 && r.Remote:
		return usageError{errors.New("--remote is of an address: p2pnode add URL --remote")}
	}
	return nil
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
	if r.Unpack && len(r.Paths) > 1 {
		return usageError{errors.New("--unpack takes one archive at a time")}
	}
	if r.Unpack && r.Reference {
		return usageError{errors.New("--unpack and --reference: choose one")}
	}
	if err := checkURL(r); err != nil {
		return err
	}
	res, err := long(a, quiet, func(c *api.Client, m *meter) (api.AddResult, error) {
		return c.Add(ctx, r, func(p api.Progress) { m.show(progressText(p), p) })
	})
	if err != nil {
		return err
	}
	if res.Skipped > 0 && !quiet && !a.json {
		a.tellSkipped(res)
	}
	if r.Reference && !res.InPlace && res.Size > 0 && !quiet && !a.json {
		fmt.Fprintln(a.err, "not in place: the store has a copy of it already; remove that first: p2pnode content rm "+res.Content)
	}
	if api.IsAddress(r.Paths[0]) && res.Origin == "" && !quiet && !a.json {
		fmt.Fprintln(a.err, "the address isn't in the manifest: its server gives no parts (Range)")
	}
	return a.summary(res, func(w io.Writer) error {
		if quiet {
			_, err := fmt.Fprintln(w, res.Content)
			return err
		}
		took, where := time.Duration(res.Elapsed), size(res.New)+" new"
		if res.Remote {
			where = "stays at " + res.Origin
		}
		_, err := fmt.Fprintf(w, "%s%s, %s, %s, %s, signed by %s, %s%s\n%s\n",
			title(res.Name, res.Version, "  "), size(res.Size), count(res.Files, "file"), count(res.Chunks, "chunk"), where,
			orNone(res.Signer), span(took), at(res.Rate, took), res.Content)
		return err
	})
}

// tellSkipped says what was left out of an archive or a folder.
func (a *app) tellSkipped(res api.AddResult) {
	const shown = 5
	fmt.Fprintf(a.err, "left out of the %s (links, devices, pipes): %d\n", cmp.Or(res.Unpacked, "folder"), res.Skipped)
	for _, s := range res.SkippedList[:min(len(res.SkippedList), shown)] {
		fmt.Fprintf(a.err, "  %s\n", s)
	}
	if more := res.Skipped - shown; more > 0 {
		fmt.Fprintf(a.err, "  and %d more\n", more)
	}
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
