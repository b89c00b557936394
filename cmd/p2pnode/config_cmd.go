package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/p2pnode/p2pnode/node/api"
)

func (a *app) configCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "config",
		GroupID: groupOperation,
		Short:   "Show and check what the node is told to be",
		Long: `Show and check what ` + "`p2pnode run`" + ` would be told if it was started now.

A flag counts above the environment, that above the files in conf.d, those above
the configuration file, and that above what is built in. The file is config.yaml
in the data folder, else ` + shownConfigFile() + `; conf.d/*.yaml is
looked for beside it.`,
		Args: unknownCommand,
		RunE: help,
	}
	c.AddCommand(a.configShowCommand(), a.configValidateCommand(), a.configSchemaCommand())
	return c
}

// A configValue is one key as it is.
type configValue struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Origin string `json:"origin"`
}

func (a *app) configShowCommand() *cobra.Command {
	var origin bool
	c := &cobra.Command{
		Use:     "show",
		Short:   "Show every key, its value and where that is from",
		Example: "  p2pnode config show --origin",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.resolve(cmd.Flags())
			if err != nil {
				return err
			}
			return a.answer(api.List[configValue]{Items: s.values()}, func(w io.Writer) error {
				t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
				for _, v := range s.values() {
					line := v.Key + "\t" + v.Value
					if origin {
						line += "\t" + v.Origin
					}
					fmt.Fprintln(t, line)
				}
				return t.Flush()
			})
		},
	}
	c.Flags().BoolVar(&origin, "origin", false, "say where each value is from")
	c.Flags().String("config", "", "configuration `FILE`, or none")
	return c
}

// values are all keys, as they were given or are by default.
func (s *settings) values() []configValue {
	var out []configValue
	for _, x := range keyTable {
		v := configValue{Key: x.key, Value: x.builtin, Origin: s.origin(x.key)}
		if g, ok := s.from[x.key]; ok {
			v.Value = strings.Join(g.texts, " ")
		}
		out = append(out, v)
	}
	return out
}

func (a *app) configValidateCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "validate [FILE]",
		Short: "Check a configuration file, or all that run would read",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			if len(files) == 0 {
				var err error
				if files, err = a.configFiles(cmd.Flags()); err != nil {
					return err
				}
			}
			type checked struct {
				File string `json:"file"`
				Keys int    `json:"keys"`
			}
			good := []checked{}
			for _, name := range files {
				all, err := readConfig(name)
				if err != nil {
					return err
				}
				good = append(good, checked{name, len(all)})
			}
			return a.answer(api.List[checked]{Items: good}, func(w io.Writer) error {
				for _, f := range good {
					fmt.Fprintf(w, "%s is good: %s\n", f.File, count(f.Keys, "key"))
				}
				if len(good) == 0 {
					fmt.Fprintf(w, "no configuration file: all is built in, from the environment or from flags\n")
				}
				return nil
			})
		},
	}
	c.Flags().String("config", "", "configuration `FILE`, or none")
	return c
}

func (a *app) configSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Write a configuration file with every key, all commented out; with --json its JSON schema",
		Example: `  p2pnode config schema > config.yaml
  p2pnode config schema --json > p2pnode.schema.json`,
		Args: args(),
		RunE: func(*cobra.Command, []string) error {
			if a.json {
				b, err := json.MarshalIndent(jsonSchema(), "", "  ")
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(a.out, "%s\n", b)
				return err
			}
			_, err := io.WriteString(a.out, commentedFile())
			return err
		},
	}
}

// commentedFile is a file of every key, with what is built in.
func commentedFile() string {
	var b strings.Builder
	b.WriteString("# Configuration of p2pnode. What is commented out shows examples, with\n# the default in brackets. Check it with: p2pnode config validate FILE\n")
	section := ""
	for _, s := range keyTable {
		group, name, nested := strings.Cut(s.key, ".")
		indent := "  "
		if !nested {
			group, name, indent = "", s.key, ""
		}
		if group != section || !nested {
			b.WriteString("\n")
		}
		if group != section && nested {
			fmt.Fprintf(&b, "# %s:\n", group)
		}
		section = group
		fmt.Fprintf(&b, "## %s%s (%s)\n", indent, s.doc, s.builtin)
		if s.list() {
			fmt.Fprintf(&b, "# %s%s: [%s]\n", indent, name, s.example)
		} else {
			fmt.Fprintf(&b, "# %s%s: %s\n", indent, name, s.example)
		}
	}
	return b.String()
}

// jsonSchema describes the file to editors.
func jsonSchema() map[string]any {
	object := func(properties map[string]any) map[string]any {
		return map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
	}
	top := map[string]any{}
	for _, s := range keyTable {
		one := map[string]any{"type": []string{"string", "number", "boolean"}}
		about := map[string]any{"description": s.doc + " (default " + s.builtin + ")", "examples": []string{s.example}}
		if s.list() {
			about["oneOf"] = []any{one, map[string]any{"type": "array", "items": one}}
		} else {
			about["type"] = one["type"]
		}
		into := top
		group, name, nested := strings.Cut(s.key, ".")
		if nested {
			if top[group] == nil {
				top[group] = object(map[string]any{})
			}
			into = top[group].(map[string]any)["properties"].(map[string]any)
		} else {
			name = s.key
		}
		into[name] = about
	}
	schema := object(top)
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = "p2pnode configuration"
	return schema
}
