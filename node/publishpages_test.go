package node

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/disk"
)

// largeTree is 40 MiB in a large file, some small ones, and a large one.
func largeTree(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "tree")
	tree := map[string][]byte{"a": publishRandom(1, 20<<20+123), "z": publishRandom(2, 15<<20+1), "empty": nil}
	for i := range byte(50) {
		tree["small/"+string('a'+i%26)+string('a'+i/26)] = publishRandom(i, 100_000+int(i))
	}
	writeTree(t, dir, tree)
	return dir
}

// What is read back while the rest is being read, and what may stay in memory,
// makes no difference to what is published.
func TestPublishWithinItsPages(t *testing.T) {
	t.Parallel()
	dir := largeTree(t)
	for _, workers := range []int{1, 3} {
		opt := publishOptions{Workers: workers}
		want, err := publish(t.Context(), newTestStage(t), []string{dir}, opt)
		if err != nil {
			t.Fatal(err)
		}
		opt.Pages = 1
		var last, first int64
		opt.Progress = func(phase string, done, total int64) {
			if phase == publishVerifies && first == 0 {
				first = done
			}
			last = done
		}
		got, err := publish(t.Context(), newTestStage(t), []string{dir}, opt)
		if err != nil {
			t.Fatal(err)
		}
		if got.Encoded.ID != want.Encoded.ID || last != want.Manifest.Size() {
			t.Errorf("%v, %d bytes read back; want %v, %d", got.Encoded.ID, last, want.Encoded.ID, want.Manifest.Size())
		}
		if first < want.Manifest.Size()-2*leastPages {
			t.Errorf("the second pass began with %d bytes read back", first)
		}
		inPlace, _, err := publishInPlace(t.Context(), []string{dir}, opt)
		if err != nil || inPlace.Encoded.ID != want.Encoded.ID {
			t.Errorf("in place: %v", err)
		}
	}
}

// A wrong byte is found where it was written early, too.
func TestPublishReadsBackEarly(t *testing.T) {
	t.Parallel()
	dir := largeTree(t)
	stage := newTestStage(t)
	stage.spoil = func(path string, f *os.File) (*os.File, error) {
		if path == "a" { // before its first byte is written, one that is wrong
			other, err := stage.root.OpenFile("other", os.O_RDWR|os.O_CREATE, 0o600)
			return other, errors.Join(err, f.Truncate(30<<20), f.Close())
		}
		return f, nil
	}
	_, err := publish(t.Context(), stage, []string{dir}, publishOptions{Pages: 1, Progress: func(phase string, _, _ int64) {
		if phase == publishVerifies {
			t.Error("all was read before anything was read back")
		}
	}})
	if !errors.Is(err, content.ErrCorrupt) {
		t.Errorf("%v, want ErrCorrupt", err)
	}
}

// What was written and read doesn't stay in memory, but for what was there before.
func TestPublishedIsForgotten(t *testing.T) {
	dir := largeTree(t)
	inMemory := func(name string) (n, size int64) {
		t.Helper()
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		return disk.InMemory(f, info.Size()), info.Size()
	}
	clean := func(name string) {
		t.Helper()
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		disk.Forget(f, 0, 1<<40)
	}
	cold, warm := filepath.Join(dir, "a"), filepath.Join(dir, "z")
	if n, size := inMemory(cold); n < size {
		t.Skip("only on linux: others don't tell what is in memory")
	}
	clean(cold)
	if n, _ := inMemory(cold); n > 0 {
		t.Skip("only on linux, with temporary files on a disk")
	}
	stage := newTestStage(t)
	if _, err := publish(t.Context(), stage, []string{dir}, publishOptions{Pages: 1}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{cold, filepath.Join(stage.root.Name(), "a"), filepath.Join(stage.root.Name(), "z")} {
		if n, size := inMemory(name); n > size/2 { // a little was being read when it was forgotten
			t.Errorf("%d of %d bytes of %s stay in memory", n, size, name)
		}
	}
	if n, size := inMemory(warm); n < size/2 {
		t.Errorf("%d of %d bytes stay of %s, which was in memory before", n, size, warm)
	}
}
