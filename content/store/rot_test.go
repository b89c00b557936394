package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/disk/disktest"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// decays are what happens to files on disks. Nil is a file that is gone.
var decays = map[string]func(r *rand.Rand, data []byte) []byte{
	"bit flip": func(r *rand.Rand, data []byte) []byte {
		data[r.IntN(len(data))] ^= 1 << r.IntN(8)
		return data
	},
	"truncate": func(r *rand.Rand, data []byte) []byte { return data[:r.IntN(len(data))] },
	"zero page": func(r *rand.Rand, data []byte) []byte {
		const page = 512 // small, as the files are
		at := r.IntN(len(data)) / page * page
		clear(data[at:min(at+page, len(data))])
		return data
	},
	"NUL fill": func(_ *rand.Rand, data []byte) []byte { clear(data); return data },
	"delete":   func(*rand.Rand, []byte) []byte { return nil },
}

// decay damages a file, or removes it.
func decay(model *disktest.FS, name string, r *rand.Rand, how func(*rand.Rand, []byte) []byte) (changed bool, err error) {
	gone := false
	err = model.Damage(name, func(data []byte) []byte {
		if len(data) == 0 {
			gone = how(r, []byte{0}) == nil
			return data
		}
		before := string(data)
		data = how(r, data)
		gone, changed = data == nil, string(data) != before
		return data
	})
	if err == nil && gone {
		return true, model.Remove(name)
	}
	return changed, err
}

