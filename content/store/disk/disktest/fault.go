package disktest

import (
	"fmt"
	"math/rand/v2"
	"path"
	"path/filepath"
)

// Kind is that of an operation.
type Kind uint8

// The kinds of operations. RemoveAll and MkdirAll are several. A file is made by
// Create, and cut to nothing if it is opened for that.
const (
	Open Kind = iota
	Create
	Read
	Write
	Truncate
	Sync
	Close
	Stat
	ReadDir
	Mkdir
	Rename
	Remove
	SyncFolder
	Space
)

func (k Kind) String() string {
	return [...]string{"open", "create", "read", "write", "truncate", "sync", "close", "stat",
		"readdir", "mkdir", "rename", "remove", "syncfolder", "space"}[k]
}

// Changes reports whether an operation of this kind changes what is on the disk,
// or may be.
func (k Kind) Changes() bool {
	switch k {
	case Create, Write, Truncate, Sync, Mkdir, Rename, Remove, SyncFolder:
		return true
	}
	return false
}

// An Op is an operation about to be done.
type Op struct {
	N    int // how many were before
	Kind Kind
	Name string
	To   string // of Rename
	At   int64  // of Read and Write; the size, of Truncate
	Size int    // of Read and Write
}

func (o Op) String() string {
	p := filepath.ToSlash(o.Name)
	switch short := path.Join(path.Base(path.Dir(p)), path.Base(p)); o.Kind {
	case Read, Write:
		return fmt.Sprintf("%v %s %d+%d", o.Kind, short, o.At, o.Size)
	case Truncate:
		return fmt.Sprintf("%v %s %d", o.Kind, short, o.At)
	case Rename:
		return fmt.Sprintf("%v %s %s", o.Kind, short, filepath.Base(o.To))
	default:
		return fmt.Sprintf("%v %s", o.Kind, short)
	}
}

// Short as an error of Fault lets a write take some of its bytes, and fail with
// Err.
type Short struct {
	Bytes int
	Err   error
}

func (s *Short) Error() string { return fmt.Sprintf("%v after %d bytes", s.Err, s.Bytes) }
func (s *Short) Unwrap() error { return s.Err }

// Fault has before called before every operation, one at a time; an error from it
// fails the operation. It must not use the file system. Nil ends it.
func (f *FS) Fault(before func(Op) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = before
}

// Watch has before called before every operation that changes something, one at a
// time, with what the disk may be then. It must not use the file system. Nil ends
// it.
func (f *FS) Watch(before func(Op, *Image)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watch = before
}

// DropUnsynced lets a Sync that fails take away some of what was written before
// it, at once: it is read as it was before. With nil, it stays to be read.
func (f *FS) DropUnsynced(r *rand.Rand) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.drop = nil; r != nil {
		f.drop = func(int) bool { return r.IntN(2) == 0 }
	}
}

// Ops returns how many operations were begun.
func (f *FS) Ops() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ops
}

// begin begins an operation. It is called with mu held.
func (f *FS) begin(op Op) error {
	op.N = f.ops
	f.ops++
	if f.watch != nil && op.Kind.Changes() {
		f.watch(op, f.image())
	}
	if f.fault != nil {
		return f.fault(op)
	}
	return nil
}
