package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/p2pnode/p2pnode/node/api"
)

// A Node is one p2pnode process and its data folder. Its methods are for one
// goroutine, those that run a verb for several.
type Node struct {
	Name string
	Data string
	Log  string // a file, what it writes

	lab     *Lab
	space   *Space
	flags   []string
	run     *exec.Cmd
	log     *os.File
	ended   chan struct{} // closed when run has been waited for
	started time.Time
	ready   time.Duration
}

// Move says where and how the node runs when it is next started.
func (n *Node) Move(space *Space, flags ...string) { n.space, n.flags = space, flags }

// Start runs the node and returns once it says that it is ready. More flags
// count for this time only.
func (n *Node) Start(ctx context.Context, flags ...string) error {
	log, err := os.OpenFile(n.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("start %s: %w", n.Name, err)
	}
	args := append([]string{"--data", n.Data, "run"}, n.flags...)
	n.run = n.command(append(args, flags...)...)
	ready := make(chan struct{})
	watch := &watcher{to: log, word: []byte("ready in"), seen: sync.OnceFunc(func() { close(ready) })}
	n.run.Stdout, n.run.Stderr = watch, watch
	n.started = time.Now()
	if err := n.run.Start(); err != nil {
		return fmt.Errorf("start %s: %w", n.Name, errors.Join(err, log.Close()))
	}
	n.log, n.ended = log, make(chan struct{})
	run, ended := n.run, n.ended
	go func() {
		_ = run.Wait() // how it ended is told by ProcessState
		close(ended)
	}()
	select {
	case <-ready:
		n.ready = time.Since(n.started)
		return nil
	case <-n.ended:
		return fmt.Errorf("start %s: it ended (%v); it said:\n%s", n.Name, n.run.ProcessState, n.tail())
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(patience):
		err = fmt.Errorf("not ready after %v", patience)
	}
	return fmt.Errorf("start %s: %w; it said:\n%s", n.Name, errors.Join(err, n.Kill()), n.tail())
}

// Ready returns how long the last start took, from exec to `ready`.
func (n *Node) Ready() time.Duration { return n.ready }

// Pid returns the process id of the running node.
func (n *Node) Pid() int { return n.run.Process.Pid }

// Ended returns what is closed once the process of the last Start has ended,
// asked or not; nil if there was none.
func (n *Node) Ended() <-chan struct{} { return n.ended }

// Running reports whether the node was started and not ended.
func (n *Node) Running() bool { return n.run != nil }

// Signal sends a signal to the running node, and to no other process: it is an
// error if that has ended.
func (n *Node) Signal(s os.Signal) error { return n.run.Process.Signal(s) }

// Kill ends the node as a power cut ends its process: SIGKILL. A node that does
// not run is left alone.
func (n *Node) Kill() error { return n.end(os.Kill) }

// Stop asks the node to end (SIGTERM) and fails if it doesn't, or not with 0.
func (n *Node) Stop() error {
	run := n.run
	if err := n.end(syscall.SIGTERM); err != nil {
		return err
	}
	if run != nil && run.ProcessState.ExitCode() != 0 {
		return fmt.Errorf("stop %s: %v; it said:\n%s", n.Name, run.ProcessState, n.tail())
	}
	return nil
}

func (n *Node) end(with os.Signal) error {
	if n.run == nil {
		return nil
	}
	var errs []error
	if err := n.run.Process.Signal(with); err != nil && !errors.Is(err, os.ErrProcessDone) {
		errs = append(errs, err)
	}
	select {
	case <-n.ended:
	case <-time.After(patience):
		errs = append(errs, fmt.Errorf("still running %v after %v", patience, with), n.run.Process.Kill())
		<-n.ended
	}
	errs = append(errs, n.log.Close())
	n.run = nil
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("end %s: %w", n.Name, err)
	}
	return nil
}

func (n *Node) tail() string {
	text, _ := os.ReadFile(n.Log)
	return string(text[max(0, len(text)-4<<10):])
}

// command returns a command of the binary in the node's network.
func (n *Node) command(args ...string) *exec.Cmd {
	return Command(context.Background(), n.space, append([]string{n.lab.Binary}, args...)...)
}

