package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
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

// After a sync that failed nothing is counted as durable, or served: the kernel
// may have dropped the pages. What Open finds right is written again.
func TestFailedSyncEndsUse(t *testing.T) {
	sample := storetest.File(t, 1, 60_000, storetest.Small)
	dir := t.TempDir()
	s := openAt(t, dir)
	c := begin(t, s, sample)
	put(t, c, sample, storetest.Ref{Chunk: 0, Block: 0})
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, c, sample, storetest.Ref{Chunk: 0, Block: 1})
	for h := range s.files.dirty[c] {
		h.File.Close() // what the sync will trip over
	}
	if err := c.Flush(t.Context()); err == nil {
		t.Fatal("a sync that failed is no error")
	}
	if err := c.Flush(t.Context()); err == nil {
		t.Error("a failed sync was tried again")
	}
	if _, err := c.ReadBlock(0, 0, nil); err == nil {
		t.Error("read after a failed sync")
	}
	if _, err := c.WriteBlock(0, 2, sample.Block(0, 2)); err == nil {
		t.Error("written after a failed sync")
	}
	if _, _, ok := s.Find(sample.Manifest.Chunks[0].Hash); ok {
		t.Error("found after a failed sync")
	}
	if err := s.Close(); err == nil {
		t.Error("closed as if all were well")
	}

	s = openAt(t, dir)
	defer s.Close()
	c, _ = s.Get(sample.ID)
	if got := c.Verified(0); got != 0b11 {
		t.Errorf("verified %b, want 11", got)
	}
	if c.partial.pending[0] != 0b10 || len(s.files.dirty[c]) == 0 {
		t.Errorf("the block in doubt was not written again: pending %b", c.partial.pending[0])
	}
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
		if err := os.WriteFile(filepath.Join(c.dir, journalName), journal, fileMode); err != nil {
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
	stage, err := s.Stage()
	if err != nil {
		t.Fatal(err)
	}
	stage.root.Close()
	if err := errors.Join(
		os.Mkdir(filepath.Join(s.root(), oldPrefix+"x"), folderMode),
		os.Mkdir(filepath.Join(s.root(), "foreign"), folderMode),
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
