//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/testnet/scenario"
)

// inMounts is what comes before a command in the child that has a mount
// namespace of its own: what is mounted there is seen by nobody else, and gone
// with the last process in it.
const inMounts = "raw-mounts"

// mountsOf runs a command of this program again in such a namespace. It needs
// root.
func mountsOf(ctx context.Context, args []string) error {
	if os.Geteuid() != 0 {
		return errors.New("mount file systems: only root can")
	}
	cmd := scenario.Command(ctx, nil, append([]string{"/proc/self/exe", inMounts}, args...)...)
	cmd.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS // and nothing of it goes back to the host
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

// A fileSystem is one that a user may have. Goal is how many copies of a content
// a plain get may take, that of the cache and the user's together.
type fileSystem struct {
	name string
	make []string // mkfs with options; the image comes last
	goal float64
}

var fileSystems = []fileSystem{
	{"btrfs", []string{"mkfs.btrfs", "-q"}, 1.02},
	{"xfs", []string{"mkfs.xfs", "-q", "-m", "reflink=1"}, 1.02},
	{"ext4", []string{"mkfs.ext4", "-q"}, 2.02},
}

// A handover is how a get gives the user the content; copies is the goal where
// the file system doesn't decide.
type handover struct {
	flags  []string
	copies float64
}

var handovers = []handover{
	{nil, 0},
	{[]string{"--move"}, 1.02},
	{[]string{"--link"}, 1.02},
}

func (h handover) goal(fs fileSystem) float64 {
	if h.copies > 0 {
		return h.copies
	}
	return fs.goal
}

func (h handover) String() string {
	if h.flags == nil {
		return "get"
	}
	return "get " + h.flags[0]
}

// disk measures how much of a file system a get takes, in copies of the content:
// what is used after it, all flushed, less what was used before. A figure above
// its goal is an error.
func disk(ctx context.Context, b *bench) error {
	if err := scenario.Sample(b.sample, b.size, 1); err != nil {
		return err
	}
	hub := b.lab.Node("hub", nil, b.flags()...)
	if err := hub.Start(ctx); err != nil {
		return err
	}
	id, err := hub.Tell(ctx, "add", "-q", b.sample)
	if err != nil {
		return err
	}
	var missed []error
	for _, fs := range fileSystems {
		for i, h := range handovers {
			copies, err := b.copies(ctx, hub, id, fs, fmt.Sprint(fs.name, i), h.flags)
			if err != nil {
				return fmt.Errorf("%s: %v: %w", fs.name, h, err)
			}
			name := fmt.Sprintf("%s: %v", fs.name, h)
			b.table.add(name, "copies", copies)
			if goal := h.goal(fs); copies > goal {
				missed = append(missed, fmt.Errorf("%s takes %.3f copies, the goal is %.2f", name, copies, goal))
			}
		}
	}
	if err := errors.Join(missed...); err != nil {
		b.table.print(os.Stdout)
		return err
	}
	return nil
}

// copies makes a file system, has a new node in it get the content to a file
// beside its data folder, and returns what that took.
func (b *bench) copies(ctx context.Context, hub *scenario.Node, id string, fs fileSystem, name string, flags []string) (_ float64, err error) {
	top, unmount, err := mount(ctx, b.lab.Dir, fs, 3*b.size+512*mib)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	token, err := hub.Tell(ctx, "invite", "--site", "default")
	if err != nil {
		return 0, err
	}
	m := b.lab.Node(name, nil, "--mdns", "off", "--listen", "/ip4/0.0.0.0/tcp/0")
	m.Data = filepath.Join(top, "data")
	defer func() { err = errors.Join(err, m.Stop()) }()
	if err := m.Start(ctx, "--join", token); err != nil {
		return 0, err
	}
	before, err := settled(ctx, top)
	if err != nil {
		return 0, err
	}
	var r api.GetResult
	if err := m.Read(ctx, &r, append([]string{"get", id, "-o", filepath.Join(top, "copy")}, flags...)...); err != nil {
		return 0, err
	}
	if r.From.Total() != b.size || !r.Verified {
		return 0, fmt.Errorf("get: %+v: want %d bytes fetched and verified", r, b.size)
	}
	after, err := settled(ctx, top)
	return float64(after-before) / float64(b.size), err
}

// mount makes a file system of size bytes in a file below dir and mounts it.
func mount(ctx context.Context, dir string, fs fileSystem, size int64) (top string, unmount func() error, err error) {
	image, top := filepath.Join(dir, fs.name+".img"), filepath.Join(dir, fs.name)
	clean := func() error { return errors.Join(os.RemoveAll(image), os.RemoveAll(top)) }
	defer func() {
		if err != nil {
			err = errors.Join(err, clean())
		}
	}()
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, size), os.Mkdir(top, 0o755)); err != nil {
		return "", nil, err
	}
	if _, err := tool(ctx, "", "btrfs-progs xfsprogs e2fsprogs", append(fs.make, image)...); err != nil {
		return "", nil, err
	}
	if _, err := tool(ctx, "", "mount", "mount", "-o", "loop", image, top); err != nil {
		return "", nil, err
	}
	return top, func() error {
		if text, err := exec.Command("umount", top).CombinedOutput(); err != nil {
			return fmt.Errorf("umount %s: %w: %s", top, err, text) // and nothing below it is removed
		}
		return clean()
	}, nil
}

// settled returns how many bytes of a file system are used, once all is written
// and the figure stands still: btrfs and xfs free and find blocks in the
// background.
func settled(ctx context.Context, top string) (int64, error) {
	f, err := os.Open(top)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	last := int64(-1)
	for {
		if err := unix.Syncfs(int(f.Fd())); err != nil {
			return 0, fmt.Errorf("sync %s: %w", top, err)
		}
		var st unix.Statfs_t
		if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
			return 0, fmt.Errorf("space in %s: %w", top, err)
		}
		used := int64(st.Blocks-st.Bfree) * int64(st.Bsize)
		if used == last {
			return used, nil
		}
		last = used
		if err := sleep(ctx, 500*time.Millisecond); err != nil {
			return 0, err
		}
	}
}
