package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/archive"
	"github.com/p2pnode/p2pnode/node/api"
)

// publishUnpacked makes a content of the tree that the archive at path has.
//
// The files are written to the stage as they come, and then published in place:
// that reads them back, and everything in the archive was held to its checksums
// before. The archive itself may not change meanwhile.
func publishUnpacked(ctx context.Context, stage publishStage, path string, skipLinks bool, opt publishOptions) (*published, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("add %s: %w", path, err)
	}
	e, err := surveyOne(abs, filepath.Base(abs))
	if err != nil {
		return nil, err
	}
	if e.Mode.IsDir() {
		return nil, api.Errorf(api.Usage, "Add it without --unpack", "add %s: it is a folder, and no archive", abs)
	}
	f, err := e.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	o := archive.Options{SkipLinks: skipLinks, Room: opt.Room, Cost: opt.FileCost}
	if opt.Progress != nil {
		o.Progress = func(done, total int64) { opt.Progress(publishUnpacks, done, total) }
	}
	tree, err := archive.Unpack(ctx, f, e.Size, stageTarget{stage}, o)
	if changed := e.unchanged(); changed != nil {
		return nil, changed // whatever that did to the archive
	}
	if err != nil {
		return nil, explainUnpack(abs, err)
	}
	made, err := publishStaged(ctx, stage, tree.Files, opt)
	if err != nil {
		return nil, err
	}
	made.Unpacked = tree
	return made, nil
}

func explainUnpack(path string, err error) error {
	err = fmt.Errorf("add %s: %w", path, err)
	switch {
	case errors.Is(err, content.ErrNoSpace):
		return err
	case errors.Is(err, archive.ErrDamaged):
		return api.Errorf(api.Usage, "Get the archive again, whole, and add that", "%w", err)
	case errors.Is(err, content.ErrFormat), errors.Is(err, content.ErrPath):
		return api.Errorf(api.Usage, "Unpack it yourself, put right what this says, and add the folder; or add the archive as it is, without --unpack", "%w", err)
	}
	return err
}

// A stageTarget has an archive unpacked into a stage.
type stageTarget struct{ stage publishStage }

func (t stageTarget) Mkdir(path string) error { return stageError(path, t.stage.Mkdir(path)) }

func (t stageTarget) Create(path string) (io.WriteCloser, error) {
	f, err := t.stage.Create(path)
	if err != nil {
		return nil, stageError(path, err)
	}
	return stageFile{f, path}, nil
}

// A stageFile tells a full disk as such.
type stageFile struct {
	io.WriteCloser
	path string
}

func (f stageFile) Write(b []byte) (int, error) {
	n, err := f.WriteCloser.Write(b)
	return n, stageError(f.path, err)
}

func (f stageFile) Close() error { return stageError(f.path, f.WriteCloser.Close()) }
