//go:build unix

package node

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/p2pnode/p2pnode/content"
)

// A pipe that takes a file's place between survey and open doesn't hold the
// publication until somebody writes into it.
func TestPublishDoesNotWaitForPipes(t *testing.T) {
	dir := t.TempDir()
	writeTree(t, dir, map[string][]byte{"a": publishRandom(1, 5<<20), "z": []byte("a pipe soon"), "z large": publishRandom(2, 2<<20)})
	for _, name := range []string{"z", "z large"} {
		var once sync.Once
		stage := newTestStage(t)
		stage.spoil = func(_ string, f *os.File) (*os.File, error) {
			once.Do(func() {
				path := filepath.Join(dir, name)
				if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o644)); err != nil {
					t.Error(err)
				}
			})
			return f, nil
		}
		done := make(chan error, 1)
		go func() {
			_, err := publish(t.Context(), stage, []string{dir}, publishOptions{Workers: 1})
			done <- err
		}()
		select {
		case err := <-done:
			if !errors.Is(err, content.ErrChanged) {
				t.Errorf("%s: %v, want ErrChanged", name, err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: waits for the pipe", name)
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}
