package store

import (
	"errors"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/disk/disktest"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// Tests of contents whose use has ended.

// Who waits for changes and asks again at once, as who serves does, is no danger to
// who ends the content in more than one step: evicted, it is retired and then shut.
func TestEndedContentIsTold(t *testing.T) {
	sample := storetest.File(t, 1, 60_000, storetest.Small)
	s := openAt(t, t.TempDir())
	defer s.Close()
	c := begin(t, s, sample)
	put(t, c, sample, sample.Refs()...)
	changed := c.Changed()
	if !c.retire() {
		t.Fatal("not retired")
	}
	<-changed
	<-c.Changed()
	if removed, err := s.removeRetired(c); !removed || err != nil {
		t.Fatalf("removed %v, %v", removed, err)
	}
	<-c.Changed()
}

// A content that is published while it is being evicted is there after that.
func TestPublishedWhileEvicted(t *testing.T) {
	sample := storetest.File(t, 1, 60_000, storetest.Small)
	s := openAt(t, t.TempDir())
	defer s.Close()
	old := begin(t, s, sample)
	put(t, old, sample, sample.Refs()...)
	if !old.retire() {
		t.Fatal("not retired")
	}
	stage, err := s.Stage()
	if err != nil {
		t.Fatal(err)
	}
	f, err := stage.Create(sample.Manifest.Files[0].Path)
	if err == nil {
		_, err = f.Write(sample.Data)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	made, err := stage.Commit(sample.Encoded, sample.Blocks)
	if err != nil {
		t.Fatal(err)
	}
	if removed, err := s.removeRetired(old); removed || err != nil {
		t.Errorf("removed %v, %v: another is in its place", removed, err)
	}
	if now, ok := s.Get(sample.ID); !ok || now != made || made.ended() != nil || !made.Complete() {
		t.Errorf("what was published is gone: %v, %v", ok, made.ended())
	}
}

// The trouble with a content ends with it.
func TestTroubleEndsWithTheContent(t *testing.T) {
	sample := storetest.File(t, 1, 60_000, storetest.Small)
	model := disktest.New(disktest.POSIX)
	s, err := Open(powerConfig(model), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := begin(t, s, sample)
	put(t, c, sample, storetest.Ref{Chunk: 0, Block: 0})
	model.Fault(func(op disktest.Op) error {
		if op.Kind == disktest.Sync {
			return syscall.EIO
		}
		return nil
	})
	s.tell(c.id, "content not made durable", c.Flush(t.Context()))
	if len(s.Trouble()) != 1 {
		t.Fatalf("trouble: %v", s.Trouble())
	}
	model.Fault(nil)
	if err := s.Remove(c.id); err != nil {
		t.Fatal(err)
	}
	if got := s.Trouble(); len(got) > 0 {
		t.Errorf("trouble with what was removed: %v", got)
	}
}

// A content may be removed while others are evicted for what is written to it.
func TestRemovedWhileItsWriterMakesRoom(t *testing.T) {
	sample, other := storetest.File(t, 1, 60_000, storetest.Small), storetest.File(t, 2, 60_000, storetest.Small)
	var looks atomic.Int32 // at a disk that is full
	var full func()
	s, err := Open(Config{Dir: t.TempDir(), Floor: 1 << 20, Space: func(string) (free, total uint64, err error) {
		if full == nil {
			return 1 << 40, 1 << 40, nil
		}
		if looks.Add(1) == 2 { // the first look was the writer's, this one is at what to evict
			full()
		}
		return 0, 1 << 40, nil
	}}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	old := begin(t, s, other)
	put(t, old, other, other.Refs()...)
	c := begin(t, s, sample)
	removed := make(chan error, 1)
	full = func() {
		changed := c.Changed()
		go func() { removed <- s.Remove(c.id) }()
		<-changed
	}
	s.granted.Store(0)
	wrote := make(chan error, 1)
	go func() {
		_, err := c.WriteBlock(0, 0, sample.Block(0, 0))
		wrote <- err
	}()
	for _, done := range []chan error{removed, wrote} {
		select {
		case err = <-done:
		case <-time.After(time.Minute):
			t.Fatal("who writes and who removes wait for each other")
		}
	}
	if !errors.Is(err, content.ErrNotFound) {
		t.Errorf("written to a content that is gone: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
