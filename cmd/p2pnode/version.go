package main

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/p2pnode/p2pnode/node"
)

// A build says what this program is.
type build struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func version() build {
	return build{Version: node.Version(), Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		GroupID: groupOperation,
		Short:   "Say which version this is",
		Args:    args(),
		RunE: func(*cobra.Command, []string) error {
			v := version()
			return a.answer(v, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "p2pnode %s (%s/%s, %s)\n", v.Version, v.OS, v.Arch, v.Go)
				return err
			})
		},
	}
}
