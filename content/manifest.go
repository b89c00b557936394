package content

import (
	"errors"
	"io/fs"
	"time"
)

// Sizes of blocks and chunks. They are part of the format: a change changes
// every content id (content/chunker has the test vectors that hold them).
const (
	MinBlock    = 16 << 10
	TargetBlock = 64 << 10
	MaxBlock    = 256 << 10

	MinBlocks = 4  // a chunk has at least so many blocks, the last of a content excepted
	MaxBlocks = 64 // and at most so many: which of them are wanted fits a uint64
	MaxChunk  = MaxBlocks * MaxBlock
)

// Limits of a manifest. They bound what a publisher can make a node hold.
const (
	MaxNode     = 1 << 20  // bytes of a root, a segment or a block list
	MaxManifest = 64 << 20 // bytes of a root and all its segments
	MaxFiles    = 1 << 20  // files and folders of a content
	MaxSize     = 1 << 46  // bytes of a content: 64 TiB
	MaxType     = 32       // bytes of a content type
	MaxLabels   = 64       // labels of a content
	MaxLabel    = 64       // bytes of a label's key
	MaxValue    = 256      // bytes of a label's value
	MaxOrigins  = 64       // HTTP sources of a content
	MaxURL      = 2048     // bytes of the address of one
)

// A Block is a piece of content of 16 to 256 KiB (the last of a file may be
// smaller): the unit of hashing, verifying and difference.
type Block struct {
	Hash Hash
	Size uint32 // bytes, never 0
}

// A Chunk is a run of 4 to 64 blocks, about 1 MiB: the unit of announcing,
// scheduling and carrying. Hash is that of the encoded list of its blocks.
type Chunk struct {
	Hash Hash
	Size uint32 // bytes: the sum of its blocks
}

// A File is a regular file or a folder of a content.
type File struct {
	// Path is relative, with forward slashes; CheckPath holds its grammar. The
	// folder that a tree was published from is ".", and comes first.
	Path string
	Size int64 // bytes; 0 for a folder
	// Mode has the permission bits and, for a folder, fs.ModeDir. Nothing else.
	Mode    fs.FileMode
	ModTime time.Time // UTC, to the nanosecond; from 1678 to 2262
}

// An Origin is an HTTP source of one of the files.
type Origin struct {
	URL  string // http or https, without user, password or fragment
	File int    // index in Manifest.Files
}

// A Manifest lists what a content is made of. The content's bytes are those of
// its files in order, one behind the other; a block never spans two files, a
// chunk may.
//
// A content is either one file (len(Files) == 1 and it is a regular file) or a
// tree (Files[0] is the folder "."). A tree lists every folder before what is in
// it, and what is in a folder by the bytes of its name, so that one tree has one
// manifest: ".", "a", "a/b", "a.txt".
type Manifest struct {
	// Type is the content type: app, os-image, update, media, config, ... of
	// a-z 0-9 and "-"; or empty.
	Type string
	// Labels are set by the publisher, for operators to filter by. A key is of
	// a-z A-Z 0-9 . _ / - , a value of graphic characters.
	Labels  map[string]string
	Files   []File
	Chunks  []Chunk
	Origins []Origin
}

// Single reports whether the content is one file rather than a tree.
func (m *Manifest) Single() bool { return len(m.Files) == 1 && !m.Files[0].Mode.IsDir() }

// Size returns the bytes of all files.
func (m *Manifest) Size() int64 {
	var n int64
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

// Errors that callers branch on.
var (
	ErrNotFound = errors.New("not found")                     // nobody asked has it
	ErrCorrupt  = errors.New("bytes do not match their hash") // whoever gave them is to blame
	ErrFormat   = errors.New("not in the format")             // a manifest, list or release that breaks a rule
	ErrPath     = errors.New("path not allowed")              // a name that CheckPath refuses
	ErrNoSpace  = errors.New("no space")                      // disk or quota
	ErrChanged  = errors.New("changed meanwhile")             // a file under publication
)
