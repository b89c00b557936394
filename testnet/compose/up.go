package compose

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/p2pnode/p2pnode/testnet/box"
)

// ready bounds the wait of Up for all nodes, once their containers are started.
const ready = 3 * time.Minute

// Up builds the image and starts a Setup, and returns when all nodes are ready. It
// tells say what it has done. If it fails, or the context ends, it takes everything
// away again; so does Close of what it returns.
func Up(ctx context.Context, s Setup, say func(format string, args ...any)) (_ *Enterprise, err error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	version, err := engine(ctx, answers)
	if err != nil {
		return nil, err
	}
	tool, toolVersion, err := tool(ctx)
	if err != nil {
		return nil, err
	}
	// Until here nothing is ours: what stands is left alone.
	dir, release, err := claim(ctx, os.TempDir())
	if err != nil {
		return nil, err
	}
	if err = alone(ctx); err == nil {
		err = free(s.Port)
	}
	if err != nil {
		return nil, errors.Join(err, release())
	}
	say("using %s %s, engine %s", strings.Join(tool, " "), toolVersion, version)
	defer func() {
		if err == nil {
			return
		}
		// Also after an interrupt: leaving nothing behind comes first.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
		defer cancel()
		removed, derr := Down(clean)
		if err = errors.Join(err, derr); derr == nil && removed != (Removal{}) {
			say("taken away again: %v", removed)
		}
	}()
	defer func() { err = errors.Join(err, release()) }()
	say("building p2pnode, which takes a minute or two the first time")
	bytes, err := build(ctx, dir)
	if err != nil {
		return nil, err
	}
	say("built p2pnode (linux, static, %d MB) and image %s", bytes/1_000_000, image)
	if err := start(ctx, tool, dir, s); err != nil {
		return nil, err
	}
	say("started %d nodes, %d routers", len(s.Plan.Places()), len(s.Plan.Sites()))
	e, err := attach(ctx)
	if err != nil {
		return nil, err
	}
	if err := e.wait(ctx); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, e.troubled(ctx))
	}
	e.close = func() error {
		clean, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		_, err := Down(clean)
		return err
	}
	return e, nil
}

// alone returns an error if a testnet, or what is left of one, is here.
func alone(ctx context.Context) error {
	found, err := containers(ctx)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(found, func(c container) bool { return c.State == "running" }) {
		return errors.New("a testnet stands here already, and two would have the same addresses. See it: go run ./testnet verify   Take it away: go run ./testnet down")
	}
	left := len(found)
	for _, kind := range []string{"network", "volume"} {
		ids, err := lines(ctx, kind, "ls", "-q", "--filter", "label="+label)
		if err != nil {
			return err
		}
		left += len(ids)
	}
	if left > 0 {
		return errors.New("a testnet was left behind here that doesn't run. Take it away: go run ./testnet down")
	}
	return nil
}

// free returns an error if somebody has the window's port: docker would find out
// after the build only.
func free(port int) error {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	switch {
	case err == nil:
		return l.Close()
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("port %d of this machine is taken; choose another: go run ./testnet up --port N", port)
	}
	return nil // docker may have a right that this process hasn't
}

// start writes the compose file and has compose start what it says.
func start(ctx context.Context, tool []string, dir string, s Setup) error {
	path := filepath.Join(dir, "docker-compose.yml")
	if err := os.WriteFile(path, []byte(File(s)), 0o644); err != nil {
		return err
	}
	// A busy engine may take its time; the context bounds it.
	_, err := run(ctx, []string{"COMPOSE_HTTP_TIMEOUT=300"}, append(tool[:len(tool):len(tool)], "-p", Project, "-f", path, "up", "-d")...)
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), "port is already allocated"), strings.Contains(err.Error(), "address already in use"):
		return fmt.Errorf("port %d of this machine is taken; choose another: go run ./testnet up --port N\n%w", s.Port, err)
	case strings.Contains(err.Error(), "overlaps with other one"):
		return fmt.Errorf("another network on this machine has addresses of %v to %v: `docker network ls` lists those of Docker, `docker network rm NAME` takes one away\n%w", box.WAN(), windowNet, err)
	}
	return err
}

// wait returns when all nodes are ready, or one has ended, or too much time has
// passed.
func (e *Enterprise) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, ready, fmt.Errorf("not all nodes ready after %v", ready))
	defer cancel()
	for i := 0; ; i++ {
		waiting := ""
		for _, n := range e.nodes {
			if err := n.ready(ctx); err != nil {
				waiting = fmt.Sprintf("%s: %v", n.name, err)
				break
			}
		}
		if waiting == "" {
			return nil
		}
		if i%10 == 9 {
			if err := e.alive(ctx); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", context.Cause(ctx), waiting)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// alive returns an error if a container has ended that shouldn't have.
func (e *Enterprise) alive(ctx context.Context) error {
	found, err := containers(ctx)
	if err != nil {
		return err
	}
	var ended []string
	for _, c := range found {
		if failed(c) {
			ended = append(ended, c.Service)
		}
	}
	if len(ended) > 0 {
		return fmt.Errorf("ended by itself: %s", strings.Join(ended, ", "))
	}
	return nil
}

// failed reports whether a container has ended that shouldn't have.
func failed(c container) bool {
	return c.State == "exited" && !(c.Service == "invite" && strings.Contains(c.Status, "(0)"))
}

// troubled returns the end of what those wrote that have ended or aren't ready.
func (e *Enterprise) troubled(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	found, err := containers(ctx)
	if err != nil {
		return err.Error()
	}
	// Those that wait for one that has ended have nothing to say.
	ended := slices.ContainsFunc(found, failed)
	var b strings.Builder
	for _, c := range found {
		n, _ := e.Node(c.Service).(*node)
		if !failed(c) && (ended || n == nil || n.ready(ctx) == nil) {
			continue
		}
		if b.Len() > 16<<10 {
			fmt.Fprintf(&b, "--- and others\n")
			break
		}
		fmt.Fprintf(&b, "--- %s (%s)\n%s", c.Service, c.Status, tail(ctx, c.ID, 20))
	}
	return b.String()
}
