package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEachCombinationHasARow(t *testing.T) {
	var out bytes.Buffer
	picture := filepath.Join(t.TempDir(), "done.svg")
	err := run([]string{"-sites", "2,3", "-nodes", "2", "-chunks", "3,5", "-policy", "today,mesh", "-runs", "2", "-plot", picture}, &out)
	if err != nil {
		t.Fatal(err)
	}
	rows := strings.Count(out.String(), "\n| today |") + strings.Count(out.String(), "\n| mesh |")
	if rows != 16 {
		t.Errorf("%d rows, want 16:\n%s", rows, out.String())
	}
	svg, err := os.ReadFile(picture)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"today 2 x 2, 3 chunks", "today 2 x 2, 5 chunks", "mesh 3 x 2, 5 chunks"} {
		if !bytes.Contains(svg, []byte(name)) {
			t.Errorf("no line of %s in the plot", name)
		}
	}
}

func TestMistakesAreNamed(t *testing.T) {
	for _, args := range [][]string{{"-policy", "best"}, {"-sites", "0"}, {"-nodes", "2,"}, {"today"}, {"-blocks", "65"}, {"-runs", "0"}, {"-late", "2"}, {"-churn", "-0.1"}, {"-churn", "NaN"}, {"-policy", "mesh", "-churn", "1"}} {
		if err := run(args, &bytes.Buffer{}); err == nil {
			t.Errorf("%q was taken", args)
		}
	}
}
