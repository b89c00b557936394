package store_test

import (
	"errors"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/content/store/disk/disktest"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// lists gives a content all its block lists.
func lists(t *testing.T, c *store.Content, sample *storetest.Sample) {
	t.Helper()
	for chunk, node := range sample.Nodes {
		if err := c.SetBlocks(chunk, node); err != nil {
			t.Fatal(err)
		}
	}
}

// Under a quota that doesn't take both, the old version goes when the new one has
// what they share, and not before.
func TestOldVersionStaysUntilItWasCopied(t *testing.T) {
	v1, v2 := versions(t)
	size := int64(len(v1.Data))
	var gone []content.ID
	s, _ := onPlatter(t, 1<<30, store.Config{Quota: size + size/3, Floor: store.NoFloor, Hooks: store.Hooks{
		Evicted: func(c *store.Content) { gone = append(gone, c.ID()) },
	}})
	whole(t, s, v1)
	age(t, s, v1)
	c, room, err := s.Receive(v2.Encoded)
	if err != nil {
		t.Fatal(err)
	}
	defer room.Release()
	// Nobody else gets the room that is taken, nor does anything else go for it.
	if _, _, err := s.Receive(samples(t, 1, 400_000)[0].Encoded); !errors.Is(err, content.ErrNoSpace) {
		t.Errorf("in the room of what is to come: %v", err)
	}
	if got, err := s.Clean(1<<40, false); err != nil || got.Freed != 0 {
		t.Errorf("%+v, %v: the limits hold", got, err)
	}
	if err := s.Room(0); err != nil {
		t.Errorf("no room for nothing: %v", err)
	}
	lists(t, c, v2)
	copied := reuse(t, c)
	if want := holdsJust(t, c, v2, hashes(v1)); copied != want || want < size*8/10 {
		t.Errorf("%d of %d bytes were copied, want %d", copied, size, want)
	}
	room.Reused()
	room.Reused()
	if got := held(s, v1, v2); got[0] || !got[1] || !slices.Equal(gone, []content.ID{v1.ID}) {
		t.Errorf("here: %v, told of %v", got, gone)
	}
	if sp, err := s.Space(); err != nil || sp.Used+sp.Reserved > sp.Quota {
		t.Errorf("%+v, %v", sp, err)
	}
}

// Who knows that two contents are versions of one thing says so: they may share
// blocks and not a single chunk.
func TestKinStaysUntilItWasCopied(t *testing.T) {
	blocks := storetest.Bytes(1, 200, 4000)
	old := storetest.Compose(t, storetest.Part{Path: "f", Blocks: blocks})
	for i := 0; i < len(blocks); i += 2 { // in every chunk
		blocks[i] = storetest.Bytes(uint64(i+2), 1, 4000)[0]
	}
	next := storetest.Compose(t, storetest.Part{Path: "f", Blocks: blocks})
	for _, kin := range [][]content.ID{nil, {old.ID, next.ID}} {
		s, _ := onPlatter(t, 1<<30, store.Config{Quota: int64(len(old.Data)) * 5 / 4, Floor: store.NoFloor})
		whole(t, s, old)
		age(t, s, old)
		c, room, err := s.Receive(next.Encoded, kin...)
		if err != nil {
			t.Fatal(err)
		}
		lists(t, c, next)
		copied := reuse(t, c)
		if (copied > 0) != (kin != nil) {
			t.Errorf("kin %v: %d bytes copied", kin, copied)
		}
		room.Release()
	}
}

// Where the disk takes only one of both there is no waiting: what doesn't fit is
// found out before the first byte, and the floor holds.
func TestOldVersionGoesWhereTheDiskIsFull(t *testing.T) {
	v1, v2 := versions(t)
	size := int64(len(v1.Data))
	s, p := onPlatter(t, size+size/2, store.Config{Quota: store.NoLimit, Floor: 10_000})
	other := samples(t, 1, 100_000)[0]
	whole(t, s, v1)
	whole(t, s, other)
	age(t, s, v1, other)
	_, room, err := s.Receive(v2.Encoded)
	if err != nil {
		t.Fatal(err)
	}
	defer room.Release()
	if got := held(s, v1, other); got[0] {
		t.Errorf("here: %v", got)
	}
	if free, _, _ := p.space(""); int64(free) < 10_000+size {
		t.Errorf("%d bytes free", free)
	}
}

// A disk that turns out to take less than it says has what is leaving go at once.
func TestFullDiskEndsTheWaiting(t *testing.T) {
	v1, v2 := versions(t)
	size := int64(len(v1.Data))
	model := disktest.New(disktest.POSIX)
	var gone atomic.Bool
	s := open(t, store.Config{
		Dir: "/store", FS: model, Quota: size + size/3, Floor: store.NoFloor,
		Space: func(string) (uint64, uint64, error) { return 1 << 40, 1 << 40, nil },
		Hooks: store.Hooks{Evicted: func(*store.Content) { gone.Store(true) }},
	})
	defer s.Close()
	whole(t, s, v1)
	age(t, s, v1)
	c, room, err := s.Receive(v2.Encoded)
	if err != nil {
		t.Fatal(err)
	}
	defer room.Release()
	lists(t, c, v2)
	model.Fault(func(op disktest.Op) error {
		if op.Kind == disktest.Write && !gone.Load() {
			return syscall.ENOSPC
		}
		return nil
	})
	for _, r := range v2.Refs() {
		if _, err := c.WriteBlock(r.Chunk, r.Block, v2.Block(r.Chunk, r.Block)); err != nil {
			t.Fatal(err)
		}
	}
	if got := held(s, v1); got[0] || !c.Complete() {
		t.Errorf("the old version is here: %v", got)
	}
}

// Who is told of what went may ask the store for anything, and keeps nobody else
// waiting.
func TestEvictedIsToldOutsideOfTheDecision(t *testing.T) {
	x := samples(t, 3, 100_000)
	var s *store.Store
	told := false
	s, _ = onPlatter(t, 1<<30, store.Config{Quota: 150_000, Floor: store.NoFloor, Hooks: store.Hooks{
		Evicted: func(*store.Content) {
			if told {
				return
			}
			told = true
			done := make(chan error)
			go func() {
				room, err := s.Reserve(10)
				if err == nil {
					room.Release()
				}
				done <- err
			}()
			if err := <-done; err != nil {
				t.Error(err)
			}
		},
	}})
	fetch(t, s, x[0])
	age(t, s, x[0])
	_, room, err := s.Receive(x[1].Encoded)
	if err != nil {
		t.Fatal(err)
	}
	room.Release()
	if !told {
		t.Error("not told")
	}
}
