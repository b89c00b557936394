package storetest

import (
	"bytes"
	"errors"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/content"
)

// Tests of blocks that come one by one.

func (s suite[C, S, T]) fetched(t *testing.T) {
	for _, sample := range []*Sample{File(t, 1, 100_000, Small), Tree(t, 2)} {
		st := s.store(t)
		c := s.begin(t, st, sample)
		if c.ID() != sample.ID || !bytes.Equal(c.Encoded().Root, sample.Root) {
			t.Error("another content began")
		}
		for i, node := range sample.Nodes {
			got, ok := c.Node(i)
			list, ok2 := c.Blocks(i)
			if !ok || !ok2 || !bytes.Equal(got, node) || len(list) != len(sample.Blocks[i]) {
				t.Errorf("list of chunk %d is another", i)
			}
		}
		refs := sample.Shuffled(3)
		check(t, c, sample, nil)
		put(t, c, sample, refs[:len(refs)/2]...)
		check(t, c, sample, refs[:len(refs)/2])
		put(t, c, sample, refs[len(refs)/2:]...)
		check(t, c, sample, refs)
		if err := c.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		check(t, c, sample, refs)
		if again, err := st.Begin(sample.Encoded); err != nil || again != c {
			t.Errorf("begun again: another, or %v", err)
		}
	}
}

func (s suite[C, S, T]) wrong(t *testing.T) {
	sample, other := File(t, 1, 50_000, Small), File(t, 2, 50_000, Small)
	st := s.store(t)
	c, err := st.Begin(sample.Encoded)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.WriteBlock(0, 0, sample.Block(0, 0)); !errors.Is(err, content.ErrNotFound) {
		t.Errorf("block of a chunk without list: %v", err)
	}
	if err := c.SetBlocks(0, other.Nodes[0]); !errors.Is(err, content.ErrCorrupt) {
		t.Errorf("list of another chunk: %v", err)
	}
	if err := c.SetBlocks(len(sample.Nodes), sample.Nodes[0]); !errors.Is(err, content.ErrNotFound) {
		t.Errorf("list of a chunk beyond the last: %v", err)
	}
	if _, ok := c.Blocks(0); ok {
		t.Error("a wrong list was taken")
	}
	if err := c.SetBlocks(0, sample.Nodes[0]); err != nil {
		t.Fatal(err)
	}
	right := sample.Block(0, 1)
	flipped := bytes.Clone(right)
	flipped[len(flipped)/2] ^= 4
	for name, data := range map[string][]byte{
		"flipped": flipped, "short": right[:len(right)-1], "long": append(bytes.Clone(right), 0),
		"another block": sample.Block(0, 2), "nothing": nil,
	} {
		if fresh, err := c.WriteBlock(0, 1, data); fresh || !errors.Is(err, content.ErrCorrupt) {
			t.Errorf("%s: fresh %v, %v", name, fresh, err)
		}
	}
	for _, r := range []Ref{{0, -1}, {0, len(sample.Blocks[0])}, {-1, 0}, {len(sample.Blocks), 0}} {
		if _, err := c.WriteBlock(r.Chunk, r.Block, right); !errors.Is(err, content.ErrNotFound) {
			t.Errorf("write of block %v: %v", r, err)
		}
		if _, err := c.ReadBlock(r.Chunk, r.Block, nil); !errors.Is(err, content.ErrNotFound) {
			t.Errorf("read of block %v: %v", r, err)
		}
	}
	check(t, c, sample, nil)
	bad := sample.Encoded
	bad.Root = bytes.Clone(bad.Root)
	bad.Root[20] ^= 1
	if _, err := st.Begin(bad); !errors.Is(err, content.ErrCorrupt) {
		t.Errorf("begin with a damaged manifest: %v", err)
	}
}

func (s suite[C, S, T]) once(t *testing.T) {
	sample := File(t, 1, 50_000, Small)
	c := s.begin(t, s.store(t), sample)
	refs := sample.Refs()
	put(t, c, sample, refs...)
	for _, data := range [][]byte{sample.Block(0, 0), []byte("anything")} {
		if fresh, err := c.WriteBlock(0, 0, data); fresh || err != nil {
			t.Errorf("a block twice: fresh %v, %v", fresh, err)
		}
	}
	check(t, c, sample, refs)
}

