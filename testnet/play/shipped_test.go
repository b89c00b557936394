package play

import (
	"io/fs"
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
