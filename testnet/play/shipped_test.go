package play

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/p2pnode/p2pnode/testnet/scenario"
)

// What ships can be read, says what it is about, and asks that copies are right.
func TestShippedScenariosAreRead(t *testing.T) {
	want := "busy-branch carrier-dies first-copy late-joiners link-flaps lossy new-address partition publisher-leaves rolling-restart satellite suspend two-contents-two-priorities update"
	files, err := fs.Glob(scenario.Files, "*.scenario")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		text, err := scenario.Files.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(file, ".scenario")
		names = append(names, name)
		s, err := Parse(name, string(text))
		if err != nil {
			t.Error(err)
			continue
		}
		if s.About == "" || !strings.Contains(s.String(), "level correct = all") {
			t.Errorf("%s: about %q; want that, and a level correct = all", file, s.About)
		}
	}
	if got := strings.Join(names, " "); got != want {
		t.Errorf("there are %s; want %s", got, want)
	}
}

// The table of the README has each level of each scenario, in order, with the figure that
// is wanted today; the reason of one that falls short is that of the file.
func TestReadmeHasTheLevelsOfTheFiles(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(readme), "<!-- levels:")
	_, table, _ = strings.Cut(table, "|---|---|---|---|---|\n")
	table, _, ok := strings.Cut(table, "<!-- end of levels -->")
	if !ok {
		t.Fatal("the README has no table of levels")
	}
	rows := strings.Split(strings.TrimSpace(table), "\n")
	files, err := fs.Glob(scenario.Files, "*.scenario")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := scenario.Files.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Parse(strings.TrimSuffix(file, ".scenario"), string(text))
		if err != nil {
			t.Fatal(err)
		}
		name := "`" + s.Name + "`"
		for _, l := range s.Levels {
			begin := fmt.Sprintf("| %s | %s | %s %v | ", name, l.Name(), l.Op, l.Figure)
			name = ""
			if len(rows) == 0 {
				t.Fatalf("the table ends before %s", begin)
			}
			said := rows[0][strings.LastIndex(strings.TrimSuffix(rows[0], " |"), "| ")+2:]
			wants := map[bool][]string{true: {"**falls short**: " + l.Short + " |", "holds now |"}, false: {"pass |"}}[l.Short != ""]
			if !strings.HasPrefix(rows[0], begin) || !slices.Contains(wants, said) {
				t.Errorf("the table has\n%s\nwant %s... %q", rows[0], begin, wants)
			}
			rows = rows[1:]
		}
	}
	if len(rows) > 0 {
		t.Errorf("the table goes on: %q", rows)
	}
}
