package store

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"testing"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/disk"
	"github.com/p2pnode/p2pnode/content/store/disk/disktest"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// A folder with a file of a later version is left as it is, byte for byte, whatever
// somebody wants of its content (G56).
func TestNewerFormatsAreLeftAlone(t *testing.T) {
	image, promised := built(t, powerSamples(t)[:3]...)
	for i, sample := range promised.samples {
		for _, base := range []string{journalName, listsName, releasesName, stateName, referencesName} {
			model := image.Kill()
			dir := powerDir + "/content/" + sample.ID.String()
			name := dir + "/" + base
			if base == referencesName {
				if err := disk.Write(model, dir, base, []byte(referencesMagic)); err != nil {
					t.Fatal(err)
				}
			}
			err := model.Damage(name, func(data []byte) []byte { data[magicSize-1] = 2; return data })
			if errors.Is(err, fs.ErrNotExist) {
				continue // complete, or not
			}
			if err != nil {
				t.Fatal(err)
			}
			before, err := model.Files(dir)
			if err != nil {
				t.Fatal(err)
			}
			s, err := Open(powerConfig(model), zap.NewNop())
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := s.Get(sample.ID); ok {
				t.Errorf("content %d with a newer %s is used", i, base)
			}
			s.mendAll(t.Context())
			if _, err := s.Begin(sample.Encoded); !errors.Is(err, ErrNewer) {
				t.Errorf("content %d with a newer %s is begun: %v", i, base, err)
			}
			w := newWorld(t, disktest.POSIX, 1, nil)
			w.s = s
			if err := w.publish(i); !errors.Is(err, ErrNewer) {
				t.Errorf("content %d with a newer %s is published: %v", i, base, err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			after, err := model.Files(dir)
			if err != nil {
				t.Fatal(err)
			}
			if !maps.EqualFunc(before, after, slices.Equal[[]byte]) {
				t.Errorf("content %d with a newer %s was changed", i, base)
			}
		}
	}
}

// goldenEnv, when set, writes the golden folder of this version anew.
const goldenEnv = "STORE_TEST_GOLDEN"

// goldenDir has a store as version 1 of the formats wrote it: a file and a tree,
// complete, and a content in part.
const goldenDir = "testdata/golden-v1"

func goldenSamples(t *testing.T) []*storetest.Sample {
	file := func(path string, size int64) content.File { return content.File{Path: path, Size: size, Mode: 0o644} }
	dir := func(path string) content.File { return content.File{Path: path, Mode: fs.ModeDir | 0o755} }
	return []*storetest.Sample{
		storetest.File(t, 21, 3000, storetest.Shape{Block: 500, Blocks: 3}),
		storetest.New(t, 22, storetest.Shape{Block: 400, Blocks: 4}, dir("."), file("a", 700), dir("d"), file("d/e", 900), file("d/f", 0), file("g", 30)),
		storetest.New(t, 23, storetest.Shape{Block: 300, Blocks: 2}, dir("."), file("x", 1200), dir("y"), file("y/z", 800)),
	}
}

func TestGoldenFolderIsRead(t *testing.T) {
	samples := goldenSamples(t)
	if os.Getenv(goldenEnv) != "" {
		writeGolden(t, samples)
	}
	model := disktest.New(disktest.POSIX)
	if err := model.Copy(powerDir, os.DirFS(goldenDir)); err != nil {
		t.Fatal(err)
	}
	s, err := Open(powerConfig(model), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	for i, sample := range samples {
		c, ok := s.Get(sample.ID)
		if !ok {
			t.Fatalf("content %d is not there", i)
		}
		if i == 1 && c.LastUsed().Unix() != goldenUsed {
			t.Errorf("content %d: last used %v", i, c.LastUsed())
		}
		if err := rightBytes(c, sample); err != nil {
			t.Errorf("content %d: %v", i, err)
		}
		if got, want := c.Complete(), i < 2; got != want {
			t.Errorf("content %d: complete %v", i, got)
		}
		if got, want := c.Pinned(), i == 1; got != want {
			t.Errorf("content %d: pinned %v", i, got)
		}
		if r := c.Releases(); len(r) != i || i > 0 && string(r[0]) != "first release" {
			t.Errorf("content %d: releases %q", i, r)
		}
	}
	part, _ := s.Get(samples[2].ID)
	if got := []uint64{part.Verified(0), part.Verified(1), part.Verified(2)}; !slices.Equal(got, []uint64{0b11, 0b01, 0}) {
		t.Errorf("verified %b", got)
	}
	if _, ok := part.Node(2); !ok {
		t.Error("a list is lost")
	}
	if fetched, err := refetch(s, samples[2]); err != nil || fetched != len(samples[2].Refs())-3 {
		t.Errorf("fetched %d of %d: %v", fetched, len(samples[2].Refs()), err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// goldenUsed is when the tree was last used, seconds since 1970.
const goldenUsed = 1_600_000_000

func writeGolden(t *testing.T, samples []*storetest.Sample) {
	t.Helper()
	if err := os.RemoveAll(goldenDir); err != nil {
		t.Fatal(err)
	}
	s, err := Open(Config{Dir: goldenDir, Floor: NoFloor, Quota: NoLimit}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	for _, sample := range samples[:2] {
		if _, err := refetch(s, sample); err != nil {
			t.Fatal(err)
		}
	}
	tree, _ := s.Get(samples[1].ID)
	part, err := s.Begin(samples[2].Encoded)
	if err != nil {
		t.Fatal(err)
	}
	for chunk := range 3 {
		if err := part.SetBlocks(chunk, samples[2].Nodes[chunk]); err != nil {
			t.Fatal(err)
		}
	}
	put(t, part, samples[2], storetest.Ref{Chunk: 0, Block: 0}, storetest.Ref{Chunk: 0, Block: 1}, storetest.Ref{Chunk: 1, Block: 0})
	err = errors.Join(tree.Pin(true), tree.AddRelease([]byte("first release")),
		part.AddRelease([]byte("first release")), part.AddRelease([]byte("second release")))
	s.blocks.current(t.Context())
	tree.care.used.Store(goldenUsed)
	tree.care.read.Store(0)
	if err := errors.Join(err, tree.saveCare(), s.Close()); err != nil {
		t.Fatal(err)
	}
}
