package play

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write what came out into the files of testdata")

// Each file of testdata/triggers has a scenario's events, a blank line, and then a
// line for each time that somebody looks: the time, maybe how far something has come,
// and behind -> what happens.
func TestTriggersTellTheStory(t *testing.T) {
	files, err := filepath.Glob("testdata/triggers/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got := replay(t, string(text))
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got != string(text) {
			t.Errorf("%s: got\n%s\nwant\n%s", file, got, text)
		}
	}
}

func replay(t *testing.T, text string) string {
	t.Helper()
	head, script, _ := strings.Cut(text, "\n\n")
	s, err := Parse("script", "branches 2, peers 2\ncontent image 1MiB\n"+head+"\nlevel correct = all\n")
	if err != nil {
		t.Fatal(err)
	}
	table := newTimetable(s.Events)
	out := head + "\n\n"
	for line := range strings.Lines(script) {
		look, _, _ := strings.Cut(strings.TrimSpace(line), "->")
		words := strings.Fields(look)
		now, err := time.ParseDuration(words[0])
		if err != nil {
			t.Fatal(err)
		}
		// image PLACE SHARE|done ...
		come := func(content, place string) (share float64, done bool) {
			for i := 1; i+1 < len(words); i += 2 {
				if words[i] == place {
					share, _ = strconv.ParseFloat(strings.TrimSuffix(words[i+1], "%"), 64)
					done = words[i+1] == "done"
				}
			}
			return share, done
		}
		var happens []string
		for _, e := range table.due(now, come) {
			happens = append(happens, e.Do.String())
		}
		next := "nothing by the clock"
		if at, ok := table.next(); ok {
			next = fmt.Sprint(at)
		}
		out += fmt.Sprintf("%s-> %s; %d to come, next %s\n", look, strings.Join(happens, " | "), len(table.waiting()), next)
	}
	return out
}