func (s suite[C, S, T]) unverified(t *testing.T) {
	sample := File(t, 1, 50_000, Small)
	c := s.begin(t, s.store(t), sample)
	if _, err := c.ReadBlock(0, 0, nil); !errors.Is(err, content.ErrNotFound) {
		t.Errorf("read of a block that isn't here: %v", err)
	}
	put(t, c, sample, Ref{0, 0}, Ref{1, 2})
	check(t, c, sample, []Ref{{0, 0}, {1, 2}})
}

func (s suite[C, S, T]) reopened(t *testing.T) {
	for _, sample := range []*Sample{File(t, 1, 200_000, Small), Tree(t, 2)} {
		dir := t.TempDir()
		refs := sample.Shuffled(5)
		for n := 0; ; {
			st := s.open(t, dir)
			c := s.begin(t, st, sample) // lists that are known are no error
			check(t, c, sample, refs[:n])
			more := min(7, len(refs)-n)
			put(t, c, sample, refs[n:n+more]...)
			if err := st.Close(); err != nil {
				t.Fatal(err)
			}
			if n += more; more == 0 {
				break
			}
		}
	}
}

func (s suite[C, S, T]) changes(t *testing.T) {
	sample := File(t, 1, 50_000, Small)
	st := s.store(t)
	c := s.begin(t, st, sample)
	changed := c.Changed()
	for block := range sample.Blocks[0] {
		select {
		case <-changed:
			t.Fatal("told of a chunk before it is whole")
		default:
		}
		grown := c.Grown()
		select {
		case <-grown:
			t.Fatal("told of a block before it is here")
		default:
		}
		put(t, c, sample, Ref{0, block})
		<-grown // or the test times out
	}
	<-changed
	changed = c.Changed()
	grown := c.Grown()
	select {
	case <-changed:
		t.Error("told of a change that was before the call")
	default:
	}
	if err := st.Remove(sample.ID); err != nil {
		t.Fatal(err)
	}
	<-changed
	<-grown
	<-c.Changed()
	<-c.Grown()
}

func (s suite[C, S, T]) concurrent(t *testing.T) {
	sample := Tree(t, 1)
	st := s.store(t)
	c, err := st.Begin(sample.Encoded)
	if err != nil {
		t.Fatal(err)
	}
	// Three write everything, in different orders, while others read and flush.
	var fresh [3]int
	var writers, others errgroup.Group
	for w := range fresh {
		writers.Go(func() error {
			for _, r := range sample.Shuffled(uint64(w)) {
				if err := c.SetBlocks(r.Chunk, sample.Nodes[r.Chunk]); err != nil {
					return err
				}
				f, err := c.WriteBlock(r.Chunk, r.Block, sample.Block(r.Chunk, r.Block))
				if err != nil {
					return err
				}
				if f {
					fresh[w]++
				}
			}
			return nil
		})
	}
	for w := range 2 {
		others.Go(func() error {
			for !c.Complete() {
				for _, r := range sample.Shuffled(uint64(w + 7)) {
					got, err := c.ReadBlock(r.Chunk, r.Block, nil)
					if err == nil && !bytes.Equal(got, sample.Block(r.Chunk, r.Block)) {
						return errors.New("read wrong bytes")
					}
					if err != nil && !errors.Is(err, content.ErrNotFound) {
						return err
					}
				}
				c.Have()
				st.Find(sample.Manifest.Chunks[0].Hash)
			}
			return nil
		})
	}
	others.Go(func() error {
		for !c.Complete() {
			if err := c.Flush(t.Context()); err != nil {
				return err
			}
		}
		return c.Flush(t.Context())
	})
	if err := writers.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := others.Wait(); err != nil {
		t.Fatal(err)
	}
	if got, want := fresh[0]+fresh[1]+fresh[2], len(sample.Refs()); got != want {
		t.Errorf("%d blocks counted, there are %d", got, want)
	}
	check(t, c, sample, sample.Refs())
}