// Command returns a command that runs in space, or here if that is nil, and is
// killed when ctx or this process ends.
func Command(ctx context.Context, space *Space, argv ...string) *exec.Cmd {
	if space != nil {
		argv = space.argv(argv)
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	orphan(cmd)
	return cmd
}

// An Answer is what a verb wrote, and how it ended.
type Answer struct {
	Verb   string
	Stdout string
	Stderr string
	Code   int
	Took   time.Duration
}

// Err returns nil if the verb ended with code, else an error with the end of what
// it wrote.
func (a Answer) Err(code int) error {
	if a.Code == code {
		return nil
	}
	return fmt.Errorf("%s: exit %d after %v, want %d\n%s%s", a.Verb, a.Code, a.Took.Round(time.Millisecond), code, end(a.Stdout), end(a.Stderr))
}

// end returns the last lines of a text: a long get writes many.
func end(s string) string {
	const most = 2 << 10
	if len(s) <= most {
		return s
	}
	s = s[len(s)-most:]
	return "..." + s[strings.IndexByte(s, '\n')+1:]
}

// Ask runs a verb of the command line against the node and waits for its end,
// which comes at the latest when ctx does.
func (n *Node) Ask(ctx context.Context, verb ...string) (Answer, error) {
	var stdout, stderr bytes.Buffer
	cmd := Command(ctx, n.space, append([]string{n.lab.Binary, "--data", n.Data}, verb...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	a := Answer{Verb: n.Name + ": p2pnode " + strings.Join(verb, " ")}
	start := time.Now()
	err := cmd.Run()
	if cmd.ProcessState == nil {
		return a, fmt.Errorf("%s: %w", a.Verb, err)
	}
	a.Stdout, a.Stderr, a.Code, a.Took = stdout.String(), stderr.String(), cmd.ProcessState.ExitCode(), time.Since(start)
	if ctx.Err() != nil {
		return a, fmt.Errorf("%s: %w\n%s%s", a.Verb, context.Cause(ctx), end(a.Stdout), end(a.Stderr))
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return a, fmt.Errorf("%s: %w", a.Verb, err)
	}
	return a, nil
}

// Tell runs a verb that must succeed, and returns what it wrote without the
// line end.
func (n *Node) Tell(ctx context.Context, verb ...string) (string, error) {
	a, err := n.Ask(ctx, verb...)
	if err == nil {
		err = a.Err(0)
	}
	return strings.TrimRight(a.Stdout, "\n"), err
}

// Read runs a verb with --json and decodes the last line of its answer.
func (n *Node) Read(ctx context.Context, into any, verb ...string) error {
	text, err := n.Tell(ctx, append(verb, "--json")...)
	if err != nil {
		return err
	}
	last := text[strings.LastIndexByte(text, '\n')+1:]
	if err := json.Unmarshal([]byte(last), into); err != nil {
		return fmt.Errorf("%s: p2pnode %s --json: %w\n%s", n.Name, strings.Join(verb, " "), err, end(text))
	}
	return nil
}

// Here returns how many verified bytes of a content the node has; none if it
// doesn't know of it. It asks the local API itself, which takes a millisecond
// where a verb takes the start of a process.
func (n *Node) Here(ctx context.Context, id string) (int64, error) {
	c, err := api.NewClient(n.Data)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", n.Name, err)
	}
	defer c.Close()
	d, err := c.Content(ctx, id)
	if errors.Is(err, &api.Error{Code: api.NotFound}) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("%s: bytes of %s: %w", n.Name, id, err)
	}
	return d.Here, nil
}

// watcher passes what a process writes on to a file, and looks for a word in it.
type watcher struct {
	to   *os.File
	word []byte
	seen func()

	mu   sync.Mutex
	tail []byte // the last bytes, in case the word comes in two writes
}

func (w *watcher) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tail = append(w.tail, p...)
	if bytes.Contains(w.tail, w.word) {
		w.seen()
	}
	w.tail = append([]byte(nil), w.tail[max(0, len(w.tail)-len(w.word)):]...)
	return w.to.Write(p)
}
