package storetest

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/disk"
)

// A Store is what the suite asks of a store whose contents are C, and stages S.
type Store[C Content, S Stage[C]] interface {
	Stage() (S, error)
	Begin(content.Encoded) (C, error)
	Get(content.ID) (C, bool)
	List() []C
	Find(chunk content.Hash) (c C, ordinal int, ok bool)
	Remove(content.ID) error
	Close() error
}

// A Content is what the suite asks of one content.
type Content interface {
	comparable
	ID() content.ID
	Manifest() *content.Manifest
	Encoded() content.Encoded
	Blocks(chunk int) ([]content.Block, bool)
	Node(chunk int) ([]byte, bool)
	SetBlocks(chunk int, node []byte) error
	Verified(chunk int) uint64
	Have() *roaring.Bitmap
	Complete() bool
	Progress() int64
	Changed() <-chan struct{}
	Grown() <-chan struct{}
	WriteBlock(chunk, block int, data []byte) (fresh bool, err error)
	ReadBlock(chunk, block int, buf []byte) ([]byte, error)
	Flush(context.Context) error
	Releases() [][]byte
	AddRelease(envelope []byte) error
}

// A Stage is what the suite asks of a stage.
type Stage[C Content] interface {
	Mkdir(path string) error
	Create(path string) (disk.File, error)
	Open(path string) (disk.File, error)
	Commit(content.Encoded, [][]content.Block) (C, error)
	Abort() error
}

// Run runs the suite. open opens the store that is kept in dir, and doesn't close
// it; each test opens its own, and some again after they closed it.
func Run[C Content, S Stage[C], T Store[C, S]](t *testing.T, open func(t *testing.T, dir string) T) {
	s := suite[C, S, T]{open}
	t.Run("FetchedBlocksCanBeRead", s.fetched)
	t.Run("WrongBytesNeverCount", s.wrong)
	t.Run("BlocksCountOnce", s.once)
	t.Run("PublishedContentIsComplete", s.published)
	t.Run("PublishingWhatIsHere", s.publishedTwice)
	t.Run("PublishingChecks", s.publishedWrong)
	t.Run("NothingIsReadUnverified", s.unverified)
	t.Run("ProgressSurvivesClose", s.reopened)
	t.Run("ChunksAreFoundWhereTheyAre", s.found)
	t.Run("RemovedContentIsGone", s.removed)
	t.Run("RemoveWhileInUse", s.removedInUse)
	t.Run("ChangesAreTold", s.changes)
	t.Run("ReleasesAreKept", s.releases)
	t.Run("ManyAtOnce", s.concurrent)
	t.Run("EmptyContentIsComplete", s.empty)
	t.Run("ClosedStoreRefuses", s.closed)
}

type suite[C Content, S Stage[C], T Store[C, S]] struct {
	open func(t *testing.T, dir string) T
}

// store opens a new store that is closed at the end of the test.
func (s suite[C, S, T]) store(t *testing.T) T {
	st := s.open(t, t.TempDir())
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return st
}

// begin begins a sample whose block lists are known.
func (s suite[C, S, T]) begin(t *testing.T, st T, sample *Sample) C {
	t.Helper()
	c, err := st.Begin(sample.Encoded)
	if err != nil {
		t.Fatal(err)
	}
	for i, node := range sample.Nodes {
		if err := c.SetBlocks(i, node); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// put writes blocks, each of which must be fresh.
func put[C Content](t *testing.T, c C, sample *Sample, refs ...Ref) {
	t.Helper()
	for _, r := range refs {
		if fresh, err := c.WriteBlock(r.Chunk, r.Block, sample.Block(r.Chunk, r.Block)); err != nil || !fresh {
			t.Fatalf("write %v: fresh %v, %v", r, fresh, err)
		}
	}
}

// check checks that exactly these blocks of the sample are in c, with their bytes.
func check[C Content](t *testing.T, c C, sample *Sample, refs []Ref) {
	t.Helper()
	masks := make([]uint64, len(sample.Blocks))
	have := roaring.New()
	var size int64
	for _, r := range refs {
		masks[r.Chunk] |= 1 << r.Block
		size += int64(sample.Blocks[r.Chunk][r.Block].Size)
	}
	var buf []byte
	for chunk, list := range sample.Blocks {
		if masks[chunk] == 1<<len(list)-1 {
			have.Add(uint32(chunk))
		}
		if got := c.Verified(chunk); got != masks[chunk] {
			t.Errorf("chunk %d: verified %b, want %b", chunk, got, masks[chunk])
		}
		for block := range list {
			got, err := c.ReadBlock(chunk, block, buf)
			if masks[chunk]&(1<<block) == 0 {
				if !errors.Is(err, content.ErrNotFound) {
					t.Errorf("read of block %d of chunk %d, which isn't here: %v", block, chunk, err)
				}
				continue
			}
			if err != nil || !bytes.Equal(got, sample.Block(chunk, block)) {
				t.Errorf("read block %d of chunk %d: wrong bytes, or %v", block, chunk, err)
			}
			buf = got
		}
	}
	if got := c.Have(); !got.Equals(have) {
		t.Errorf("have %v, want %v", got, have)
	}
	if got := c.Progress(); got != size {
		t.Errorf("progress %d, want %d", got, size)
	}
	if got, want := c.Complete(), size == int64(len(sample.Data)); got != want {
		t.Errorf("complete: %v, want %v", got, want)
	}
}
