//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
)

// A goal is the most that the median of a row may come to, or each of its figures.
type goal struct {
	row  string
	most float64
	each bool
}

// A verdict is a goal beside what was measured.
type verdict struct {
	What     string  `json:"what"`
	Unit     string  `json:"unit,omitempty"`
	AtMost   float64 `json:"at_most"`
	Measured float64 `json:"measured"` // the median, or what is farthest off
	Holds    bool    `json:"holds"`
}

// judge holds a table against goals. What wasn't measured isn't
// judged: a command prints only rows that its flags make sense of.
func judge(t *table, goals []goal) []verdict {
	var all []verdict
	for _, g := range goals {
		if r := t.rows[g.row]; r != nil {
			got, _, most := r.spread()
			if g.each {
				got = most
			}
			all = append(all, verdict{g.row, r.unit, g.most, got, got <= g.most})
		}
	}
	return all
}

// tellVerdicts writes them as Markdown.
func tellVerdicts(to io.Writer, all []verdict) {
	if len(all) == 0 {
		return
	}
	w := tabwriter.NewWriter(to, 0, 0, 1, ' ', 0)
	fmt.Fprintln(w, "| goal\t| at most\t| measured\t| unit\t| \t|")
	fmt.Fprintln(w, "|---\t|---\t|---\t|---\t|---\t|")
	for _, v := range all {
		holds := "holds"
		if !v.Holds {
			holds = "**falls short**"
		}
		fmt.Fprintf(w, "| %s\t| %.4g\t| %.4g\t| %s\t| %s\t|\n", v.What, v.AtMost, v.Measured, v.Unit, holds)
	}
	w.Flush()
}

// A report is what a command measured, for machines.
type report struct {
	Schema  int       `json:"schema"` // 1
	Command string    `json:"command"`
	Machine string    `json:"machine"`
	Runs    int       `json:"runs"`
	Means   []columns `json:"means"`
	Goals   []verdict `json:"goals"`
	// Late of Packets left the emulated links late or not at all.
	Late    int64 `json:"late_packets"`
	Packets int64 `json:"packets"`
}

// columns are all figures of one means.
type columns struct {
	Name string   `json:"name"`
	Rows []series `json:"rows"`
}

// A series is a row of a table: each run's figure, and their median.
type series struct {
	What    string    `json:"what"`
	Unit    string    `json:"unit,omitempty"`
	Median  float64   `json:"median"`
	Figures []float64 `json:"figures"`
}

func (t *table) series() (all []series) {
	for _, name := range t.names {
		r := t.rows[name]
		median, _, _ := r.spread()
		all = append(all, series{name, r.unit, median, r.figures})
	}
	return all
}

func (r report) write(to io.Writer) error {
	e := json.NewEncoder(to)
	e.SetIndent("", "  ")
	return e.Encode(r)
}
