package node

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content/store"
)

// Whenever a move is cut off, one of the two places is in use, and it is the whole
// one.
func TestStoreIsFoundWhenAMoveWasCutOff(t *testing.T) {
	for _, test := range []struct {
		name           string
		file           bool // the move is written down
		original, copy bool // which are there
		want           string
	}{
		{"before it", false, true, false, "store"},
		{"while it copies", false, true, true, "store"},
		{"before the rename", true, true, false, "store"},
		{"after the rename", true, false, true, "moved"},
		{"before the original goes", true, true, true, "moved"},
		{"a disk that isn't mounted", true, false, false, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			data := t.TempDir()
			from, to := filepath.Join(data, "store"), filepath.Join(data, "moved")
			for dir, there := range map[string]bool{from: test.original, to: test.copy} {
				if there {
					if err := os.MkdirAll(filepath.Join(dir, "content"), 0o700); err != nil {
						t.Fatal(err)
					}
				}
			}
			if test.file {
				if err := (place{to, from}).write(data); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				got, err := findStore(data)
				if test.want == "" {
					if !errors.Is(err, ErrNoStore) {
						t.Errorf("%s, %v", got, err)
					}
					continue
				}
				if err != nil || got != filepath.Join(data, test.want) {
					t.Fatalf("%s, %v", got, err)
				}
				if test.want == "moved" {
					if _, err := os.Stat(from); err == nil {
						t.Error("the original is left over")
					}
				}
			}
		})
	}
}

func TestStoreMovesThereAndBack(t *testing.T) {
	t.Parallel()
	data, disk2 := t.TempDir(), t.TempDir()
	s, err := store.Open(store.Config{Dir: filepath.Join(data, "store")}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := MoveStore(t.Context(), data, filepath.Join(disk2, "x"), nil); !errors.Is(err, store.ErrLocked) {
		t.Errorf("while it is open: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// To a new folder by renaming, into an empty one by copying, and back.
	empty := filepath.Join(disk2, "empty")
	if err := os.Mkdir(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	was := filepath.Join(data, "store")
	for _, to := range []string{filepath.Join(disk2, "a", "b"), empty, filepath.Join(data, "store")} {
		from, err := MoveStore(t.Context(), data, to, nil)
		if err != nil || from != was {
			t.Fatalf("to %s: from %s, %v", to, from, err)
		}
		if _, err := os.Stat(from); err == nil {
			t.Errorf("%s is left over", from)
		}
		if got, err := findStore(data); err != nil || got != to || !isStore(to) {
			t.Errorf("found at %s, %v", got, err)
		}
		was = to
	}
}
