package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"unsafe"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store"
)

// begun makes a content of paths, and begins it in a store of its own, with
// all its lists and no bytes.
func begun(t *testing.T, paths ...string) (*store.Content, *published) {
	t.Helper()
	made, err := publish(t.Context(), newTestStage(t), paths, publishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(store.Config{Dir: t.TempDir(), Floor: store.NoFloor}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	c, err := s.Begin(made.Encoded)
	if err != nil {
		t.Fatal(err)
	}
	for i, list := range made.Blocks {
		node, err := content.EncodeBlocks(list)
		if err == nil {
			err = c.SetBlocks(i, node)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return c, made
}

func seeds(t *testing.T, paths ...string) *seedPool {
	t.Helper()
	p, err := newSeedPool(t.Context(), paths, seedOptions{Workers: 3, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func TestSeedsHaveAllBlocks(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir := t.TempDir()
	for i, size := range []int{1, content.MinBlock, 100_000, publishPieceSize, publishPieceSize + 1, 5<<20 + 13} {
		sample(t, filepath.Join(dir, "tree", fmt.Sprint(i%3), fmt.Sprint(i)), size, uint64(i))
	}
	c, made := begun(t, filepath.Join(dir, "tree"))
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "tree"), link); err != nil {
		link = filepath.Join(dir, "tree") // on Windows not everybody may
	}
	p := seeds(t, link, filepath.Join(dir, "not there"))
	copied, err := c.Reuse(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if copied != made.Manifest.Size() || !c.Complete() {
		t.Errorf("%d of %d bytes were in the seeds", copied, made.Manifest.Size())
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if size := unsafe.Sizeof(seedBlock{}); size > 40 {
		t.Errorf("%d bytes are remembered of a block", size)
	}
}

// What is no plain file of the user's choice is left alone: links lead anywhere, and
// a pipe would be waited for.
func TestSeedsLeaveOut(t *testing.T) {
	dir := t.TempDir()
	outside := sample(t, filepath.Join(dir, "outside"), 50_000, 1)
	tree := filepath.Join(dir, "tree")
	sample(t, filepath.Join(tree, "in"), 50_000, 2)
	sample(t, filepath.Join(tree, "data", "own"), 50_000, 3)
	if runtime.GOOS != "windows" {
		if err := errors.Join(os.Symlink(outside, filepath.Join(tree, "file")), os.Symlink(dir, filepath.Join(tree, "folder"))); err != nil {
			t.Fatal(err)
		}
	}
	p, err := newSeedPool(t.Context(), []string{tree}, seedOptions{Skip: filepath.Join(tree, "data"), Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.files) != 1 || filepath.Base(p.files[0]) != "in" {
		t.Errorf("taken: %v", p.files)
	}
}

// Seeds change while and after they are read. Their blocks are checked when they
// are copied, so nothing wrong comes of it.
func TestSeedsMayChange(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(path string) error{
		"cut":      func(path string) error { return os.Truncate(path, 1<<20) },
		"removed":  os.Remove,
		"replaced": func(path string) error { return os.WriteFile(path, make([]byte, 3<<20), 0o644) },
		"a folder": func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o755)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := sample(t, filepath.Join(dir, "file"), 3<<20, 1)
			c, made := begun(t, file)
			p := seeds(t, file)
			if err := change(file); err != nil {
				t.Fatal(err)
			}
			copied, err := c.Reuse(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			if name == "cut" && (copied == 0 || copied > 1<<20) || name != "cut" && copied > 0 {
				t.Errorf("%d bytes were copied", copied)
			}
			for chunk, list := range made.Blocks {
				for i, b := range list {
					if data, err := c.ReadBlock(chunk, i, nil); err == nil && content.Sum(data) != b.Hash {
						t.Errorf("block %d of chunk %d is wrong", i, chunk)
					}
				}
			}
		})
	}
}

func TestSeedsAreBounded(t *testing.T) {
	dir := t.TempDir()
	for i := range 40 {
		sample(t, filepath.Join(dir, fmt.Sprint(i)), 100, uint64(i))
	}
	large := sample(t, filepath.Join(t.TempDir(), "large"), 8<<20, 1)
	for _, path := range []string{dir, large} {
		core, logs := observer.New(zap.WarnLevel)
		p, err := newSeedPool(t.Context(), []string{path, path}, seedOptions{Limit: 10, Log: zap.New(core)})
		if err != nil {
			t.Fatal(err)
		}
		if len(p.blocks) != 10 || logs.Len() != 1 {
			t.Errorf("%d blocks, %d warnings", len(p.blocks), logs.Len())
		}
	}

	// So are the files that are open.
	p := seeds(t, dir)
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for i := range 40 {
				data, err := os.ReadFile(filepath.Join(dir, fmt.Sprint(i)))
				if err != nil || !p.ReadBlock(content.Sum(data), make([]byte, 100)) {
					t.Errorf("file %d: not found, %v", i, err)
				}
			}
		})
	}
	readers.Wait()
	if len(p.open) > maxSeedFiles {
		t.Errorf("%d files are open", len(p.open))
	}
	if p.ReadBlock(content.Sum(nil), nil) || p.ReadBlock(content.Sum([]byte("else")), make([]byte, 100)) {
		t.Error("found what isn't there")
	}
}

func TestSeedsAreCancelled(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	large := sample(t, filepath.Join(t.TempDir(), "large"), 16<<20, 1)
	ctx, cancel := context.WithCancel(t.Context())
	var told int64
	_, err := newSeedPool(ctx, []string{large, large}, seedOptions{Log: zap.NewNop(), Progress: func(done int64) {
		if done <= told {
			t.Errorf("%d bytes after %d", done, told)
		}
		told = done
		cancel()
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled, and %v", err)
	}
	if told == 0 || told > 8<<20 {
		t.Errorf("%d bytes were read", told)
	}
}
