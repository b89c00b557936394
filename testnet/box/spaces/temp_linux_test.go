package spaces

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// What a command that is gone has left is removed, of one that runs nothing is.
func TestReapRemovesFoldersOfProcessesThatAreGone(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	mine, err := TempDir()
	if err != nil {
		t.Fatal(err)
	}
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(os.TempDir(), tempPrefix+"notes")
	left := filepath.Join(os.TempDir(), fmt.Sprintf("%s%d-123", tempPrefix, gone.Process.Pid))
	for _, dir := range []string{left, other} {
		if err := os.MkdirAll(filepath.Join(dir, "data"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := reapTemp(); n != 1 || err != nil {
		t.Errorf("%d removed, %v; want 1", n, err)
	}
	for dir, want := range map[string]bool{mine: true, other: true, left: false} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", filepath.Base(dir), err == nil, want)
		}
	}
}
