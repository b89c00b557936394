package compose

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A Removal is how much Down took away.
type Removal struct {
	Containers, Networks, Volumes, Images, Folders int
}

// String says so, to people.
func (r Removal) String() string {
	if r == (Removal{}) {
		return "nothing"
	}
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{r.Containers, "container"}, {r.Networks, "network"}, {r.Volumes, "volume"}, {r.Images, "image"}, {r.Folders, "temporary folder"}} {
		switch p.n {
		case 0:
		case 1:
			parts = append(parts, "1 "+p.what)
		default:
			parts = append(parts, fmt.Sprintf("%d %ss", p.n, p.what))
		}
	}
	return strings.Join(parts, ", ")
}

// passes bounds how often Down looks again: what was being made while its maker
// was killed may appear a moment later.
const passes = 20

// Down takes away all that is of a testnet: whoever started it, whatever became of
// that. It can be called when nothing is there.
func Down(ctx context.Context) (Removal, error) {
	var all Removal
	var last error
	if _, err := engine(ctx, answers); err != nil {
		return all, fmt.Errorf("take the testnet away: %w", err)
	}
	for range passes {
		r, err := down(ctx)
		all.Containers += r.Containers
		all.Networks += r.Networks
		all.Volumes += r.Volumes
		all.Images += r.Images
		all.Folders += r.Folders
		switch {
		case err == nil && r == (Removal{}):
			return all, nil
		case ctx.Err() != nil:
			return all, fmt.Errorf("take the testnet away: %w", errors.Join(context.Cause(ctx), err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
		last = err
	}
	if last == nil {
		last = errors.New("each time something of it is there again; does another command start it?")
	}
	return all, fmt.Errorf("take the testnet away: %w", last)
}

// down looks once.
func down(ctx context.Context) (r Removal, err error) {
	filter := "label=" + label
	for _, kind := range []struct {
		n            *int
		list, remove []string
	}{
		{&r.Containers, []string{"ps", "-aq"}, []string{"rm", "-fv"}},
		{&r.Networks, []string{"network", "ls", "-q"}, []string{"network", "rm"}},
		{&r.Volumes, []string{"volume", "ls", "-q"}, []string{"volume", "rm"}},
		{&r.Images, []string{"image", "ls", "-q"}, []string{"rmi", "-f"}},
	} {
		ids, err := lines(ctx, append(kind.list, "--filter", filter)...)
		if err != nil {
			return r, err
		}
		if *kind.n = len(ids); *kind.n == 0 {
			continue
		}
		if _, err := docker(ctx, append(kind.remove, ids...)...); err != nil {
			return r, err
		}
	}
	folders, err := filepath.Glob(filepath.Join(os.TempDir(), folder+"*"))
	if err != nil {
		return r, err
	}
	for _, f := range folders {
		if err := os.RemoveAll(f); err != nil {
			return r, err
		}
		r.Folders++
	}
	return r, nil
}
