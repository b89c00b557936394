package store_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// here returns a complete content of the sample in a store of its own.
func here(t *testing.T, sample *storetest.Sample) *store.Content {
	t.Helper()
	s := open(t, store.Config{})
	t.Cleanup(func() { s.Close() })
	c, _, _ := fetch(t, s, sample)
	return c
}

// leftovers checks that an export left nothing of its own in dir.
func leftovers(t *testing.T, dir string) {
	t.Helper()
	filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.Contains(path, ".p2pnode") {
			t.Errorf("%s was left behind", path)
		}
		return nil
	})
}

func TestExport(t *testing.T) {
	for name, sample := range map[string]*storetest.Sample{
		"file":       storetest.File(t, 1, 300_000, storetest.Small),
		"empty file": storetest.File(t, 1, 0, storetest.Small),
		"tree":       storetest.Tree(t, 2),
	} {
		for _, durable := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				c := here(t, sample)
				dir := storetest.TempDir(t)
				target := filepath.Join(dir, "copy")
				var done, total int64
				o := store.ExportOptions{Durable: durable, Progress: func(d, n int64) { done, total = d, n }}
				if err := c.Export(t.Context(), target, o); err != nil {
					t.Fatal(err)
				}
				if err := sample.Check(target); err != nil {
					t.Error(err)
				}
				if done != int64(len(sample.Data)) || done != total {
					t.Errorf("progress ended at %d of %d", done, total)
				}
				// Again, and again after what belongs to it was changed.
				for range 2 {
					if err := c.Export(t.Context(), target, o); err != nil {
						t.Fatal(err)
					}
					if err := sample.Check(target); err != nil {
						t.Error(err)
					}
					if err := os.Chmod(target, 0o700); err != nil {
						t.Fatal(err)
					}
				}
				leftovers(t, dir)
			})
		}
	}
}

