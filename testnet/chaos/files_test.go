package chaos

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func tool(t *testing.T, args ...string) string {
	t.Helper()
	var out strings.Builder
	if err := Tool(args, &out); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out.String())
}

func TestToolMakesWhatItDigests(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	made := tool(t, "make", path, "1000", "7")
	if got := tool(t, "digest", path); got != made || len(got) != 64 {
		t.Errorf("made %s, reads %s", made, got)
	}
	other := tool(t, "make", path, "1000", "8")
	if other == made {
		t.Error("another seed has the same bytes")
	}
	tool(t, "rm", path)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("after rm: %v", err)
	}
}

func TestToolFindsWhatIsLeft(t *testing.T) {
	dir := t.TempDir()
	data, copies := filepath.Join(dir, "data"), filepath.Join(dir, "copies")
	for _, name := range []string{"peers", "store/content/bafy/files/readme.txt", "trust/state.a", "dht/CURRENT", "joining.lock"} {
		write(t, filepath.Join(data, name), "")
	}
	write(t, filepath.Join(copies, "other"), "")
	if got := tool(t, "left", data, copies); got != "" {
		t.Errorf("of what belongs there: %s", got)
	}
	want := []string{filepath.Join(copies, ".p2pnode-12"), filepath.Join(copies, "chaos-get1")}
	for _, path := range want {
		write(t, path, "")
	}
	for _, name := range []string{"core.17", "store/content/.new-1/root", "store/index/run.tmp"} {
		write(t, filepath.Join(data, name), "")
	}
	want = append([]string{filepath.Join(data, "core.17"), filepath.Join(data, "store", "content", ".new-1"), filepath.Join(data, "store", "index", "run.tmp")}, want...)
	if got := tool(t, "left", data, copies); got != strings.Join(want, "\n") {
		t.Errorf("left:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
}

func TestToolSaysWhatIsWrong(t *testing.T) {
	for _, args := range [][]string{nil, {"fly", "x"}, {"make", "x"}, {"make", "x", "much", "1"}, {"digest", "x", "y"}} {
		if Tool(args, os.Stderr) == nil {
			t.Errorf("%v passes", args)
		}
	}
}
