package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/p2pnode/p2pnode/node/api"
)

func (a *app) exportCommand() *cobra.Command {
	var r api.ExportRequest
	c := &cobra.Command{
		Use:   "export ID|NAME[@VERSION] -o FILE.car",
		Short: "Write a content and its releases to one file",
		Long: `Write a content that is wholly here to one file, with the releases that
publishers signed: for a site without a network. There, p2pnode content import
takes it. The file is a CAR (version 1), which IPFS tools can read too.`,
		Example:           "  p2pnode content export pos-image@7.2 -o /media/usb/pos-image.car",
		Args:              args("an ID or NAME"),
		ValidArgsFunction: a.completeContents,
		RunE: func(cmd *cobra.Command, got []string) error {
			if r.Output == "" || r.Output == "-" {
				return usageError{errors.New("export: say where to: -o FILE.car (the node writes it, so - is not possible)")}
			}
			abs, err := filepath.Abs(r.Output)
			if err != nil {
				return fmt.Errorf("export: %w", err)
			}
			r.Output = abs
			return a.exportContent(cmd.Context(), got[0], r)
		},
	}
	f := c.Flags()
	f.SortFlags = false
	f.StringVarP(&r.Output, "output", "o", "", "`FILE` to write")
	f.BoolVar(&r.Overwrite, "overwrite", false, "replace it if it is there")
	return c
}

func (a *app) exportContent(ctx context.Context, ref string, r api.ExportRequest) error {
	res, err := long(a, false, func(c *api.Client, m *meter) (api.ExportResult, error) {
		return c.Export(ctx, ref, r, func(p api.Progress) { m.show(progressText(p), p) })
	})
	if err != nil {
		return err
	}
	return a.summary(res, func(w io.Writer) error {
		took := time.Duration(res.Elapsed)
		_, err := fmt.Fprintf(w, "%s%s, %s, %s%s\n%s\n", title(res.Name, res.Version, "  "), size(res.Written), count(res.Releases, "release"),
			span(took), at(api.MeanRate(res.Written, took), took), res.Output)
		return err
	})
}

func (a *app) importCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "import FILE.car",
		Short: "Take a content from a file that an export wrote",
		Long: `Take a content from a file that p2pnode content export wrote, on this node or
another one of the enterprise. Every byte is checked against its hash, and a
publisher of this enterprise must have signed it; else nothing stays (exit code 12
or 13). An import that was interrupted can be made again.`,
		Example: "  p2pnode content import /media/usb/pos-image.car",
		Args:    args("a FILE"),
		RunE: func(cmd *cobra.Command, got []string) error {
			if got[0] == "-" {
				return usageError{errors.New("import: the node reads the file, so - is not possible")}
			}
			abs, err := filepath.Abs(got[0])
			if err != nil {
				return fmt.Errorf("import: %w", err)
			}
			return a.importContent(cmd.Context(), api.ImportRequest{Path: abs})
		},
	}
}

func (a *app) importContent(ctx context.Context, r api.ImportRequest) error {
	res, err := long(a, false, func(c *api.Client, m *meter) (api.ImportResult, error) {
		return c.Import(ctx, r, func(p api.Progress) { m.show(progressText(p), p) })
	})
	if err != nil {
		return err
	}
	return a.summary(res, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s%s, %s, %s already here, signed by %s, %s\n%s\n", title(res.Name, res.Version, "  "), size(res.Size), count(res.Files, "file"),
			size(res.Here), orNone(res.Signer), span(time.Duration(res.Elapsed)), res.Content)
		return err
	})
}
