package spaces

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/scenario"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

// link is a box.Link whose emulator runs here.
type link struct {
	emulator *wan.Emulator
	stop     context.CancelFunc
	ended    chan struct{}
	err      error // of an emulator that ended
}

var _ box.Link = (*link)(nil)

func newLink(site string, cfg wan.Config) (*link, error) {
	e, err := wan.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("link of %s: %w", site, err)
	}
	ctx, stop := context.WithCancel(context.Background()) // until Close
	l := &link{emulator: e, stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(l.ended)
		if err := e.Run(ctx); err != nil {
			l.err = fmt.Errorf("link of %s: %w", site, err)
		}
	}()
	return l, nil
}

// failed returns why the emulator has ended, if it has.
func (l *link) failed() error {
	select {
	case <-l.ended:
		return l.err
	default:
		return nil
	}
}

// Set implements box.Link.
func (l *link) Set(_ context.Context, d box.Direction, s wan.Settings) error {
	return errors.Join(l.failed(), l.emulator.Set(d, s))
}

// Settings implements box.Link.
func (l *link) Settings(_ context.Context, d box.Direction) (wan.Settings, error) {
	return l.emulator.Settings(d), l.failed()
}

// Counts implements box.Link.
func (l *link) Counts(_ context.Context, d box.Direction) (wan.Counts, error) {
	return l.emulator.Counts(d), l.failed()
}

// Close ends the emulator.
func (l *link) Close() error {
	l.stop()
	<-l.ended
	return errors.Join(l.err, l.emulator.Close())
}

// router is a box.Link whose emulator is a process of its own, in the router's
// namespace: that of `testnet router`, as containers have it.
type router struct {
	site    string
	process *exec.Cmd
	stop    context.CancelFunc // asks the process to end
	said    *strings.Builder   // on stderr; read it once the process has ended
	control *wan.Control
	socket  string
	scratch string // a folder for the socket alone, or empty
}

// maxSocket is the longest path of a unix socket (unix(7)): 108 bytes with the zero
// behind it.
const maxSocket = 107

var _ box.Link = (*router)(nil)

func newRouter(ctx context.Context, space *scenario.Space, cfg Config, site string, i int, seed uint64, settings [2]wan.Settings) (_ *router, err error) {
	name := "link-" + site + ".sock"
	r := &router{site: site, said: &strings.Builder{}, socket: filepath.Join(cfg.Dir, name)}
	if len(r.socket) > maxSocket {
		if r.scratch, err = TempDir(); err != nil {
			return nil, fmt.Errorf("link of %s: %w", site, err)
		}
		r.socket = filepath.Join(r.scratch, name)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.sweep())
		}
	}()
	if len(r.socket) > maxSocket {
		return nil, fmt.Errorf("link of %s: %s is too long for a socket; set TMPDIR to a folder with a shorter name, such as /tmp", site, r.socket)
	}
	r.control = wan.NewControl(r.socket)
	argv := []string{
		cfg.Router, "router", "--site", site, "--control", r.socket, "--seed", strconv.FormatUint(seed, 10),
		"--gateway", box.Gateway(i).String(), "--wan", box.WANAddr(i).String(),
		"--up", settings[box.Up].String(), "--down", settings[box.Down].String(),
	}
	ctx, cancel := context.WithTimeoutCause(ctx, routerStart, fmt.Errorf("its router isn't ready after %v", routerStart))
	defer cancel()
	if err := r.start(ctx, space, argv); err != nil {
		return nil, fmt.Errorf("link of %s: %w", site, err)
	}
	return r, nil
}

const (
	routerStart = time.Minute      // how long a router may take until it is ready
	routerEnd   = 20 * time.Second // and to end when asked; then it is killed
)

// start runs the process, and returns once it says what it does.
func (r *router) start(ctx context.Context, space *scenario.Space, argv []string) error {
	running, stop := context.WithCancel(context.Background()) // until Close
	r.stop = stop
	r.process = scenario.Command(running, space, argv...)
	r.process.Cancel = func() error { return r.process.Process.Signal(syscall.SIGTERM) }
	r.process.WaitDelay = routerEnd
	r.process.Stderr = r.said
	out, err := r.process.StdoutPipe()
	if err == nil {
		err = r.process.Start()
	}
	if err != nil {
		stop()
		return err
	}
	kill := func() { _ = r.process.Process.Kill() } // it fails if there is nothing to kill
	undo := context.AfterFunc(ctx, kill)
	line := bufio.NewScanner(out)
	if line.Scan() && undo() {
		return nil
	}
	if line.Err() != nil {
		kill() // what it says is no line
	}
	err = r.process.Wait()
	undo()
	stop()
	return fmt.Errorf("its router ended: %w: %s", errors.Join(context.Cause(ctx), line.Err(), err), r.said)
}

// Set implements box.Link.
func (r *router) Set(ctx context.Context, d box.Direction, s wan.Settings) error {
	return r.failed(r.control.Set(ctx, d, s))
}

// Settings implements box.Link.
func (r *router) Settings(ctx context.Context, d box.Direction) (wan.Settings, error) {
	state, err := r.control.State(ctx, d)
	if err != nil {
		return wan.Settings{}, r.failed(err)
	}
	s, err := wan.Parse(state.Settings)
	return s, r.failed(err)
}

// Counts implements box.Link.
func (r *router) Counts(ctx context.Context, d box.Direction) (wan.Counts, error) {
	state, err := r.control.State(ctx, d)
	return state.Counts, r.failed(err)
}

func (r *router) failed(err error) error {
	if err != nil {
		return fmt.Errorf("link of %s: %w", r.site, err)
	}
	return nil
}

// Close ends the process, and fails if it doesn't end well. One that has ended
// already was interrupted together with this one.
func (r *router) Close() error {
	r.stop()
	err := r.process.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil // it ended with 0, because it was asked to
	}
	if err != nil {
		err = fmt.Errorf("router of %s: %w: %s", r.site, err, r.said)
	}
	return errors.Join(err, r.sweep())
}

// sweep removes the socket, and the folder that was made for it.
func (r *router) sweep() error {
	err := os.RemoveAll(r.socket)
	if r.scratch != "" {
		err = errors.Join(err, os.RemoveAll(r.scratch))
	}
	return err
}
