package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/p2pnode/p2pnode/node/api"
)

// An app is one call of the command line.
type app struct {
	in  io.Reader
	out io.Writer // the answer, nothing else
	err io.Writer // progress, hints, warnings, errors
	env func(string) (string, bool)

	// Global flags.
	data     string
	json     bool
	progress string

	chosen string // --data as it was given, "" if it wasn't
	begun  bool   // flags and arguments were right: what fails now is no usage error
}

// errSignal is the cause of the end of a context that a signal ended.
var errSignal = errors.New("interrupted")

// main runs one command line. The first signal asks for a clean end, the second
// ends the process.
func (a *app) main(args []string) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	ended := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		defer signal.Stop(signals) // from now on a signal does what the system says
		select {
		case <-signals:
			cancel(errSignal)
		case <-ended:
		}
	}()
	defer func() { close(ended); <-watched }()

	root := a.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	return a.fail(ctx, cmd, err)
}

// root returns the whole tree of commands.
func (a *app) root() *cobra.Command {
	cobra.EnableCommandSorting = false // help has them in the order of use
	root := &cobra.Command{
		Use:     "p2pnode",
		Short:   "Move content to every endpoint of an enterprise, peer to peer",
		Example: rootExample,
		Args:    unknownCommand,
		RunE:    help,
		Version: version().Version,

		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			a.begun = true
			if cmd.Name() == cobra.ShellCompRequestCmd || cmd.Name() == cobra.ShellCompNoDescRequestCmd {
				return nil
			}
			return a.settle(cmd)
		},
	}
	root.SetVersionTemplate("p2pnode {{.Version}}\n")
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetUsageTemplate(usageTemplate)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })

	f := root.PersistentFlags()
	f.SortFlags = false
	f.StringVar(&a.data, "data", "", "the node's data `FOLDER` (default $P2PNODE_DATA, else "+shownDataFolder()+")")
	f.BoolVar(&a.json, "json", false, "answer in JSON; long commands in JSON lines")
	f.StringVar(&a.progress, "progress", "auto", "`MODE` of showing progress: auto (on a terminal), line, json or none")

	root.AddGroup(groups...)
	root.SetHelpCommandGroupID(groupOperation)
	root.SetCompletionCommandGroupID(groupOperation)
	for _, c := range []*cobra.Command{
		a.demoCommand(), a.runCommand(), a.joinCommand(), a.doctorCommand(),
		a.addCommand(), a.getCommand(), a.whyCommand(), a.contentCommand(), a.cacheCommand(),
		a.inviteCommand(), a.memberCommand(), a.siteCommand(), a.peerCommand(), a.pingCommand(),
		a.statusCommand(), a.waitCommand(), a.configCommand(), a.healthcheckCommand(), a.versionCommand(),
	} {
		root.AddCommand(c)
	}
	return root
}

// settle fills the global flags from the environment and checks them.
func (a *app) settle(cmd *cobra.Command) error {
	switch a.progress {
	case "auto", "line", "json", "none":
	default:
		return usageError{fmt.Errorf("--progress %s: want auto, line, json or none", a.progress)}
	}
	if cmd.Flags().Changed("data") {
		if a.data == "" {
			return usageError{errors.New("--data is empty: give a folder")}
		}
		a.chosen = a.data
		return nil
	}
	if dir, ok := a.env("P2PNODE_DATA"); ok && dir != "" {
		a.data = dir
		return nil
	}
	dir, err := dataFolder(a.env)
	if err != nil {
		return api.Errorf(api.Failed, "Give one: --data FOLDER", "find the data folder: %w", err)
	}
	a.data = dir
	return nil
}

// client returns a client of the node on the data folder.
func (a *app) client() (*api.Client, error) { return api.NewClient(a.data) }

// ask calls the node that runs on the data folder.
func ask[R any](a *app, call func(*api.Client) (R, error)) (R, error) {
	c, err := a.client()
	if err != nil {
		var none R
		return none, err
	}
	defer c.Close()
	return call(c)
}

// answer writes v in JSON if that was asked for, else what text writes.
func (a *app) answer(v any, text func(io.Writer) error) error {
	if !a.json {
		return text(a.out)
	}
	b, err := api.Marshal(v)
	if err != nil {
		return err
	}
	_, err = a.out.Write(append(b, '\n'))
	return err
}

// terminal reports whether s is one, and which.
func terminal(s any) (*os.File, bool) {
	f, ok := s.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd()))
}
