package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/p2pnode/p2pnode/content"
)

// A Stage takes the files of a content that is being published. It ends with
// Commit or Abort; a stage that does neither is swept when the store is opened
// again. Files and folders may be made by many at once.
type Stage struct {
	store *Store
	dir   string
	root  *os.Root // of its files
	ended bool
}

// Stage returns an empty stage.
func (s *Store) Stage() (_ *Stage, err error) {
	dir, err := os.MkdirTemp(s.root(), newPrefix)
	if err != nil {
		return nil, fmt.Errorf("stage a content: %w", ifNoSpace(err))
	}
	st := &Stage{store: s, dir: dir}
	files := filepath.Join(dir, filesName)
	if err = os.Mkdir(files, folderMode); err == nil {
		st.root, err = os.OpenRoot(files)
	}
	if err != nil {
		return nil, fmt.Errorf("stage a content: %w", errors.Join(ifNoSpace(err), os.RemoveAll(dir)))
	}
	return st, nil
}

// Mkdir makes the folder at path, which has forward slashes. "." is there.
// Modes and times are kept in the manifest, not in the store.
func (st *Stage) Mkdir(path string) error {
	if path == "." {
		return nil
	}
	return ifNoSpace(st.root.Mkdir(filepath.FromSlash(path), folderMode))
}

// Create makes the file at path, for reading and writing. The caller closes it
// before Commit.
func (st *Stage) Create(path string) (*os.File, error) {
	f, err := st.root.OpenFile(filepath.FromSlash(path), os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
	return f, ifNoSpace(err)
}

// Open opens the file at path for reading, to verify what was written. The
// caller closes it before Commit.
func (st *Stage) Open(path string) (*os.File, error) {
	return st.root.Open(filepath.FromSlash(path))
}

// Abort drops the stage and all that is in it, unless it has ended.
func (st *Stage) Abort() error {
	if st.ended {
		return nil
	}
	st.ended = true
	return errors.Join(st.root.Close(), os.RemoveAll(st.dir))
}

// Commit makes the stage the content with this manifest and these blocks of its
// chunks, complete and durable. It checks them against each other and against the
// sizes of the files; that the files' bytes are those of the blocks is what the
// caller has made sure of. If the content is here already, complete, the stage is
// dropped; if it is here in part, the stage takes its place, and keeps its
// releases. Either way, and on error too, the stage has ended.
func (st *Stage) Commit(enc content.Encoded, blocks [][]content.Block) (_ *Content, err error) {
	if st.ended {
		return nil, fmt.Errorf("commit content %v: stage: %w", enc.ID, fs.ErrClosed)
	}
	st.ended = true
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("commit content %v: %w", enc.ID, ifNoSpace(err)), os.RemoveAll(st.dir))
		}
	}()
	m, err := content.Decode(enc.ID, enc.Root, enc.Segments)
	if err == nil {
		err = st.check(m)
	}
	if err = errors.Join(err, st.root.Close()); err != nil { // before the rename: Windows
		return nil, err
	}
	nodes, err := encodeLists(m, blocks)
	if err != nil {
		return nil, err
	}
	s := st.store
	if c, ok := s.Get(enc.ID); ok && c.Complete() {
		return c, os.RemoveAll(st.dir)
	}
	err = errors.Join(writeEncoded(st.dir, enc), writeAllLists(st.dir, nodes), syncTree(filepath.Join(st.dir, filesName)))
	if err != nil {
		return nil, err
	}
	s.folders.Lock()
	defer s.folders.Unlock()
	if err := s.usable(); err != nil {
		return nil, err
	}
	c, ok := s.Get(enc.ID)
	if ok && c.Complete() {
		return c, os.RemoveAll(st.dir)
	}
	if err := s.clear(enc.ID); err != nil {
		return nil, err
	}
	if err := s.install(st.dir, enc.ID); err != nil {
		return nil, err
	}
	made, err := s.adopt(enc.ID)
	if err != nil || !ok {
		return made, err
	}
	for _, r := range c.Releases() {
		if err := made.AddRelease(r); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// check checks that the stage has the files and folders of m.
func (st *Stage) check(m *content.Manifest) error {
	for _, want := range m.Files {
		info, err := st.root.Lstat(filepath.FromSlash(want.Path))
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
