package store_test

import (
	"testing"

	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// What is reserved for a content is what it takes in the end, and both together are
// that all the way.
func TestWhatIsReservedIsUsed(t *testing.T) {
	for _, sample := range []*storetest.Sample{storetest.Tree(t, 1), storetest.File(t, 2, 50_000, storetest.Small), storetest.Compose(t, storetest.Part{Path: "empty"})} {
		s := open(t, store.Config{BlockSize: 4096})
		cost := s.Cost(sample.Manifest.Files)
		if cost < int64(len(sample.Data))+4096 || cost%512 != 0 {
			t.Errorf("%d bytes cost %d", len(sample.Data), cost)
		}
		c, room, err := s.Receive(sample.Encoded)
		if err != nil {
			t.Fatal(err)
		}
		check := func() (sp store.Space) {
			t.Helper()
			sp, err := s.Space()
			if err != nil || sp.Used+sp.Reserved != cost {
				t.Fatalf("%d used and %d reserved of %d, with %d of %d bytes here: %v", sp.Used, sp.Reserved, cost, c.Progress(), len(sample.Data), err)
			}
			return sp
		}
		check()
		lists(t, c, sample)
		for _, r := range sample.Refs() {
			if _, err := c.WriteBlock(r.Chunk, r.Block, sample.Block(r.Chunk, r.Block)); err != nil {
				t.Fatal(err)
			}
			check()
		}
		if sp := check(); sp.Reserved != 0 {
			t.Errorf("%d reserved of a whole content", sp.Reserved)
		}
		room.Release()
		if sp := check(); sp.Reserved != 0 || c.Occupies() != cost {
			t.Errorf("%+v", sp)
		}
		if got, err := s.Clean(0, false); err != nil || got.Freed != cost {
			t.Errorf("%+v, %v", got, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
