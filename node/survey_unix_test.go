//go:build unix

package node

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/node/api"
)

// A pipe that takes a file's place between survey and open doesn't hold the
// publication until somebody writes into it.
func TestPublishDoesNotWaitForPipes(t *testing.T) {
	t.Parallel()
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
		case <-time.After(patience):
			t.Fatalf("%s: waits for the pipe", name)
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// Links, pipes and sockets in a folder are left out where that was asked for, and
// told; else the error says how to.
func TestPublishLeavesOutLinks(t *testing.T) {
	t.Parallel()
	hq := start(t, Config{Name: "hq", Site: "hq"})
	dir := t.TempDir()
	writeTree(t, dir, map[string][]byte{"menu/a": []byte("a"), "menu/deep/b": []byte("b"), "elsewhere/secret": []byte("secret")})
	menu := filepath.Join(dir, "menu")
	add := func(path string, how api.AddRequest) (api.AddResult, error) {
		how.Paths, how.Name = []string{path}, "menu"
		return hq.node.API().Add(t.Context(), how, nil)
	}
	plain, err := add(menu, api.AddRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if plain.Type != "folder" || plain.Skipped != 0 {
		t.Errorf("%+v", plain)
	}
	when, err := os.Stat(menu)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(
		os.Symlink("a", filepath.Join(menu, "link")), os.Symlink("../elsewhere", filepath.Join(menu, "out")),
		os.Symlink("nowhere", filepath.Join(menu, "deep", "dangling")), syscall.Mkfifo(filepath.Join(menu, "pipe"), 0o600),
		os.Chtimes(menu, when.ModTime(), when.ModTime()), os.Chtimes(filepath.Join(menu, "deep"), publishTime, publishTime))
	if err != nil {
		t.Fatal(err)
	}
	_, err = add(menu, api.AddRequest{})
	if e := api.From(err); e.Code != api.Usage || !errors.Is(err, content.ErrPath) || !strings.Contains(e.Next, "--skip-links") {
		t.Errorf("%v, next %q", err, e.Next)
	}
	for name, how := range map[string]api.AddRequest{"copied": {SkipLinks: true}, "in place": {SkipLinks: true, Reference: true}} {
		res, err := add(menu, how)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"deep/dangling -> nowhere", "link -> a", "out -> ../elsewhere", "pipe"}
		if res.Skipped != 4 || !slices.Equal(res.SkippedList, want) || res.Files != 2 || res.Size != plain.Size {
			t.Errorf("%s: %+v", name, res)
		}
	}
	// What was named itself isn't left out: there would be nothing.
	if _, err := add(filepath.Join(menu, "link"), api.AddRequest{SkipLinks: true}); api.From(err).Code != api.Usage {
		t.Errorf("a link alone: %v", err)
	}
}
