//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/testnet/scenario"
)

// rawWarm FILE PERIOD is this program as a child that works with a file: it
// reads all of it twice, says so, and again after each period unless that is 0,
// until its input ends.
const rawWarm = "raw-warm"

// Of a machine that seeds a content of size bytes: with the 8 GiB of an image,
// 1 GiB of memory and a file of 256 MiB that somebody works with.
func smallMemory(size int64) int64 { return size / 8 }
func warmBytes(size int64) int64   { return size / 32 }

// rereads is how often the busy program reads its file again.
const rereads = 10 * time.Second

// pagecache measures how much of a file that another program works with leaves
// the page cache while a node on a small machine seeds. Beside it stands what
// plain reads of as many bytes do.
//
// The program has read its file twice before, as one that works with it would:
// the system then holds on to it before what was read once. In one run it leaves
// the file alone while the node seeds, in the other it reads it again every ten
// seconds, and the most that was missing before a reading counts.
func pagecache(ctx context.Context, b *bench) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("limit the memory of processes: only root can")
	}
	if err := notTmpfs(b.lab.Dir); err != nil {
		return err
	}
	group, err := newCgroup(smallMemory(b.size))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.lab.Close(), group.Close()) }()
	if err := scenario.Sample(b.sample, b.size, 1); err != nil {
		return err
	}
	warm := filepath.Join(b.lab.Dir, "warm.bin")
	if err := scenario.Sample(warm, warmBytes(b.size), 2); err != nil {
		return err
	}

	for _, period := range []time.Duration{0, rereads} {
		evicted, err := b.beside(ctx, group, warm, period, func() error { return b.read(ctx, group) })
		if err != nil {
			return err
		}
		b.evicted("plain reads", period, evicted)
	}
	hub := b.lab.Node("hub", nil, b.flags()...)
	start := func(flags ...string) error {
		if err := hub.Start(ctx, flags...); err != nil {
			return err
		}
		return group.Join(hub.Pid())
	}
	// A node takes a sixteenth of the memory that it sees, which is the machine's.
	budget := fmt.Sprintf("%dMiB", smallMemory(b.size)/16/mib)
	if err := start("--site", "hq", "--cache-pages", budget); err != nil {
		return err
	}
	var id string
	evicted, err := b.beside(ctx, group, warm, 0, func() (err error) {
		if err := uncache(b.sample); err != nil {
			return err
		}
		id, err = hub.Tell(ctx, "add", "-q", b.sample)
		return err
	})
	if err != nil {
		return err
	}
	b.evicted("add", 0, evicted)
	if err := os.Remove(b.sample); err != nil {
		return err
	}
	for _, pages := range []string{"none", budget} {
		if err := hub.Stop(); err != nil {
			return err
		}
		if err := start("--cache-pages", pages); err != nil {
			return err
		}
		for _, period := range []time.Duration{0, rereads} {
			evicted, err := b.beside(ctx, group, warm, period, func() error { return b.seed(ctx, hub, id, fmt.Sprint("member", pages, period)) })
			if err != nil {
				return err
			}
			b.evicted("seeding with --cache-pages "+pages, period, evicted)
		}
	}
	return nil
}

func (b *bench) evicted(what string, period time.Duration, share float64) {
	how := "left alone"
	if period > 0 {
		how = fmt.Sprintf("read every %v", period)
	}
	b.table.add(fmt.Sprintf("%s, the file %s", what, how), "% evicted", 100*share)
}

// seed has a node outside of the group get all of the content. The serving node
// has nothing of it in memory at first.
func (b *bench) seed(ctx context.Context, hub *scenario.Node, id, member string) (err error) {
	if err := uncache(hub.Data); err != nil {
		return err
	}
	token, err := hub.Tell(ctx, "invite", "--site", "hq")
	if err != nil {
		return err
	}
	m := b.lab.Node(member, nil, "--mdns", "off", "--listen", "/ip4/0.0.0.0/tcp/0")
	if err := m.Start(ctx, "--join", token); err != nil {
		return err
	}
	out := filepath.Join(b.lab.Dir, "copy")
	var r api.GetResult
	if err := m.Read(ctx, &r, "get", id, "-o", out); err != nil {
		return err
	}
	if r.From.Total() != b.size || !r.Verified {
		return fmt.Errorf("get: %+v: want %d bytes fetched and verified", r, b.size)
	}
	return b.discard(out, m)
}

