package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// The groups of commands, in the order of help.
const (
	groupStart      = "start"
	groupContent    = "content"
	groupEnterprise = "enterprise"
	groupOperation  = "operation"
)

var groups = []*cobra.Group{
	{ID: groupStart, Title: "Start here:"},
	{ID: groupContent, Title: "Content:"},
	{ID: groupEnterprise, Title: "Enterprise:"},
	{ID: groupOperation, Title: "Operation:"},
}

const rootExample = `  p2pnode demo                                        see it work, in one process
  p2pnode run                                         run a node: an enterprise of one
  p2pnode invite --site berlin                        let another machine join
  p2pnode run --join TOKEN                            there: join, and run
  p2pnode add ./image.iso --name image --version 1    publish
  p2pnode get image -o ./image.iso                    there: get it`

// usageTemplate is cobra's, with examples first and less shouting.
const usageTemplate = `{{if .HasExample}}Examples:
{{.Example}}

{{end}}Usage:{{if and .Runnable (not .HasAvailableSubCommands)}}
  {{.UseLine}}{{end}}{{if .HasAvailableSubCommands}}
  {{.CommandPath}} COMMAND{{end}}{{if .HasAvailableSubCommands}}{{$cmds := .Commands}}{{if eq (len .Groups) 0}}

Commands:{{range $cmds}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{else}}{{range $group := .Groups}}

{{.Title}}{{range $cmds}}{{if (and (eq .GroupID $group.ID) (or .IsAvailableCommand (eq .Name "help")))}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableInheritedFlags}}

Global flags:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}
`

// help is what a command does that only holds others.
func help(cmd *cobra.Command, _ []string) error { return cmd.Help() }

// unknownCommand refuses arguments of a command that only holds others, and
// says which command may have been meant.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	msg := fmt.Sprintf("no command %q", args[0])
	if cmd.HasParent() {
		msg = fmt.Sprintf("%s has %s", verb(cmd), msg)
	}
	if cmd.SuggestionsMinimumDistance <= 0 {
		cmd.SuggestionsMinimumDistance = 2
	}
	if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
		msg += "; did you mean " + strings.Join(like, " or ") + "?"
	}
	return usageError{errors.New(msg)}
}

// verb returns what a command is called behind the program's name.
func verb(cmd *cobra.Command) string {
	return strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
}

// args checks the number of arguments: names has one word for each, the last
// ending in "..." if it may come more than once.
func args(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, got []string) error {
		many := len(names) > 0 && strings.HasSuffix(names[len(names)-1], "...")
		switch {
		case len(got) < len(names):
			return usageError{fmt.Errorf("%s: give %s", verb(cmd), strings.Join(names[len(got):], " and "))}
		case len(got) > len(names) && !many:
			return usageError{fmt.Errorf("%s: %q is too much", verb(cmd), got[len(names)])}
		}
		return nil
	}
}
