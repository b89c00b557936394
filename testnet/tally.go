package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// An event is a line of `go test -json` (see `go doc test2json`).
type event struct {
	Action     string
	Package    string
	ImportPath string // of build-output and build-fail
	Test       string
	Elapsed    float64
	Output     string
}

// tally reads the events of a test run and writes a line for each package, all
// that failed tests and builds wrote, and the counts. It returns an error if
// anything failed, if nothing ran, or if a test was skipped for want of something
// that the machine was to have ("needs ...").
func tally(in io.Reader, out io.Writer) error {
	type key struct{ pkg, test string }
	wrote := map[key]*strings.Builder{} // by running tests and packages
	var passed, failed, skipped int
	var wanting []string
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			// The go command says what stops it in plain text.
			fmt.Fprintln(out, lines.Text())
			failed++
			continue
		}
		k := key{e.Package, e.Test}
		if e.Package == "" {
			k.pkg = e.ImportPath
		}
		if wrote[k] == nil {
			wrote[k] = new(strings.Builder)
		}
		switch e.Action {
		case "output", "build-output":
			wrote[k].WriteString(e.Output)
			continue
		case "pass":
			if e.Test != "" {
				passed++
			} else {
				fmt.Fprintf(out, "ok    %s %.1fs\n", e.Package, e.Elapsed)
			}
		case "skip":
			if e.Test != "" {
				skipped++
				if strings.Contains(wrote[k].String(), "needs ") {
					wanting = append(wanting, wrote[k].String())
				}
			}
		case "fail", "build-fail":
			failed++
			fmt.Fprintf(out, "FAIL  %s %s %.1fs\n%s", k.pkg, k.test, e.Elapsed, wrote[k])
		default:
			continue
		}
		delete(wrote, k)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read test events: %w", err)
	}
	slices.Sort(wanting)
	for _, w := range wanting {
		fmt.Fprintf(out, "SKIPPED, and should not be:\n%s", w)
	}
	fmt.Fprintf(out, "tests: %d passed, %d failed, %d skipped\n", passed, failed, skipped)
	switch {
	case failed > 0:
		return errors.New("tests failed")
	case len(wanting) > 0:
		return errors.New("tests were skipped that this machine is to run")
	case passed == 0:
		return errors.New("no test ran")
	}
	return nil
}
