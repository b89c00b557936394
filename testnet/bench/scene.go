//go:build linux

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
	"time"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

// scene is what the commands that deliver to sites differ in.
type scene struct {
	sites, peers int
	link, hq     wan.Settings   // of a branch, of HQ; both directions
	port         bandwidth.Rate // of every machine's port, both ways; 0: what the machine can
	contents     int            // at once
	spread       bool           // gets begin one after the other, until the wire's time is over
	linked       bool           // nodes write one copy, as other means do
	late         bool           // a third of the endpoints start when the others are done
	down         time.Duration
	kills        int
	runs         int
	beside       string
	logs         string
}

func (s scene) plan() box.Plan {
	p := box.Plan{Branches: s.sites, Peers: s.peers, Up: s.link, Down: s.link, HQUp: s.hq, HQDown: s.hq, Seed: 1}
	if s.logs != "" {
		p.Flags = []string{"--log-level", "debug"}
	}
	return p
}

// flags lets a command's flags change its scene.
func (s *scene) flags(f *flag.FlagSet) {
	settings := func(into *wan.Settings, name, what string) {
		f.Func(name, what+", as in \"rate=50mbit delay=20ms loss=1%\"", func(text string) (err error) {
			*into, err = wan.Parse(text)
			return err
		})
	}
	f.IntVar(&s.peers, "peers", s.peers, "endpoints that get it, of each site")
	f.StringVar(&s.beside, "beside", s.beside, "what else delivers the same in each run: "+rivalNames()+", several with commas, or none")
	f.StringVar(&s.logs, "logs", "", "`folder` where the nodes' logs are kept, at debug level, with their last choices of sources, and what crossed links when; figures are worse with it")
	f.DurationVar(&s.down, "down", 10*time.Second, "linkdown: how long the links are down")
	f.IntVar(&s.kills, "kills", s.kills, "crash, carriers: how often one is killed")
	if s.link.Rate == 0 {
		f.BoolVar(&s.linked, "linked", false, "p2pnode links its own files (get --link) and writes no second copy, as where the file system shares blocks")
		f.Func("port", "what each machine's port sends and takes at most, as in 1gbit", func(text string) error {
			port, err := wan.Parse("rate=" + text)
			s.port = port.Rate
			return err
		})
		return
	}
	f.IntVar(&s.sites, "sites", s.sites, "branches")
	f.IntVar(&s.contents, "contents", 1, "branch: how many at once, each of -size")
	f.BoolVar(&s.spread, "spread", false, "branch: endpoints of a site begin one after the other, over the time that the wire takes")
	f.BoolVar(&s.late, "late", false, "branch: a third of each site's endpoints is off, starts when all others are done, and gets it then")
	settings(&s.link, "link", "a branch's link, both ways")
	settings(&s.hq, "hq", "the publisher's link, both ways")
}

// check says what a scene can't be.
func (s scene) check() error {
	if s.contents < 0 || s.contents > maxContents {
		return fmt.Errorf("-contents %d: want 1 to %d", s.contents, maxContents)
	}
	_, err := rivalsOf(s.beside)
	return err
}

const maxContents = 20

// goals are what issues ask of the commands that deliver; those whose row a scene
// doesn't have are left out.
func (b *bench) goals() []goal {
	all := b.command.goals
	if b.scene.hq.Rate > 0 {
		all = append(all[:len(all):len(all)], goal{row: rowUplink, most: 1.3})
	}
	return all
}

// tell prints what deliveries cost, and what to know about the figures.
func (b *bench) tell(to io.Writer) error {
	s := b.scene
	tables := append([]*named{{"p2pnode", b.table}}, b.others...)
	verdicts := judge(&b.table, b.goals())
	if v, ok := fastest(tables); ok && s.sites == 1 && s.link.Rate == 0 && s.port == 0 {
		verdicts = append(verdicts, v)
	}
	if b.json {
		r := report{Schema: 1, Command: b.said, Machine: b.machine, Runs: b.runs, Goals: verdicts, Late: b.late, Packets: b.packets}
		for _, t := range tables {
			r.Means = append(r.Means, columns{t.name, t.series()})
		}
		return r.write(to)
	}
	fmt.Fprintf(to, "%s, `%s`: %d x %d endpoints, %d MiB, ", time.Now().Format(time.DateOnly), b.said, s.sites, s.peers, b.size>>20)
	if s.link.Rate > 0 {
		fmt.Fprintf(to, "links `%v`, HQ's `%v`, ", s.link, s.hq)
	} else {
		fmt.Fprintf(to, "ports `%v`, ", wan.Settings{Rate: s.port})
	}
	fmt.Fprintf(to, "runs: %d\n\n", b.runs)
	compare(to, tables)
	if len(verdicts) > 0 {
		fmt.Fprintln(to)
		tellVerdicts(to, verdicts)
	}
	// The model stays right when packets are late; what comes of it in TCP doesn't.
	if b.late*1000 > b.packets {
		fmt.Fprintf(to, "\nOf %d packets, %d left the emulated links late or not at all: the machine was too busy, measure again.\n", b.packets, b.late)
	}
	return nil
}

// fastest asks of the first table that it takes no longer than any other.
func fastest(tables []*named) (v verdict, ok bool) {
	const row = "time to all"
	for i, t := range tables {
		r := t.rows[row]
		if r == nil {
			continue
		}
		median, _, _ := r.spread()
		switch {
		case i == 0:
			v = verdict{What: row + ", of the fastest other", Unit: r.unit, Measured: median}
		case v.AtMost == 0 || median < v.AtMost:
			v.AtMost = median
		}
	}
	v.Holds = v.Measured <= v.AtMost
	return v, v.AtMost > 0 && v.Measured > 0
}

// logsOf is the folder of a run's logs.
func (b *bench) logsOf(run int) string { return filepath.Join(b.scene.logs, fmt.Sprint("run", run+1)) }

// keep copies what nodes wrote, and their last choices, to a folder of the run.
func (b *bench) keep(ctx context.Context, e box.Enterprise, from string, run int) error {
	if b.scene.logs == "" {
		return nil
	}
	to := b.logsOf(run)
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	logs, err := filepath.Glob(filepath.Join(from, "*.log"))
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range logs {
		text, err := os.ReadFile(path)
		errs = append(errs, err, os.WriteFile(filepath.Join(to, filepath.Base(path)), text, 0o644))
	}
	for _, n := range e.Nodes() {
		if n.Running() {
			errs = append(errs, keepChoices(ctx, n, filepath.Join(to, n.Name()+".choices")))
		}
	}
	return errors.Join(errs...)
}

// lastChoices is how many choices of sources a node is asked for.
const lastChoices = 1000

func keepChoices(ctx context.Context, n box.Node, path string) error {
	c, err := n.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	all, err := c.Decisions(ctx, lastChoices)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(all, "", " ")
	return errors.Join(err, os.WriteFile(path, text, 0o644))
}