// built is a disk with a store that has these contents, just killed: the last in
// part, and the others complete.
func built(t *testing.T, samples ...*storetest.Sample) (*disktest.Image, promises) {
	t.Helper()
	w := newWorld(t, disktest.POSIX, 1, nil)
	w.samples = samples
	w.promises.Store(&promises{samples: w.samples, of: slices.Collect(func(yield func(promise) bool) {
		for _, s := range w.samples {
			yield(nothing(s))
		}
	})})
	w.written = slices.Clone(w.promises.Load().of)
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	for i := range samples {
		for _, action := range [][]string{{"publish"}, {"begin", "fill", "flush"}, {"begin", "write", "flush"}}[min(i, 2)] {
			if err := w.act(action, i); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.act("release", i); err != nil {
			t.Fatal(err)
		}
		if err := w.s.List()[0].Pin(true); err != nil {
			t.Fatal(err)
		}
		w.promise(i, func(p *promise) { p.pinned = []bool{true, false} })
	}
	w.s.blocks.current(t.Context())
	return w.model.Image(), *w.promises.Load()
}

// segmented returns a sample whose manifest is split.
func segmented(t *testing.T) *storetest.Sample {
	files := []content.File{{Path: ".", Mode: fs.ModeDir | 0o755}, {Path: "a", Size: 1000, Mode: 0o644}}
	for i := range 5000 {
		files = append(files, content.File{Path: fmt.Sprintf("b%0200d", i), Mode: 0o644})
	}
	s := storetest.New(t, 5, storetest.Small, files...)
	if len(s.Segments) < 2 {
		t.Fatalf("%d segments", len(s.Segments))
	}
	return s
}

// Every state file is deleted, cut and damaged in turn. What counts is right, what
// is on the disk is not lost, and all can be repaired by getting it again (G34).
func TestDamagedStateIsRebuiltOrRefused(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	kinds := make(map[string]int)
	states := damageStates(t, seed, 15, kinds, powerSamples(t)[:3]...)
	states += damageStates(t, seed, 1, kinds, segmented(t))
	for _, want := range []string{"root", "segments", "journal", "blocks", "releases", "state", "lock", "index"} {
		if kinds[want] == 0 {
			t.Errorf("no file %s was damaged", want)
		}
	}
	t.Logf("%d damaged states of %v, seed %d", states, kinds, seed)
}

// damageStates damages each state file of a store with these contents, and counts
// how many of each kind there are.
func damageStates(t *testing.T, seed uint64, tries int, kinds map[string]int, samples ...*storetest.Sample) (states int) {
	t.Helper()
	image, promised := built(t, samples...)
	files, err := image.Kill().Files(powerDir)
	if err != nil {
		t.Fatal(err)
	}
	if testing.Short() || raceEnabled {
		tries = min(tries, 3)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		dir, base := path.Split(name)
		switch {
		case isData("/" + name):
			continue
		case strings.HasSuffix(dir, "/segments/"):
			base = "segments"
		case strings.HasPrefix(name, "index/"):
			base = "index"
		}
		kinds[base]++
		for kind, how := range decays {
			for try := range tries {
				r := rand.New(rand.NewPCG(seed, uint64(try)))
				states++
				if err := promised.afterDecay(image.Kill(), powerDir+"/"+name, base, r, how); err != nil {
					t.Errorf("seed %d: %s, %s, try %d: %v", seed, name, kind, try, err)
				}
			}
		}
	}
	return states
}

// afterDecay damages a file and checks what the store makes of it.
func (p promises) afterDecay(model *disktest.FS, name, base string, r *rand.Rand, how func(*rand.Rand, []byte) []byte) error {
	if _, err := decay(model, name, r, how); err != nil {
		return err
	}
	// Cut between two records, it is as if the lists behind had never come.
	cut := base == journalName && !endsInside(model, name)
	s, err := Open(powerConfig(model), zap.NewNop())
	if err != nil {
		return err
	}
	for i, sample := range p.samples {
		mine := strings.Contains(name, sample.ID.String())
		c, ok := s.Get(sample.ID)
		if !mine {
			if err := p.checkContent(s, i); err != nil {
				return fmt.Errorf("content %d, which is not damaged: %w", i, err)
			}
			continue
		}
		if ok {
			// A list that is damaged where it stands is met when it is read.
			if _, err := c.Verify(context.Background(), nil); err != nil {
				return fmt.Errorf("verify: %w", err)
			}
			if err := rightBytes(c, sample); err != nil {
				return err
			}
		} else if base != "root" && base != "segments" {
			return errors.New("is not there any more")
		}
		fetched, err := refetch(s, sample)
		if err != nil {
			return fmt.Errorf("get it again: %w", err)
		}
		held := 0
		for _, mask := range p.of[i].blocks {
			for ; mask != 0; mask &= mask - 1 {
				held++
			}
		}
		if all := len(sample.Refs()); fetched > all-held && !cut {
			return fmt.Errorf("%d blocks of %d were fetched, and %d are on the disk", fetched, all, held)
		}
	}
	return s.Close()
}

// endsInside reports whether a journal ends within a record.
func endsInside(model *disktest.FS, name string) bool {
	files, err := model.Files(name)
	if err != nil {
		return true // it is gone
	}
	size := int64(len(files[""]))
	end, err := readJournal(bytes.NewReader(files[""]), size, journalMagic, func(record) error { return nil })
	return err != nil || end < size
}

// refetch gets a content again, and returns how many blocks that took.
func refetch(s *Store, sample *storetest.Sample) (fetched int, err error) {
	c, err := s.Begin(sample.Encoded)
	if err != nil {
		return 0, err
	}
	for chunk, node := range sample.Nodes {
		if err := c.SetBlocks(chunk, node); err != nil {
			return 0, err
		}
		for block := range sample.Blocks[chunk] {
			fresh, err := c.WriteBlock(chunk, block, sample.Block(chunk, block))
			if err != nil {
				return 0, err
			}
			if fresh {
				fetched++
			}
		}
	}
	if err := c.Flush(context.Background()); err != nil {
		return 0, err
	}
	if !c.Complete() {
		return 0, errors.New("not complete")
	}
	return fetched, rightBytes(c, sample)
}

// Files of contents are damaged 1,000 times. Nothing wrong is ever given out, not
// before Verify and not after; Verify finds all of it; all of it is fetched again
// (G16).
func TestBitRot(t *testing.T) {
	t.Parallel()
	const times = 1000
	image, promised := built(t, powerSamples(t)[:3]...)
	seed := rand.Uint64()
	kinds := slices.Sorted(maps.Keys(decays))
	kinds = append(kinds, "swap two files")
	found := 0
	for n := range times {
		r := rand.New(rand.NewPCG(seed, uint64(n)))
		kind := kinds[n%len(kinds)]
		model := image.Kill()
		i := n / len(kinds) % 2
		if kind == "swap two files" {
			i = 1
		}
		damaged, err := promised.rotOnce(model, i, kind, r)
		if err != nil {
			t.Errorf("seed %d: %d, %s of content %d: %v", seed, n, kind, i, err)
		}
		if damaged {
			found++
		}
	}
	if found < times*9/10 {
		t.Errorf("only %d of %d changed anything", found, times)
	}
	t.Logf("%d damages found, seed %d", found, seed)
}

// rotOnce damages a file of a complete content, and reports whether that made a
// difference.
func (p promises) rotOnce(model *disktest.FS, i int, kind string, r *rand.Rand) (damaged bool, err error) {
	sample := p.samples[i]
	s, err := Open(powerConfig(model), zap.NewNop())
	if err != nil {
		return false, err
	}
	c, ok := s.Get(sample.ID)
	if !ok || !c.Complete() {
		return false, errors.New("is not complete")
	}
	if r.IntN(2) == 0 { // some were read before, and are trusted for a while
		if err := rightBytes(c, sample); err != nil {
			return false, err
		}
		if err := s.Close(); err != nil {
			return false, err
		}
		if s, err = Open(powerConfig(model), zap.NewNop()); err != nil {
			return false, err
		}
		c, _ = s.Get(sample.ID)
	}
	var names []string
	for _, f := range sample.Manifest.Files {
		if f.Size > 0 {
			names = append(names, c.dir+"/files/"+f.Path)
		}
	}
	if name := names[r.IntN(len(names))]; kind != "swap two files" {
		damaged, err = decay(model, name, r, decays[kind])
	} else {
		err = errors.Join(model.Rename(names[0], names[0]+"x"), model.Rename(names[1], names[0]), model.Rename(names[0]+"x", names[1]))
		damaged = true
	}
	if err != nil || !damaged {
		return false, err
	}
	for _, ref := range sample.Shuffled(r.Uint64()) {
		got, err := c.ReadBlock(ref.Chunk, ref.Block, nil)
		if err != nil && !errors.Is(err, content.ErrCorrupt) && !errors.Is(err, content.ErrNotFound) {
			return true, fmt.Errorf("read %v: %w", ref, err)
		}
		if err == nil && string(got) != string(sample.Block(ref.Chunk, ref.Block)) {
			return true, fmt.Errorf("wrong bytes of %v were read", ref)
		}
	}
	if _, err := c.Verify(context.Background(), nil); err != nil {
		return true, fmt.Errorf("verify: %w", err)
	}
	if c.Complete() {
		return true, errors.New("not found by verifying")
	}
	if err := rightBytes(c, sample); err != nil {
		return true, err
	}
	if _, err := refetch(s, sample); err != nil {
		return true, fmt.Errorf("get it again: %w", err)
	}
	bad, err := c.Verify(context.Background(), nil)
	if len(bad) > 0 {
		err = fmt.Errorf("repaired, and still bad: %v", bad)
	}
	return true, errors.Join(err, s.Close())
}
