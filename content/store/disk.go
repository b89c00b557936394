package store

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/content"
)

// What the store asks of a file system stands in this file and in its siblings
// disk_*.go.

const (
	fileMode   = 0o600 // of every file in the store; the user's modes are in the manifest
	folderMode = 0o700

	// A sync waits for the device, and file systems gather the syncs that wait
	// at one time: 1,000 small files took 370 ms one by one, 93 ms by 32 (ext4).
	syncsAtOnce = 32
)

// openBelow opens the file at path, which has forward slashes, below dir.
func openBelow(dir, path string, flag int) (*os.File, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.OpenFile(filepath.FromSlash(path), flag, fileMode)
}

// replace writes the file dir/name so that it has either its old bytes or all of
// the new, whatever happens, and returns when that is on the disk.
func replace(dir, name string, write func(io.Writer) error) (err error) {
	temp := filepath.Join(dir, name+".tmp")
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temp))
		}
	}()
	w := bufio.NewWriterSize(f, 256<<10)
	if err := write(w); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(w.Flush(), syncData(f), f.Close()); err != nil {
		return err
	}
	if err := rename(temp, filepath.Join(dir, name)); err != nil {
		return err
	}
	return syncFolder(dir)
}

// write makes the file dir/name, synced. The folder's entry of it is not.
func write(dir, name string, data []byte) error {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, syncData(f), f.Close())
}

// syncFolder makes the entries of a folder durable.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(syncEntries(f), f.Close())
}

// makeFolder makes a folder unless it is there.
func makeFolder(dir string) error {
	if err := os.Mkdir(dir, folderMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// syncTree syncs every file and folder below dir, and dir.
func syncTree(dir string) error {
	var g errgroup.Group
	g.SetLimit(syncsAtOnce)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		g.Go(func() error {
			if d.IsDir() {
				return syncFolder(path)
			}
			f, err := os.OpenFile(path, os.O_RDWR, 0) // Windows syncs what it may write
			if err != nil {
				return err
			}
			return errors.Join(syncData(f), f.Close())
		})
		return nil
	})
	return errors.Join(err, g.Wait())
}

// ifNoSpace makes an error of a full disk or quota one of content.ErrNoSpace.
func ifNoSpace(err error) error {
	if err != nil && full(err) {
		return fmt.Errorf("%w: %w: free some, or remove contents (p2pnode content rm ID), and try again", content.ErrNoSpace, err)
	}
	return err
}