// read reads the sample in the group, as a program does that gives no hints.
func (b *bench) read(ctx context.Context, group *cgroup) error {
	if err := uncache(b.sample); err != nil {
		return err
	}
	cmd, in, err := started(scenario.Command(ctx, nil, "sh", "-c", `read go && exec cat "$0" >/dev/null`, b.sample), group)
	if err != nil {
		return err
	}
	return errors.Join(in.Close(), cmd.Wait())
}

// started starts a program, puts it into the group, and then writes it a line.
func started(cmd *exec.Cmd, group *cgroup) (_ *exec.Cmd, in io.WriteCloser, err error) {
	if in, err = cmd.StdinPipe(); err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	err = group.Join(cmd.Process.Pid)
	if err == nil {
		_, err = io.WriteString(in, "go\n")
	}
	if err != nil {
		return nil, nil, errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	return cmd, in, nil
}

// beside calls work while a program in the group works with the file, and
// returns the greatest share of the file that was not in memory when the program
// would have read it again, or at the end.
func (b *bench) beside(ctx context.Context, group *cgroup, file string, period time.Duration, work func() error) (share float64, err error) {
	if err := uncache(file); err != nil {
		return 0, err
	}
	cmd := scenario.Command(ctx, nil, "/proc/self/exe", rawWarm, file, period.String())
	cmd.Stderr = os.Stderr
	says, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	cmd, in, err := started(cmd, group)
	if err != nil {
		return 0, err
	}
	var most float64
	if _, err = fmt.Fscanln(says, &most); err == nil { // it has read the file
		err = stays(file)
	}
	heard := make(chan error, 1)
	go func() {
		for {
			var gone float64
			if _, err := fmt.Fscanln(says, &gone); err != nil {
				heard <- err
				return
			}
			most = max(most, gone)
		}
	}()
	if err == nil {
		err = work()
	}
	gone, err2 := missing(file)
	err = errors.Join(err, err2, in.Close())
	if err3 := <-heard; err3 != io.EOF {
		err = errors.Join(err, err3)
	}
	return max(most, gone), errors.Join(err, cmd.Wait())
}

// stays fails unless all of file, which was just read, is in memory.
func stays(file string) error {
	gone, err := missing(file)
	if err == nil && gone > 0 {
		err = fmt.Errorf("%.1f %% of %s are not in memory though they were just read", 100*gone, file)
	}
	return err
}

// warm is the program that works with a file.
func warm(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("%s: wrong arguments", rawWarm)
	}
	period, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	in := make([]byte, 1)
	if _, err := io.ReadFull(os.Stdin, in); err != nil { // it is in its group now
		return err
	}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	for range 2 {
		if err := scan(args[0]); err != nil {
			return err
		}
	}
	fmt.Println(0)
	var tick <-chan time.Time
	if period > 0 {
		tick = time.NewTicker(period).C
	}
	for {
		select {
		case <-ended:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick:
			gone, err := missing(args[0])
			if err != nil {
				return err
			}
			fmt.Println(gone)
			if err := scan(args[0]); err != nil {
				return err
			}
		}
	}
}

// scan reads a file from one end to the other.
func scan(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(io.Discard, struct{ io.Reader }{f})
	return err
}

// missing returns the share of a file's pages that are not in memory.
func missing(file string) (share float64, err error) {
	info, err := os.Stat(file)
	if err != nil {
		return 0, err
	}
	var failed error
	err = mapped(file, info.Size(), func(data []byte) {
		pages := make([]byte, (len(data)+os.Getpagesize()-1)/os.Getpagesize())
		// mincore(2): the lowest bit of a page's byte says whether it is there.
		if _, _, code := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)), uintptr(unsafe.Pointer(&pages[0]))); code != 0 {
			failed = fmt.Errorf("pages of %s in memory: %w", file, code)
		}
		gone := 0
		for _, p := range pages {
			if p&1 == 0 {
				gone++
			}
		}
		share = float64(gone) / float64(len(pages))
	})
	return share, errors.Join(err, failed)
}

// uncache writes all files at path to disk and drops them from memory, so that
// whoever reads them next is charged for it.
func uncache(path string) error {
	return filepath.WalkDir(path, func(at string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(at)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := f.Sync(); err != nil {
			return err
		}
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
}

// notTmpfs fails for a folder whose files are nowhere but in memory.
func notTmpfs(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return err
	}
	if st.Type == unix.TMPFS_MAGIC {
		return fmt.Errorf("%s is in memory: give a -dir on a disk", dir)
	}
	return nil
}
