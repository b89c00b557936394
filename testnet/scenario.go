package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/box/spaces"
	"github.com/p2pnode/p2pnode/testnet/compose"
	"github.com/p2pnode/p2pnode/testnet/play"
	"github.com/p2pnode/p2pnode/testnet/scenario"
)

const scenarioUse = `play scenarios and hold them against their levels

Usage:
  go run ./testnet scenario ls                what there is
  go run ./testnet scenario NAME... [flags]   play these, one after the other
  go run ./testnet scenario all [flags]       play all
  go run ./testnet scenario show NAME         its text
  go run ./testnet scenario table DIR         the table of the README, of results in DIR

A NAME may be the path of a file of your own. The exit code is 1 if one failed.

Flags:
`

// stage is how scenarios are to be played.
type stage struct {
	on, dir string
	seed    uint64
	scale   float64
	strict  bool
	table   bool

	binary string
}

// playScenarios is the command `testnet scenario`.
func playScenarios(ctx context.Context, args []string, out io.Writer) error {
	var s stage
	f := flag.NewFlagSet("scenario", flag.ContinueOnError)
	f.StringVar(&s.on, "on", "spaces", "`KIND` of enterprise: spaces (network namespaces; root) or compose (containers)")
	f.StringVar(&s.dir, "out", "testnet-results", "`DIR` for the results: NAME.json and NAME.svg of each")
	f.Uint64Var(&s.seed, "seed", 1, "`NUMBER` that everything random comes from")
	f.Float64Var(&s.scale, "scale", 1, "`FACTOR` of all times and sizes: 10 suspends for minutes; levels stay as they are, also those that count seconds")
	f.BoolVar(&s.strict, "strict", false, "fail a level that is marked short and holds")
	f.BoolVar(&s.table, "table", false, "print the table of the README in the end")
	f.Usage = func() {
		fmt.Fprint(f.Output(), scenarioUse)
		f.PrintDefaults()
	}
	names, err := mixed(f, args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	switch {
	case len(names) == 0:
		f.Usage()
		return fmt.Errorf("%w: which scenario?", errUsage)
	case names[0] == "ls":
		return listScenarios(out)
	case names[0] == "show" && len(names) == 2:
		text, err := scenarioText(names[1])
		fmt.Fprint(out, text)
		return err
	case names[0] == "table" && len(names) == 2:
		return tableOf(out, names[1])
	case s.on != "spaces" && s.on != "compose":
		return fmt.Errorf("%w: --on %s: want spaces or compose", errUsage, s.on)
	case s.scale <= 0 || s.scale > 100:
		return fmt.Errorf("%w: --scale %g: want more than 0, and up to 100", errUsage, s.scale)
	}
	if slices.Equal(names, []string{"all"}) {
		if names, err = scenarioNames(); err != nil {
			return err
		}
	}
	return s.play(ctx, names, out)
}

// mixed parses flags that may stand before, between and behind names.
func mixed(f *flag.FlagSet, args []string) (names []string, err error) {
	for {
		if err := f.Parse(args); err != nil {
			return nil, err
		}
		if f.NArg() == 0 {
			return names, nil
		}
		names, args = append(names, f.Arg(0)), f.Args()[1:]
	}
}

// play plays one after the other. Mistakes in any of them are told before the first.
func (s *stage) play(ctx context.Context, names []string, out io.Writer) (err error) {
	var todo []*play.Scenario
	for _, name := range names {
		sc, perr := readScenario(name)
		err = errors.Join(err, perr)
		if perr == nil {
			todo = append(todo, sc.Scaled(s.scale))
		}
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	// What a run that was killed left behind has no owner.
	if _, err := spaces.Reap(); err != nil {
		return err
	}
	tmp, err := spaces.TempDir()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	if s.on == "spaces" { // for containers it is built with their image
		if s.binary, err = scenario.Build(ctx, tmp, "CGO_ENABLED=0"); err != nil {
			return err
		}
	}
	var results []play.Result
	var errs []error
	for i, sc := range todo {
		r, err := s.one(ctx, sc, filepath.Join(tmp, strconv.Itoa(i)), out)
		if ctx.Err() != nil {
			return fmt.Errorf("play %s: %w", sc.Name, errors.Join(context.Cause(ctx), err))
		}
		if err != nil { // the others may be played nevertheless
			err = fmt.Errorf("play %s: %w", sc.Name, err)
			fmt.Fprintln(out, err)
			errs = append(errs, err)
			continue
		}
		results = append(results, r)
	}
	if len(results) > 1 {
		play.Summary(out, results)
	}
	if s.table {
		play.Table(out, results)
	}
	if play.AnyFailed(results) {
		errs = append(errs, fmt.Errorf("levels were missed; what was seen is in %s", s.dir))
	}
	return errors.Join(errs...)
}

// one plays a scenario in an enterprise of its own, and takes that away.
func (s *stage) one(ctx context.Context, sc *play.Scenario, dir string, out io.Writer) (res play.Result, err error) {
	fmt.Fprintf(out, "\n%s: %s\n", sc.Name, sc.About)
	began := time.Now()
	e, err := s.raise(ctx, sc.Plan(s.seed), dir, out)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, e.Close(), os.RemoveAll(dir)) }()
	tools := play.NewTools(sc.Plan(s.seed))
	defer tools.Close()
	rec, err := play.Run(ctx, play.Config{Scenario: sc, Enterprise: e, Hands: tools, Seed: s.seed, Say: func(at time.Duration, text string) {
		stamp := "        "
		if at >= 0 {
			stamp = fmt.Sprintf("%7.1fs", at.Seconds())
		}
		fmt.Fprintf(out, "%s  %s\n", stamp, text)
	}})
	if err != nil {
		if ctx.Err() == nil {
			err = errors.Join(err, s.keepLogs(sc.Name, e))
		}
		return res, err
	}
	res = play.NewResult(sc, rec, s.strict)
	res.On, res.Seed, res.Scale, res.Date = s.on, s.seed, s.scale, began.UTC().Round(time.Second)
	res.Write(out)
	if !res.Passed {
		err = s.keepLogs(sc.Name, e)
	}
	return res, errors.Join(err, s.keep(sc, res))
}

