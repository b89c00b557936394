package store

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/disk"
	"github.com/p2pnode/p2pnode/content/store/disk/disktest"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// Tests of what can't be seen from outside.

func openAt(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(Config{Dir: dir, SyncEvery: 5 * time.Second}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func begin(t testing.TB, s *Store, sample *storetest.Sample) *Content {
	t.Helper()
	c, err := s.Begin(sample.Encoded)
	if err != nil {
		t.Fatal(err)
	}
	for chunk, node := range sample.Nodes {
		if err := c.SetBlocks(chunk, node); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func put(t testing.TB, c *Content, sample *storetest.Sample, refs ...storetest.Ref) {
	t.Helper()
	for _, r := range refs {
		if _, err := c.WriteBlock(r.Chunk, r.Block, sample.Block(r.Chunk, r.Block)); err != nil {
			t.Fatal(err)
		}
	}
}

// unsynced returns how many chunks have blocks that a power cut could take.
func (c *Content) unsynced() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.partial == nil {
		return 0
	}
	return len(c.partial.pending)
}

func TestRunSyncsInTime(t *testing.T) {
	sample := storetest.File(t, 1, 60_000, storetest.Small)
	synctest.Test(t, func(t *testing.T) {
		s := openAt(t, t.TempDir())
		defer s.Close()
		go s.Run(t.Context())
		c := begin(t, s, sample)
		refs := sample.Refs()
		put(t, c, sample, refs[:3]...)
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if c.unsynced() == 0 {
			t.Error("synced before it was time")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if c.unsynced() > 0 {
			t.Error("not synced in time")
		}
		// The last block isn't kept waiting: a whole content is sealed at once.
		put(t, c, sample, refs[3:]...)
		synctest.Wait()
		if c.partial != nil {
			t.Error("not sealed when it was whole")
		}
		if _, err := os.Stat(filepath.Join(c.dir, journalName)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the journal of a complete content: %v", err)
		}
	})
}

// After a sync that failed nothing more is written, and what was not durable counts
// no more: the kernel may have dropped the pages. What is durable is served on. The
// same file is not synced again; what is found right is written again.
func TestFailedSyncEndsWriting(t *testing.T) {
	sample := storetest.File(t, 1, 60_000, storetest.Small)
	model := disktest.New(disktest.POSIX)
	s, err := Open(powerConfig(model), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	c := begin(t, s, sample)
	put(t, c, sample, storetest.Ref{Chunk: 0, Block: 0})
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, c, sample, storetest.Ref{Chunk: 0, Block: 1})
	syncs := 0
	model.Fault(func(op disktest.Op) error {
		if op.Kind == disktest.Sync {
			syncs++
			return syscall.EIO
		}
		return nil
	})
	if err := c.Flush(t.Context()); !errors.Is(err, syscall.EIO) {
		t.Fatalf("a sync that failed: %v", err)
	}
	before := syncs
	if err := c.Flush(t.Context()); !errors.Is(err, syscall.EIO) || syncs > before {
		t.Errorf("a failed sync was tried again: %v", err)
	}
	if got := c.Verified(0); got != 0b01 {
		t.Errorf("verified %b, want 1", got)
	}
	if data, err := c.ReadBlock(0, 0, nil); err != nil || !bytes.Equal(data, sample.Block(0, 0)) {
		t.Errorf("what is durable is not read: %v", err)
	}
	if _, err := c.ReadBlock(0, 1, nil); !errors.Is(err, content.ErrNotFound) {
		t.Errorf("what may be lost was read: %v", err)
	}
	if _, err := c.WriteBlock(0, 2, sample.Block(0, 2)); !errors.Is(err, syscall.EIO) {
		t.Errorf("written after a failed sync: %v", err)
	}
	if err := c.SetBlocks(1, sample.Nodes[1]); !errors.Is(err, syscall.EIO) {
		t.Errorf("a list after a failed sync: %v", err)
	}
	model.Fault(nil)
	if err := s.Close(); !errors.Is(err, syscall.EIO) {
		t.Errorf("closed as if all were well: %v", err)
	}

	s, err = Open(powerConfig(model), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, _ = s.Get(sample.ID)
	if got := c.Verified(0); got != 0b11 {
		t.Errorf("verified %b, want 11", got)
	}
	if c.partial.pending[0] != 0b10 || len(s.files.dirty[c]) == 0 {
		t.Errorf("the block in doubt was not written again: pending %b", c.partial.pending[0])
	}
}

// Once the disk works again so does the content, within 10 s and without a restart
// (G30); and the log was not filled meanwhile.
func TestFailedSyncIsMended(t *testing.T) {
	sample := storetest.File(t, 1, 60_000, storetest.Small)
	synctest.Test(t, func(t *testing.T) {
		model := disktest.New(disktest.POSIX)
		model.DropUnsynced(rand.New(rand.NewPCG(1, 1)))
		core, logs := observer.New(zap.WarnLevel)
		s, err := Open(powerConfig(model), zap.New(core))
		if err != nil {
			t.Fatal(err)
		}
		running := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		go func() { defer close(running); s.Run(ctx) }()
		first := begin(t, s, sample)
		refs := sample.Refs()
		put(t, first, sample, refs[:5]...)
		model.Fault(func(op disktest.Op) error {
			if op.Kind == disktest.Sync {
				return syscall.EIO
			}
			return nil
		})
		time.Sleep(time.Hour)
		if first.failure() == nil || len(s.Trouble()) != 1 {
			t.Errorf("no trouble seen: %v", s.Trouble())
		}
		if n := logs.Len(); n < 1 || n > 2 {
			t.Errorf("%d lines in the log of an hour: %v", n, logs.All())
		}
		model.Fault(nil)
		time.Sleep(10 * time.Second)
		if len(s.Trouble()) != 0 {
			t.Errorf("trouble that is over: %v", s.Trouble())
		}
		if err := first.ended(); err == nil {
			t.Error("the old is in use")
		}
		if _, ok := s.Get(sample.ID); !ok {
			t.Fatal("it is gone")
		}
		c := begin(t, s, sample) // lists may be lost
		put(t, c, sample, refs...)
		synctest.Wait()
		if c.partial != nil {
			t.Error("not complete on disk")
		}
		if err := rightBytes(c, sample); err != nil {
			t.Error(err)
		}
		cancel()
		<-running
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A kill between the steps of sealing leaves both files, or a journal that has
// all: either is complete again.
func TestSealIsFinished(t *testing.T) {
	sample := storetest.File(t, 1, 60_000, storetest.Small)
	dir := t.TempDir()
	s := openAt(t, dir)
	c := begin(t, s, sample)
	put(t, c, sample, sample.Refs()...)
	// Everything but the seal.
	c.partial.bytes--
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.partial.bytes++
	journal, err := os.ReadFile(filepath.Join(c.dir, journalName))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(c.dir, listsName)); err != nil {
		t.Fatal(err)
	}
	for _, both := range []bool{true, false} {
		if err := os.WriteFile(filepath.Join(c.dir, journalName), journal, disk.FileMode); err != nil {
			t.Fatal(err)
		}
		if !both {
			if err := os.Remove(filepath.Join(c.dir, listsName)); err != nil {
				t.Fatal(err)
			}
		}
		s = openAt(t, dir)
		c, ok := s.Get(sample.ID)
		if !ok || !c.Complete() {
			t.Errorf("blocks file beside the journal %v: not complete", both)
		}
		if _, err := os.Stat(filepath.Join(c.dir, listsName)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("blocks file beside the journal %v: still there, %v", both, err)
		}
		if err := c.Flush(t.Context()); err != nil || c.partial != nil {
			t.Errorf("blocks file beside the journal %v: not sealed, %v", both, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenSweepsWhatWasBeingMade(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir)
	if _, err := s.Stage(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		os.Mkdir(filepath.Join(s.root(), oldPrefix+"x"), disk.FolderMode),
		os.Mkdir(filepath.Join(s.root(), "foreign"), disk.FolderMode),
		s.Close()); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, dir)
	defer s.Close()
	entries, err := os.ReadDir(s.root())
	if err != nil || len(entries) != 1 || entries[0].Name() != "foreign" {
		t.Errorf("left: %v, %v", entries, err)
	}
}

// A tree of many files takes few descriptors, however it is written and read.
func TestOpenFilesAreBounded(t *testing.T) {
	const count = 3 * maxDirty
	files := []content.File{{Path: ".", Mode: fs.ModeDir | 0o755}}
	for i := range count {
		files = append(files, content.File{Path: "f" + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676)), Size: 10, Mode: 0o644})
	}
	sample := storetest.New(t, 1, storetest.Shape{Block: 100, Blocks: 16}, sortFiles(files)...)
	s := openAt(t, t.TempDir())
	defer s.Close()
	c := begin(t, s, sample)
	var most int
	note := func() {
		s.files.mu.Lock()
		defer s.files.mu.Unlock()
		most = max(most, len(s.files.open))
	}
	var writers sync.WaitGroup
	const atOnce = 8
	for w := range atOnce {
		writers.Go(func() {
			for i, r := range sample.Refs() {
				if i%atOnce == w {
					if _, err := c.WriteBlock(r.Chunk, r.Block, sample.Block(r.Chunk, r.Block)); err != nil {
						t.Error(err)
					}
					note()
				}
			}
		})
	}
	writers.Wait()
	if limit := maxDirty + maxIdle + 2*atOnce; most > limit || most < maxDirty {
		t.Errorf("%d files were open while %d were written, want at most %d", most, count, limit)
	}
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	most = 0
	for _, r := range sample.Refs() {
		if _, err := c.ReadBlock(r.Chunk, r.Block, nil); err != nil {
			t.Fatal(err)
		}
		note()
	}
	if most > maxIdle+1 {
		t.Errorf("%d files were open while they were read, want at most %d", most, maxIdle+1)
	}
}

func TestLargeStoreTakesLittleMemory(t *testing.T) {
	const limit = 20 << 20 // of 100,000 chunks
	sample := storetest.File(t, 1, 1_300_000, storetest.Shape{Block: 24, Blocks: 1})
	chunks := int64(len(sample.Nodes))
	if chunks < 100_000 {
		t.Fatalf("%d chunks", chunks)
	}
	dir := t.TempDir()
	s := openAt(t, dir)
	stage, err := s.Stage()
	if err != nil {
		t.Fatal(err)
	}
	f, err := stage.Create(sample.Manifest.Files[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(sample.Data); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := stage.Commit(sample.Encoded, sample.Blocks); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // what the first put into pools' second rows
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	start := time.Now()
	s = openAt(t, dir)
	took := time.Since(start)
	defer s.Close()
	c, ok := s.Get(sample.ID)
	if !ok || !c.Complete() {
		t.Fatal("not there")
	}
	for i := range 3 * maxLists {
		if _, ok := c.Blocks(i * 11); !ok {
			t.Fatal("no list")
		}
	}
	grown := int64(heap()) - int64(before)
	t.Logf("%d chunks take %d KiB, and %v to open", chunks, grown>>10, took)
	if grown*100_000/chunks > limit {
		t.Errorf("%d chunks take %d bytes", chunks, grown)
	}
	if got := len(s.lists.lists); got > maxLists {
		t.Errorf("%d lists in memory, the limit is %d", got, maxLists)
	}
	runtime.KeepAlive(sample)
}

// sortFiles puts files in the order of a manifest.
func sortFiles(files []content.File) []content.File {
	slices.SortFunc(files, func(a, b content.File) int { return strings.Compare(a.Path, b.Path) })
	return files
}
