package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store"
)

func TestBeginRefusesWhatDoesNotFit(t *testing.T) {
	const size = 100_000
	sample := samples(t, 1, size)[0]
	for _, test := range []struct {
		name        string
		floor       int64
		free, total uint64
		fits        bool
	}{
		{"a tenth is kept", 0, 200_000, 1_000_000, true},
		{"not into the tenth", 0, 199_999, 1_000_000, false},
		{"five GiB of a large disk are kept", 0, 5<<30 + size, 1 << 45, true},
		{"not into the five GiB", 0, 5<<30 + size - 1, 1 << 45, false},
		{"already below", 0, 1, 1_000_000, false},
		{"own floor", 10, size + 10, 1 << 40, true},
		{"not into the own floor", 10, size + 9, 1 << 40, false},
		{"no floor", store.NoFloor, size, 1 << 40, true},
		{"not what isn't there", store.NoFloor, size - 1, 1 << 40, false},
	} {
		dir := t.TempDir()
		s := open(t, store.Config{Dir: dir, Floor: test.floor, BlockSize: 1, Space: func(string) (uint64, uint64, error) {
			return test.free, test.total, nil
		}})
		_, _, err := s.Receive(sample.Encoded)
		if test.fits != (err == nil) || err != nil && !errors.Is(err, content.ErrNoSpace) {
			t.Errorf("%s: %v", test.name, err)
		}
		if err != nil && !strings.Contains(err.Error(), "98 KiB needed") {
			t.Errorf("%s: doesn't tell what is needed: %v", test.name, err)
		}
		entries, _ := os.ReadDir(filepath.Join(dir, "content"))
		if want := map[bool]int{true: 1, false: 0}[test.fits]; len(entries) != want {
			t.Errorf("%s: %d folders, want %d", test.name, len(entries), want)
		}
		s.Close()
	}
}

// What is under way has its room: a second content must fit beside what the first
// still needs, and the first goes on in what it was promised.
func TestBeginCountsWhatIsUnderWay(t *testing.T) {
	x := samples(t, 2, 100_000)
	first, second := x[0], x[1]
	free := uint64(150_000)
	s := open(t, store.Config{Floor: store.NoFloor, BlockSize: 1, Space: func(string) (uint64, uint64, error) { return free, 1 << 40, nil }})
	defer s.Close()
	if _, _, err := s.Receive(first.Encoded); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Receive(second.Encoded); !errors.Is(err, content.ErrNoSpace) {
		t.Errorf("two in the room of one and a half: %v", err)
	}
	if _, _, err := s.Receive(first.Encoded); err != nil {
		t.Errorf("the first again: %v", err)
	}
	fetch(t, s, first)
	free = 50_000
	if _, _, err := s.Receive(second.Encoded); !errors.Is(err, content.ErrNoSpace) {
		t.Errorf("one in the room of a half: %v", err)
	}
	free = 100_000
	if _, _, err := s.Receive(second.Encoded); err != nil {
		t.Errorf("once there is room: %v", err)
	}
}

// Where nothing is kept free there is a warning all the same before nothing is left.
func TestLowSpaceIsToldWithoutAFloor(t *testing.T) {
	for _, test := range []struct {
		name        string
		floor       int64
		free, total uint64
		low         bool
	}{
		{"nothing left", store.NoFloor, 0, 1 << 40, true},
		{"hardly anything", store.NoFloor, 15 << 20, 1 << 40, true},
		{"enough to go on", store.NoFloor, 16 << 20, 1 << 40, false},
		{"a small disk", store.NoFloor, 1 << 20, 64 << 20, false},
		{"hardly anything of a small disk", store.NoFloor, 1 << 19, 64 << 20, true},
		{"below the floor", 1 << 30, 1<<30 - 1, 1 << 40, true},
		{"above a small floor", 1 << 10, 1 << 20, 1 << 40, true},
		{"above the floor", 1 << 30, 1 << 30, 1 << 40, false},
	} {
		s := open(t, store.Config{Floor: test.floor, Space: func(string) (uint64, uint64, error) {
			return test.free, test.total, nil
		}})
		err := s.Low()
		if (err != nil) != test.low || err != nil && (!errors.Is(err, content.ErrNoSpace) || !strings.Contains(err.Error(), "free some")) {
			t.Errorf("%s: %v", test.name, err)
		}
		s.Close()
	}
}

func TestStoreIsOpenedOnce(t *testing.T) {
	dir := t.TempDir()
	s := open(t, store.Config{Dir: dir})
	if _, err := store.Open(store.Config{Dir: dir}, zap.NewNop()); !errors.Is(err, store.ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, store.Config{Dir: dir}).Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(store.Config{}, zap.NewNop()); err == nil {
		t.Error("opened nowhere")
	}
}