// raise makes the enterprise.
func (s *stage) raise(ctx context.Context, plan box.Plan, dir string, out io.Writer) (box.Enterprise, error) {
	if s.on == "compose" {
		say := func(format string, args ...any) { fmt.Fprintf(out, "          "+format+"\n", args...) }
		e, err := compose.Up(ctx, compose.Setup{Plan: plan, Port: compose.DefaultPort}, say)
		if err != nil {
			return nil, err
		}
		return e, nil
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	e, err := spaces.New(ctx, plan, spaces.Config{Binary: s.binary, Dir: dir, Router: self})
	if err != nil {
		return nil, err
	}
	return e, nil
}

// keep writes the result and its picture.
func (s *stage) keep(sc *play.Scenario, r play.Result) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(s.dir, sc.Name+".json"), append(text, '\n'), 0o644),
		os.WriteFile(filepath.Join(s.dir, sc.Name+".svg"), []byte(play.Draw(sc, r.Record).SVG()), 0o644))
}

// keepLogs writes the end of what every node wrote.
func (s *stage) keepLogs(name string, e box.Enterprise) error {
	return os.WriteFile(filepath.Join(s.dir, name+".log"), []byte(e.Logs()), 0o644)
}

const scenarioExt = ".scenario"

// scenarioText returns the text of a scenario that ships, or of a file.
func scenarioText(name string) (string, error) {
	if strings.HasSuffix(name, scenarioExt) {
		text, err := os.ReadFile(name)
		return string(text), err
	}
	text, err := scenario.Files.ReadFile(name + scenarioExt)
	if err != nil {
		return "", fmt.Errorf("%w: no scenario %q; `go run ./testnet scenario ls` lists them", errUsage, name)
	}
	return string(text), nil
}

func readScenario(name string) (*play.Scenario, error) {
	text, err := scenarioText(name)
	if err != nil {
		return nil, err
	}
	return play.Parse(strings.TrimSuffix(filepath.Base(name), scenarioExt), text)
}

func scenarioNames() ([]string, error) {
	entries, err := scenario.Files.ReadDir(".")
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), scenarioExt))
	}
	return names, err
}

func listScenarios(out io.Writer) error {
	names, err := scenarioNames()
	for _, n := range names {
		s, perr := readScenario(n)
		if perr != nil {
			return perr
		}
		fmt.Fprintf(out, "%-28s %s\n", n, s.About)
	}
	return err
}

// tableOf reads results back and prints the README's table.
func tableOf(out io.Writer, dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no results in %s: %w", dir, errors.Join(err, os.ErrNotExist))
	}
	var results []play.Result
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var r play.Result
		if err := json.Unmarshal(text, &r); err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		if r.Schema != play.Schema || r.Scenario == "" {
			return fmt.Errorf("read %s: it is no result of a scenario of schema %d; want a DIR that `testnet scenario --out DIR` wrote", file, play.Schema)
		}
		results = append(results, r)
	}
	play.Table(out, results)
	return nil
}

// makeSample is the tool `testnet sample PATH SIZE SEED [CHANGED% EDIT]`.
func makeSample(args []string) error {
	if len(args) != 3 && len(args) != 5 {
		return fmt.Errorf("%w: sample PATH SIZE SEED [CHANGED%% EDIT]", errUsage)
	}
	size, err1 := strconv.ParseInt(args[1], 10, 64)
	seed, err2 := strconv.ParseUint(args[2], 10, 64)
	f := play.File{Size: size, Seed: seed}
	var err3, err4 error
	if len(args) == 5 {
		f.Changed, err3 = strconv.ParseFloat(strings.TrimSuffix(args[3], "%"), 64)
		f.Edit, err4 = strconv.ParseUint(args[4], 10, 64)
	}
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return fmt.Errorf("%w: sample: %w", errUsage, err)
	}
	return play.Sample(args[0], f)
}

// digestOf is the tool `testnet digest PATH`.
func digestOf(args []string, out io.Writer) error {
	if len(args) != 1 {
		return fmt.Errorf("%w: digest PATH", errUsage)
	}
	d, err := scenario.Digest(args[0])
	if err == nil {
		fmt.Fprintln(out, d)
	}
	return err
}
