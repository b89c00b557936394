package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/disk"
)

// A Stage takes the files of a content that is being published. It ends with
// Commit or Abort; a stage that does neither is swept when the store is opened
// again. Files and folders may be made by many at once.
type Stage struct {
	store *Store
	dir   string
	ended bool
}

// Stage returns an empty stage.
func (s *Store) Stage() (_ *Stage, err error) {
	dir, err := disk.MakeTemp(s.disk, s.root(), newPrefix)
	if err != nil {
		return nil, fmt.Errorf("stage a content: %w", ifNoSpace(err))
	}
	st := &Stage{store: s, dir: dir}
	if err := s.disk.Mkdir(st.files()); err != nil {
		s.discard(dir)
		return nil, fmt.Errorf("stage a content: %w", ifNoSpace(err))
	}
	return st, nil
}

// files is the folder that the stage's files are in.
func (st *Stage) files() string { return filepath.Join(st.dir, filesName) }

// Mkdir makes the folder at path, which has forward slashes. "." is there.
// Modes and times are kept in the manifest, not in the store.
func (st *Stage) Mkdir(path string) error {
	if path == "." {
		return nil
	}
	return ifNoSpace(st.store.disk.MkdirBelow(st.files(), path))
}

// Create makes the file at path, for reading and writing. The caller closes it
// before Commit.
func (st *Stage) Create(path string) (disk.File, error) {
	f, err := st.store.disk.OpenBelow(st.files(), path, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	return f, ifNoSpace(err)
}

// Open opens the file at path for reading, to verify what was written. The
// caller closes it before Commit.
func (st *Stage) Open(path string) (disk.File, error) {
	return st.store.disk.OpenBelow(st.files(), path, os.O_RDONLY)
}

// Abort drops the stage and all that is in it, unless it has ended.
func (st *Stage) Abort() error {
	if st.ended {
		return nil
	}
	st.ended = true
	st.store.discard(st.dir)
	return nil
}

// Commit makes the stage the content with this manifest and these blocks of its
// chunks, complete and durable. It checks them against each other and against the
// sizes of the files; that the files' bytes are those of the blocks is what the
// caller has made sure of. If the content is here already, complete, the stage is
// dropped; if it is here in part, or on files of the user's, the stage takes its
// place, with its releases and its pin. Either way, and on error too, the stage has
// ended.
func (st *Stage) Commit(enc content.Encoded, blocks [][]content.Block) (_ *Content, err error) {
	if st.ended {
		return nil, fmt.Errorf("commit content %v: stage: %w", enc.ID, fs.ErrClosed)
	}
	st.ended = true
	s := st.store
	defer func() {
		if err != nil {
			s.discard(st.dir)
			err = fmt.Errorf("commit content %v: %w", enc.ID, ifNoSpace(err))
		}
	}()
	m, err := content.Decode(enc.ID, enc.Root, enc.Segments)
	if err == nil {
		err = st.check(m)
	}
	if err != nil {
		return nil, err
	}
	nodes, err := encodeLists(m, blocks)
	if err != nil {
		return nil, err
	}
	if c, ok := s.Get(enc.ID); ok && c.standsAlone() {
		s.discard(st.dir)
		return c, nil
	}
	err = errors.Join(s.writeEncoded(st.dir, enc), s.writeAllLists(st.dir, nodes), disk.SyncTree(s.disk, st.files()))
	if err != nil {
		return nil, err
	}
	return s.place(st.dir, enc.ID, (*Content).standsAlone)
}

// standsAlone reports whether the content is complete, on its own files, and not
// about to be evicted.
func (c *Content) standsAlone() bool { return c.ended() == nil && c.Complete() && !c.InPlace() }

// check checks that the stage has the files and folders of m.
func (st *Stage) check(m *content.Manifest) error {
	for _, want := range m.Files {
		info, err := st.store.disk.LstatBelow(st.files(), want.Path)
		if err != nil {
			return err
		}
		if info.Mode().Type() != want.Mode.Type() || !info.IsDir() && info.Size() != want.Size {
			return fmt.Errorf("%q was staged as %v of %d bytes: %w", want.Path, info.Mode(), info.Size(), content.ErrChanged)
		}
	}
	return nil
}

// encodeLists returns the nodes of all chunks.
func encodeLists(m *content.Manifest, blocks [][]content.Block) ([][]byte, error) {
	if len(blocks) != len(m.Chunks) {
		return nil, fmt.Errorf("%w: block lists of %d chunks, not %d", content.ErrFormat, len(blocks), len(m.Chunks))
	}
	nodes := make([][]byte, len(blocks))
	for i, b := range blocks {
		node, err := content.EncodeBlocks(b)
		if err != nil {
			return nil, err
		}
		if content.Sum(node) != m.Chunks[i].Hash {
			return nil, fmt.Errorf("block list of chunk %d: %w", i, content.ErrCorrupt)
		}
		nodes[i] = node
	}
	return nodes, nil
}
