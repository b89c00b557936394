//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/scenario"
)

// rawExec PROGRAM ARGS: what this is called as its own child to run another program
// on a machine of the box, in its own place.
const rawExec = "raw-exec"

func execute(_ context.Context, args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("%s: wrong arguments", rawExec)
	}
	path, err := exec.LookPath(args[1])
	if err != nil {
		return err
	}
	return syscall.Exec(path, args[1:], os.Environ())
}

// programs are those of another means, which run until end.
type programs struct {
	ctx    context.Context // of processes: it outlasts the gets that start them
	cancel context.CancelFunc

	mu   sync.Mutex
	all  []*program
	left []string // files and folders to remove
}

type program struct {
	cmd   *exec.Cmd
	said  bytes.Buffer // on stderr; read it once the process has ended
	ended chan struct{}
}

func (p *programs) begin(ctx context.Context) {
	p.ctx, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
}

// start runs a program at a node, with more in its environment.
func (p *programs) start(n box.Node, env []string, argv ...string) error {
	cmd := n.Tool(p.ctx, append([]string{rawExec}, argv...)...)
	cmd.Env = append(os.Environ(), env...)
	return p.add(cmd)
}

// says runs this program at a node, and returns the first line that it writes.
func (p *programs) says(n box.Node, args ...string) (string, error) {
	cmd := n.Tool(p.ctx, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := p.add(cmd); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	return strings.TrimSpace(line), err
}

func (p *programs) add(cmd *exec.Cmd) error {
	one := &program{cmd: cmd, ended: make(chan struct{})}
	cmd.Stderr = &one.said
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		defer close(one.ended)
		_ = cmd.Wait() // how it ended is in its state
	}()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, one)
	return nil
}

// failed returns what a program said that has ended already.
func (p *programs) failed() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range p.all {
		select {
		case <-one.ended:
			return fmt.Errorf("%s: %v: %s", strings.Join(one.cmd.Args, " "), one.cmd.ProcessState, &one.said)
		default:
		}
	}
	return nil
}

// appears waits for a file that one of them makes.
func (p *programs) appears(ctx context.Context, path string) error {
	for {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		if err := errors.Join(p.failed(), sleep(ctx, 5*time.Millisecond)); err != nil {
			return err
		}
	}
}

// remove has something removed at the end.
func (p *programs) remove(paths ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left = append(p.left, paths...)
}

func (p *programs) usage() (all usage, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range p.all {
		u, err := scenario.UsageOf(one.cmd.Process.Pid)
		if err != nil {
			return usage{}, err
		}
		all.cpu += u.CPU
		all.most(usage{peak: u.PeakRSS})
	}
	return all, nil
}

// end ends all of them. One that has ended by itself failed.
func (p *programs) end() error {
	if p.cancel == nil {
		return nil
	}
	err := p.failed()
	p.cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range p.all {
		<-one.ended
	}
	for _, path := range p.left {
		err = errors.Join(err, os.RemoveAll(path))
	}
	p.all, p.left = nil, nil
	return err
}