func TestExportIsFinishedWhereItStopped(t *testing.T) {
	sample := storetest.Tree(t, 1)
	c := here(t, sample)
	target := filepath.Join(storetest.TempDir(t), "copy")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Export(ctx, target, store.ExportOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := os.Lstat(target); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something partial is visible: %v", err)
	}
	leftovers(t, filepath.Dir(target))

	// An empty folder is filled, and one that lacks some is completed.
	if err := os.Mkdir(target, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, lost := range []string{"", "b.txt", "a/deep/big.bin", "a"} {
		if lost != "" {
			for _, folder := range []string{"a", "a/deep", "a/void"} {
				if err := os.Chmod(filepath.Join(target, folder), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.RemoveAll(filepath.Join(target, lost)); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Export(t.Context(), target, store.ExportOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := sample.Check(target); err != nil {
			t.Error(err)
		}
	}
	leftovers(t, filepath.Dir(target))
}

func TestExportOverwritesWhenTold(t *testing.T) {
	sample := storetest.Tree(t, 1)
	c := here(t, sample)
	target := filepath.Join(storetest.TempDir(t), "copy")
	if err := os.MkdirAll(filepath.Join(target, "a"), 0o755); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(target, "a", "foreign")
	differs := filepath.Join(target, "a", "one")
	for _, name := range []string{foreign, differs} {
		if err := os.WriteFile(name, []byte("X"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	err := c.Export(t.Context(), target, store.ExportOptions{})
	if !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), "a/one") {
		t.Errorf("a file that differs: %v", err)
	}
	if entries, _ := os.ReadDir(target); len(entries) != 1 {
		t.Errorf("a refused export wrote: %v", entries)
	}
	if err := c.Export(t.Context(), target, store.ExportOptions{Overwrite: true}); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(foreign); err != nil || string(data) != "X" {
		t.Errorf("what the content doesn't name was touched: %q, %v", data, err)
	}
	folder := filepath.Dir(foreign)
	when := sample.Manifest.Files[1].ModTime
	if err := errors.Join(os.Chmod(folder, 0o755), os.Remove(foreign), os.Chmod(folder, 0o555), os.Chtimes(folder, when, when)); err != nil {
		t.Fatal(err)
	}
	if err := sample.Check(target); err != nil {
		t.Error(err)
	}
	leftovers(t, target)
}

func TestExportRefuses(t *testing.T) {
	file, tree := storetest.File(t, 1, 5_000, storetest.Small), storetest.Tree(t, 2)
	dir := storetest.TempDir(t)
	outside := filepath.Join(storetest.TempDir(t), "outside")
	for _, err := range []error{
		os.Mkdir(outside, 0o755),
		os.Mkdir(filepath.Join(dir, "folder"), 0o755),
		os.WriteFile(filepath.Join(dir, "file"), nil, 0o644),
		os.Symlink(filepath.Join(outside, "linked"), filepath.Join(dir, "link")),
		os.Mkdir(filepath.Join(dir, "tree"), 0o755),
		os.Symlink(outside, filepath.Join(dir, "tree", "a")), // where a folder belongs
		os.Symlink(outside, filepath.Join(dir, "linked-tree")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		sample *storetest.Sample
		target string
		want   error
	}{
		{file, "folder", fs.ErrExist},
		{file, "link", fs.ErrExist},
		{tree, "file", fs.ErrExist},
		{tree, "tree", fs.ErrExist},
		{tree, "linked-tree", fs.ErrExist},
		{file, "missing/file", fs.ErrNotExist},
		{tree, "missing/tree", fs.ErrNotExist},
	} {
		c := here(t, test.sample)
		for _, overwrite := range []bool{false, true} {
			err := c.Export(t.Context(), filepath.Join(dir, test.target), store.ExportOptions{Overwrite: overwrite})
			if !errors.Is(err, test.want) {
				t.Errorf("%s: %v, want %v", test.target, err, test.want)
			}
		}
	}
	if entries, _ := os.ReadDir(outside); len(entries) > 0 {
		t.Errorf("written outside of the target: %v", entries)
	}
	leftovers(t, dir)

	s := open(t, store.Config{})
	defer s.Close()
	c, _ := fetchMost(t, s, tree)
	if err := c.Export(t.Context(), filepath.Join(dir, "partial"), store.ExportOptions{}); !errors.Is(err, content.ErrNotFound) {
		t.Errorf("export of a partial content: %v", err)
	}
}

func TestExportClearsWhatACrashLeft(t *testing.T) {
	sample := storetest.Tree(t, 1)
	c := here(t, sample)
	dir := storetest.TempDir(t)
	target := filepath.Join(dir, "copy")
	// Cancelled while it copies, which removes what was made; put back what a kill
	// would have left: the same folder, with a read-only folder in it.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var left string
	err := c.Export(ctx, target, store.ExportOptions{Progress: func(int64, int64) {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			left = filepath.Join(dir, e.Name())
		}
		cancel()
	}})
	if !errors.Is(err, context.Canceled) || left == "" {
		t.Fatalf("cancelled: %v, left %q", err, left)
	}
	if err := os.MkdirAll(filepath.Join(left, "a", "b"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(left, "a"), 0); err != nil {
		t.Fatal(err)
	}
	if err := c.Export(t.Context(), target, store.ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := sample.Check(target); err != nil {
		t.Error(err)
	}
	leftovers(t, dir)
}

// A linked copy is the store's own file. What the user does to it the store finds
// out, and what the store mends it mends for itself.
func TestExportLinks(t *testing.T) {
	sample := storetest.Tree(t, 3)
	dir := storetest.TempDir(t)
	s, err := store.Open(store.Config{Dir: filepath.Join(dir, "store")}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, _, _ := fetch(t, s, sample)
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(dir, "copy")
	for range 2 { // the second finds it there
		if err := c.Export(t.Context(), target, store.ExportOptions{Link: store.MustLink}); err != nil {
			t.Fatal(err)
		}
		if err := sample.Check(target); err != nil {
			t.Error(err)
		}
	}
	leftovers(t, dir)
	big := filepath.Join(target, "a", "deep", "big.bin")
	theirs, err := os.Stat(big)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := os.Stat(filepath.Join(dir, "store", "content", c.ID().String(), "files", "a", "deep", "big.bin"))
	if err != nil || !os.SameFile(ours, theirs) {
		t.Fatalf("the copy is no link: %v", err)
	}

	if err := os.Chmod(big, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(big, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("the user's own"), 100); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Close(), os.Chmod(big, 0o444)); err != nil {
		t.Fatal(err)
	}
	if bad, err := c.Verify(t.Context(), nil); err != nil || len(bad) == 0 {
		t.Fatalf("the store doesn't notice: %v, %v", bad, err)
	}
	if c, blocks, _ := fetch(t, s, sample); blocks == 0 || !c.Complete() {
		t.Errorf("%d blocks fetched again", blocks)
	}
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if bad, err := c.Verify(t.Context(), nil); err != nil || len(bad) != 0 {
		t.Errorf("not mended: %v, %v", bad, err)
	}
	if got, err := os.ReadFile(big); err != nil || string(got[100:114]) != "the user's own" {
		t.Errorf("what the user wrote was written over: %q, %v", got[100:114], err)
	}
}

func TestExportForWhoRemovesTheContent(t *testing.T) {
	sample := storetest.File(t, 4, 200_000, storetest.Small)
	dir := storetest.TempDir(t)
	s, err := store.Open(store.Config{Dir: filepath.Join(dir, "store")}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, _, _ := fetch(t, s, sample)
	target := filepath.Join(dir, "copy")
	if err := c.Export(t.Context(), target, store.ExportOptions{Link: store.MayLink, Durable: true}); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(c.ID()); err != nil {
		t.Fatal(err)
	}
	if err := sample.Check(target); err != nil {
		t.Error(err)
	}
}
