package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/content/store/disk"
)

// placeName is the file in the data folder that says where the store is, if that
// isn't in it: a line with its path and, while it is being moved, one with the path
// that it comes from. If both are there the move was done, and the second is left
// over; if the first isn't, nothing was.
const placeName = "store.at"

// ErrNoStore says that the place that the store was moved to isn't there.
var ErrNoStore = errors.New("the folder that the cache was moved to isn't there")

// A place is what the file says.
type place struct{ dir, from string }

func readPlace(data string) (p place, err error) {
	b, err := os.ReadFile(filepath.Join(data, placeName))
	if errors.Is(err, fs.ErrNotExist) {
		return place{dir: filepath.Join(data, "store")}, nil
	}
	if err != nil {
		return p, err
	}
	dir, from, _ := strings.Cut(strings.TrimSuffix(string(b), "\n"), "\n")
	if !filepath.IsAbs(dir) || from != "" && !filepath.IsAbs(from) {
		return p, fmt.Errorf("%s says no place", filepath.Join(data, placeName))
	}
	return place{dir, from}, nil
}

func (p place) write(data string) error {
	text := p.dir + "\n"
	if p.from != "" {
		text += p.from + "\n"
	}
	return disk.ReplaceBytes(disk.OS{}, data, placeName, []byte(text))
}

func isStore(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, "content"))
	return err == nil && info.IsDir()
}

// find returns which of its folders has the store.
func (p place) find(data string) (string, error) {
	switch {
	case p.dir == filepath.Join(data, "store") && p.from == "":
		return p.dir, nil // made if it isn't there
	case isStore(p.dir):
		return p.dir, nil
	case p.from != "" && isStore(p.from):
		return p.from, nil
	}
	return "", fmt.Errorf("%w: %s", ErrNoStore, p.dir)
}

// StoreDir returns where the store of a data folder is, or is to be.
func StoreDir(data string) (string, error) {
	p, err := readPlace(data)
	if err != nil {
		return "", fmt.Errorf("find the cache: %w", err)
	}
	return p.find(data)
}

// findStore returns where the store is, and finishes a move that was cut off.
func findStore(data string) (string, error) {
	p, err := readPlace(data)
	if err != nil {
		return "", fmt.Errorf("find the cache: %w", err)
	}
	dir, err := p.find(data)
	if err != nil || p.from == "" || dir == p.from {
		return dir, err
	}
	if err := os.RemoveAll(p.from); err != nil {
		return "", fmt.Errorf("remove what the cache was moved from: %w", err)
	}
	return dir, place{dir: dir}.write(data)
}

// MoveStore moves the store of a data folder whose node doesn't run to another
// folder, which must be new, empty, or where an earlier try left off: by a rename
// where that can be done, else by a copy that is compared before the original goes.
// A crash at any time leaves one of the two in use, whole. It returns where the
// store was. Errors are those of store.Copy.
func MoveStore(ctx context.Context, data, to string, progress func(done, total int64)) (from string, err error) {
	if from, err = findStore(data); err != nil {
		return "", err
	}
	if to, err = filepath.Abs(to); err != nil {
		return "", err
	}
	if to == from {
		return from, nil
	}
	moved, err := renameStore(data, from, to)
	if err != nil || moved {
		return from, err
	}
	if err := store.Copy(ctx, from, to, progress); err != nil {
		return from, err
	}
	if err := (place{to, from}).write(data); err != nil {
		return from, err
	}
	_, err = findStore(data)
	return from, err
}

// renameStore moves the store by a rename, if there is nothing at its new place and
// that is on the same disk.
func renameStore(data, from, to string) (moved bool, err error) {
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	lock, err := disk.OS{}.Lock(filepath.Join(from, "lock"))
	if err != nil {
		return false, err
	}
	before, err := readPlace(data)
	if err == nil {
		err = errors.Join(os.MkdirAll(filepath.Dir(to), disk.FolderMode), place{to, from}.write(data))
	}
	if err = errors.Join(err, lock.Close()); err != nil { // before the rename: Windows
		return false, err
	}
	if err := os.Rename(from, to); err != nil {
		return false, before.write(data) // on another disk, most likely: that is for Copy to say
	}
	err = errors.Join(disk.OS{}.SyncFolder(filepath.Dir(to)), disk.OS{}.SyncFolder(filepath.Dir(from)))
	return true, errors.Join(err, place{dir: to}.write(data))
}
