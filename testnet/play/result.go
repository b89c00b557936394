package play

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Schema is the version of Result. It changes only if a field changes its meaning or
// goes.
const Schema = 1

// A Result is what playing a scenario came to, for programs. Times end with _ns,
// counted from the scenario's 0s, sizes with _bytes.
type Result struct {
	Schema   int           `json:"schema"`
	Scenario string        `json:"scenario"`
	About    string        `json:"about"`
	On       string        `json:"on"` // the kind of enterprise: spaces, compose
	Seed     uint64        `json:"seed"`
	Scale    float64       `json:"scale"`
	Date     time.Time     `json:"date"`
	Passed   bool          `json:"passed"`
	Levels   []LevelResult `json:"levels"`
	Troubles []string      `json:"troubles"` // what went wrong with the playing itself
	Record   *Record       `json:"record"`
}

// A LevelResult is a level and what came of it.
type LevelResult struct {
	Level   string  `json:"level"` // what it is about, as in the file
	Op      string  `json:"op"`    // <=, >=, =
	Want    float64 `json:"want"`
	Unit    Unit    `json:"unit"`                   // of want and figure: "", %, s, bytes, x wire, x alone, all (1 is all)
	Figure  float64 `json:"figure"`                 // 0 if not measured
	Missing string  `json:"not_measured,omitempty"` // why
	Outcome Outcome `json:"outcome"`                // PASS, FAIL, FALLS SHORT, HOLDS NOW
	Short   string  `json:"short,omitempty"`        // the reason that the file gives for falling short
}

// NewResult judges a record.
func NewResult(s *Scenario, r *Record, strict bool) Result {
	v := Judge(s, r, strict)
	out := Result{Schema: Schema, Scenario: s.Name, About: s.About, Passed: Passed(v, r), Troubles: Troubles(r), Record: r}
	for _, x := range v {
		out.Levels = append(out.Levels, LevelResult{
			Level: x.Level.Name(), Op: x.Level.Op, Want: x.Level.Figure.Value, Unit: x.Level.Figure.Unit,
			Figure: x.Figure.Value, Missing: x.Why, Outcome: x.Outcome, Short: x.Level.Short,
		})
	}
	return out
}

// figure returns what was measured, for people.
func (l LevelResult) figure() string {
	switch {
	case l.Missing != "":
		return l.Missing
	case l.Unit == Every && l.Figure == 1:
		return "all"
	case l.Unit == Every:
		return Figure{100 * l.Figure, Percent}.Short()
	}
	return Figure{l.Figure, l.Unit}.Short()
}

func (l LevelResult) want() string { return l.Op + " " + Figure{l.Want, l.Unit}.String() }

// verdict returns the one word on all of it.
func (r Result) verdict() Outcome {
	if r.Passed {
		return Pass
	}
	return Fail
}

// count returns how many levels came out so.
func (r Result) count(o Outcome) (n int) {
	for _, l := range r.Levels {
		if l.Outcome == o {
			n++
		}
	}
	return n
}

// Write writes the result for people.
func (r Result) Write(w io.Writer) {
	for _, l := range r.Levels {
		fmt.Fprintf(w, "  %-11s  %-28s  %-14s  %s", l.Outcome, l.Level, l.want(), l.figure())
		switch {
		case l.Outcome == FallsShort:
			fmt.Fprintf(w, "   (%s)", l.Short)
		case l.Outcome == HoldsNow, l.Outcome == Fail && l.Short != "" && l.Missing == "":
			fmt.Fprintf(w, "   (holds now: take off its mark)")
		}
		fmt.Fprintln(w)
	}
	for _, t := range r.Troubles {
		fmt.Fprintf(w, "  %-11s  %s\n", Fail, t)
	}
	fmt.Fprintf(w, "%s  %s\n", r.verdict(), r.Scenario)
}

// Summary writes a line for each result.
func Summary(w io.Writer, results []Result) {
	fmt.Fprintf(w, "\n%-28s  %-7s  %5s  %5s  %11s  %9s\n", "scenario", "verdict", "pass", "fail", "falls short", "holds now")
	for _, r := range results {
		fmt.Fprintf(w, "%-28s  %-7s  %5d  %5d  %11d  %9d\n", r.Scenario, r.verdict(), r.count(Pass), r.count(Fail)+len(r.Troubles), r.count(FallsShort), r.count(HoldsNow))
	}
}

// Table writes the results as the table of testnet/README.md.
func Table(w io.Writer, results []Result) {
	fmt.Fprintln(w, "| scenario | level | wanted | measured | |")
	fmt.Fprintln(w, "|---|---|---|---|---|")
	for _, r := range results {
		name := "`" + r.Scenario + "`"
		for _, l := range r.Levels {
			what := strings.ToLower(string(l.Outcome))
			switch l.Outcome {
			case Fail:
				what = "**fail**"
			case FallsShort:
				what = "**falls short**: " + l.Short
			}
			fmt.Fprintf(w, "| %s | %s | %s | %s | %s |\n", name, l.Level, l.want(), l.figure(), what)
			name = ""
		}
		for _, t := range r.Troubles {
			fmt.Fprintf(w, "| %s | | | | **fail**: %s |\n", name, strings.ReplaceAll(strings.Join(strings.Fields(t), " "), "|", `\|`))
			name = ""
		}
	}
}

// AnyFailed reports whether one of the results is no pass.
func AnyFailed(results []Result) bool {
	return slices.ContainsFunc(results, func(r Result) bool { return !r.Passed })
}
