package play

import (
	"strings"
	"testing"
)

// A table shows what went wrong with the playing: levels alone may look as if all held.
func TestTableTellsTroubles(t *testing.T) {
	sc, err := Parse("played", played+"level correct = all\nlevel done <= 9s")
	if err != nil {
		t.Fatal(err)
	}
	r := playing()
	r.Happened[2].Error = "a | b\nc"
	var out strings.Builder
	Table(&out, []Result{NewResult(sc, r, false)})
	for _, want := range []string{
		"| `played` | correct | = all | all | pass |\n",
		"|  | done | <= 9s | 10.00 s | **fail** |\n",
		"|  | | | | **fail**: line 8: kill branch-a-2: a \\| b c |\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table is\n%s\nwant in it: %s", &out, want)
		}
	}
}
