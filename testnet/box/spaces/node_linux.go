package spaces

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/scenario"
)

// node is a box.Node in a namespace. Its files are dir/data, or dir/disk/data if
// it has a disk of its own, and dir/files.
type node struct {
	e    *Enterprise
	host *host
	dir  string
	disk string // where its disk is mounted, or empty
	home string // the site that it is invited to

	// doing is held by what changes the process or the host, before mu.
	doing  sync.Mutex
	proc   *scenario.Node
	joined bool
	frozen bool

	mu    sync.Mutex
	pid   int
	ended <-chan struct{} // of the process; nil if it was never started
	site  string
}

var _ box.Node = (*node)(nil)

func (e *Enterprise) newNode(p box.Place) (_ *node, err error) {
	n := &node{e: e, host: e.network.hosts[p.Node], dir: filepath.Join(e.cfg.Dir, p.Node), home: p.Site, site: p.Site}
	flags := slices.Concat([]string{"--name", p.Node, "--config", "none"}, e.plan.Flags)
	n.proc = e.lab.Node(p.Node, n.host.space, flags...)
	n.proc.Log = filepath.Join(e.cfg.Dir, p.Node+".log")
	n.proc.Data = filepath.Join(n.dir, "data")
	if err := os.MkdirAll(filepath.Join(n.dir, "files"), 0o755); err != nil {
		return nil, err
	}
	if e.plan.Disk == 0 || p.Site == box.HQ {
		return n, nil
	}
	disk := filepath.Join(n.dir, "disk")
	n.proc.Data = filepath.Join(disk, "data")
	if err := os.Mkdir(disk, 0o755); err != nil {
		return nil, err
	}
	if err := unix.Mount("tmpfs", disk, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("size=%d,mode=755", e.plan.Disk)); err != nil {
		return nil, fmt.Errorf("mount the disk of %s: %w", p.Node, err)
	}
	n.disk = disk
	return n, nil
}

// remove takes away the node's files. It doesn't run.
func (n *node) remove() error {
	if n.disk != "" {
		if err := unix.Unmount(n.disk, 0); err != nil {
			return fmt.Errorf("unmount the disk of %s: %w", n.Name(), err)
		}
		n.disk = ""
	}
	// Where the socket is depends on the folder as it is, so that goes last.
	return errors.Join(removeSocket(n.proc.Data), os.RemoveAll(n.dir), os.RemoveAll(n.proc.Log))
}

// Name implements box.Node.
func (n *node) Name() string { return n.proc.Name }

// Site implements box.Node.
func (n *node) Site() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.site
}

// Running implements box.Node.
func (n *node) Running() bool {
	_, running := n.process()
	return running
}

func (n *node) process() (pid int, running bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case <-n.ended:
		return n.pid, false
	default:
		return n.pid, n.ended != nil
	}
}

// Start implements box.Node.
func (n *node) Start(ctx context.Context) error {
	n.doing.Lock()
	defer n.doing.Unlock()
	if n.Running() {
		return fmt.Errorf("start %s: it runs", n.Name())
	}
	// One that ended by itself is still to be taken note of.
	if err := n.proc.Kill(); err != nil {
		return err
	}
	var join []string
	switch {
	case n.joined:
	case n.Name() == box.Publisher:
		join = []string{"--site", box.HQ}
	default:
		token, err := n.e.tokens.one(ctx, n.home)
		if err != nil {
			return fmt.Errorf("start %s: %w", n.Name(), err)
		}
		join = []string{"--join", token}
	}
	if err := n.proc.Start(ctx, join...); err != nil {
		return err
	}
	n.joined, n.frozen = true, false
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pid, n.ended = n.proc.Pid(), n.proc.Ended()
	return nil
}

// Stop implements box.Node.
func (n *node) Stop(context.Context) error {
	n.doing.Lock()
	defer n.doing.Unlock()
	if n.frozen && n.Running() {
		return fmt.Errorf("stop %s: it is frozen and hears nothing; thaw it first", n.Name())
	}
	return n.proc.Stop()
}

// Kill implements box.Node.
func (n *node) Kill(context.Context) error {
	n.doing.Lock()
	defer n.doing.Unlock()
	return n.proc.Kill()
}

// Freeze implements box.Node.
func (n *node) Freeze(ctx context.Context) error { return n.signal(ctx, syscall.SIGSTOP, true) }

// Thaw implements box.Node.
func (n *node) Thaw(ctx context.Context) error { return n.signal(ctx, syscall.SIGCONT, false) }

// signal freezes or thaws the process, and returns once that is so.
func (n *node) signal(ctx context.Context, with syscall.Signal, frozen bool) error {
	n.doing.Lock()
	defer n.doing.Unlock()
	pid, running := n.process()
	if !running {
		return fmt.Errorf("send %v to %s: it doesn't run", with, n.Name())
	}
	if err := n.proc.Signal(with); err != nil {
		return fmt.Errorf("send %v to %s: %w", with, n.Name(), err)
	}
	n.frozen = frozen
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for {
		state, err := stateOf(pid)
		if err != nil {
			return fmt.Errorf("send %v to %s: %w", with, n.Name(), err)
		}
		if (state == 'T') == frozen {
			return nil
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return fmt.Errorf("send %v to %s: its state is still %c: %w", with, n.Name(), state, context.Cause(ctx))
		}
	}
}

// Unplug implements box.Node.
func (n *node) Unplug(context.Context) error {
	n.doing.Lock()
	defer n.doing.Unlock()
	return n.host.port.Unplug()
}

// Plug implements box.Node.
func (n *node) Plug(context.Context) error {
	n.doing.Lock()
	defer n.doing.Unlock()
	return n.host.port.Plug()
}

// Move implements box.Node.
func (n *node) Move(_ context.Context, name string) error {
	n.doing.Lock()
	defer n.doing.Unlock()
	to := n.e.network.sites[name]
	if to == nil {
		return fmt.Errorf("move %s: no site %q", n.Name(), name)
	}
	if n.Site() == name {
		return nil
	}
	if err := n.host.move(name, to); err != nil {
		return fmt.Errorf("move %s: %w", n.Name(), err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.site = name
	return nil
}

// Ask implements box.Node.
func (n *node) Ask(ctx context.Context, verb ...string) (scenario.Answer, error) {
	return n.proc.Ask(ctx, verb...)
}

// Client implements box.Node.
func (n *node) Client() (*api.Client, error) { return api.NewClient(n.proc.Data) }

// Path implements box.Node.
func (n *node) Path(name string) string { return filepath.Join(n.dir, "files", name) }

// Tool implements box.Node.
func (n *node) Tool(ctx context.Context, args ...string) *exec.Cmd {
	return scenario.Command(ctx, n.host.space, append([]string{n.e.cfg.Program}, args...)...)
}

// Fill implements box.Node.
func (n *node) Fill(_ context.Context, free int64) error {
	if n.disk == "" {
		return fmt.Errorf("fill the disk of %s: it has none of its own: %w", n.Name(), box.ErrCannot)
	}
	if err := fill(n.disk, n.ballast(), free); err != nil {
		return fmt.Errorf("fill the disk of %s: %w", n.Name(), err)
	}
	return nil
}

// Empty implements box.Node.
func (n *node) Empty(context.Context) error {
	if n.disk == "" {
		return fmt.Errorf("empty the disk of %s: it has none of its own: %w", n.Name(), box.ErrCannot)
	}
	return os.RemoveAll(n.ballast())
}

func (n *node) ballast() string { return filepath.Join(n.disk, "ballast") }
