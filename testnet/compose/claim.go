package compose

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

// claimed is the file in a folder for building that is locked for as long as its Up
// goes on, and no longer than its process lives.
const claimed = "up.lock"

// errOther says that two of them would be at the same containers.
var errOther = errors.New("another `up` is at work on this machine. Wait until it is done, or interrupt it there")

// claim makes a folder for building in parent, and says to every other Up that one
// goes on. Of two that begin at the same moment none may get it, never both: each
// locks first and looks then.
func claim(ctx context.Context, parent string) (dir string, release func() error, err error) {
	if dir, err = os.MkdirTemp(parent, folder); err != nil {
		return "", nil, err
	}
	mine := flock.New(filepath.Join(dir, claimed))
	release = func() error { return errors.Join(mine.Close(), os.RemoveAll(dir)) }
	// Another one may have a look at this moment.
	if _, err := mine.TryLockContext(ctx, 10*time.Millisecond); err != nil {
		return "", nil, errors.Join(err, release())
	}
	all, err := filepath.Glob(filepath.Join(parent, folder+"*"))
	if err != nil {
		return "", nil, errors.Join(err, release())
	}
	for _, other := range all {
		if other != dir && held(filepath.Join(other, claimed)) {
			return "", nil, errors.Join(errOther, release())
		}
	}
	return dir, release, nil
}

// held reports whether somebody has a lock. What was left behind by one that was
// killed is nobody's.
func held(path string) bool {
	l := flock.New(path, flock.SetFlag(os.O_RDWR)) // never made here
	got, err := l.TryLock()
	_ = l.Close() // of what was only looked at
	return err == nil && !got
}
