package compose

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/compose/inside"
	"github.com/p2pnode/p2pnode/testnet/scenario"
)

// patience bounds each wait for something that takes a second on a quiet machine.
const patience = time.Minute

// A node is one endpoint's container.
type node struct {
	e        *Enterprise
	name, id string
}

func (n *node) Name() string { return n.name }

func (n *node) Site() string { return n.e.at(n.name).site }

func (n *node) failed(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", what, n.name, err)
}

// home returns the site where the node begins.
func (n *node) home() string {
	for _, p := range n.e.setup.Plan.Places() {
		if p.Node == n.name {
			return p.Site
		}
	}
	return ""
}

// ready returns nil if the node says that it is.
func (n *node) ready(ctx context.Context) error {
	c, err := n.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	r, err := c.Ready(ctx)
	if err == nil && !r.Ready {
		err = errors.New("not ready")
	}
	return err
}

func (n *node) Start(ctx context.Context) error {
	if _, err := docker(ctx, "start", n.id); err != nil {
		return n.failed("start", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not ready after %v", patience))
	defer cancel()
	for i := 1; ; i++ {
		err := n.ready(ctx)
		if err == nil {
			return nil
		}
		if i%10 == 0 && !n.Running() {
			return n.failed("start", fmt.Errorf("it ended; it said:\n%s", tail(ctx, n.id, 20)))
		}
		select {
		case <-ctx.Done():
			return n.failed("start", fmt.Errorf("%w: %w", context.Cause(ctx), err))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (n *node) Stop(ctx context.Context) error {
	if running, err := n.running(ctx); err != nil || !running {
		return n.failed("stop", err)
	}
	if _, err := docker(ctx, "stop", "-t", "30", n.id); err != nil {
		return n.failed("stop", err)
	}
	code, err := docker(ctx, "inspect", "-f", "{{.State.ExitCode}}", n.id)
	if code = strings.TrimSpace(code); err == nil && code != "0" {
		err = fmt.Errorf("it ended with %s; it said:\n%s", code, tail(ctx, n.id, 20))
	}
	return n.failed("stop", err)
}

func (n *node) Kill(ctx context.Context) error {
	if running, err := n.running(ctx); err != nil || !running {
		return n.failed("kill", err)
	}
	if _, err := docker(ctx, "kill", n.id); err != nil {
		return n.failed("kill", err)
	}
	_, err := docker(ctx, "wait", n.id)
	return n.failed("kill", err)
}

func (n *node) Running() bool {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	running, err := n.running(ctx)
	return err == nil && running
}

// running is Running for whoever must not take an engine that doesn't answer for a
// node that doesn't run.
func (n *node) running(ctx context.Context) (bool, error) {
	text, err := docker(ctx, "inspect", "-f", "{{.State.Running}}", n.id)
	return strings.TrimSpace(text) == "true", err
}

func (n *node) Freeze(ctx context.Context) error {
	_, err := docker(ctx, "pause", n.id)
	return n.failed("freeze", err)
}

func (n *node) Thaw(ctx context.Context) error {
	_, err := docker(ctx, "unpause", n.id)
	return n.failed("thaw", err)
}

// Unplug takes the machine's interface down. The container's next start puts it
// back.
func (n *node) Unplug(ctx context.Context) error {
	return n.failed("unplug", n.cable(ctx, "unplug"))
}

func (n *node) Plug(ctx context.Context) error {
	site := slices.Index(n.e.setup.Plan.Sites(), n.Site())
	return n.failed("plug", n.cable(ctx, "plug", box.Gateway(site).Addr().String()))
}

// cable does what only root may, with the one capability that the container's other
// processes can't have.
func (n *node) cable(ctx context.Context, args ...string) error {
	_, err := docker(ctx, append([]string{"exec", "-u", "0", n.id, "/testnet", "cable"}, args...)...)
	return err
}

func (n *node) Move(ctx context.Context, site string) error {
	here := n.e.at(n.name)
	switch {
	case here.site == site:
		return nil
	case !slices.Contains(n.e.setup.Plan.Sites(), site):
		return n.failed("move", fmt.Errorf("there is no site %s", site))
	}
	addr := n.e.reserve(n.name, site)
	if addr == "" {
		return n.failed("move", fmt.Errorf("all addresses of %s are taken", site))
	}
	if here.site != "" {
		if _, err := docker(ctx, "network", "disconnect", n.e.project+"_"+here.site, n.id); err != nil {
			n.e.put(n.name, here)
			return n.failed("move", err)
		}
	}
	_, err := docker(ctx, "network", "connect", "--ip", addr, n.e.project+"_"+site, n.id)
	if err != nil {
		n.e.put(n.name, place{}) // it has left the one and isn't at the other
	}
	return n.failed("move", err)
}

// exec returns a command in the container that ends when the caller does.
func (n *node) exec(ctx context.Context, argv ...string) *exec.Cmd {
	cmd := scenario.Command(ctx, nil, append([]string{"docker", "exec", "-i", n.id, "/testnet", "leash"}, argv...)...)
	// The leash is held by its stdin, which is open until the command has ended.
	// There is no error if it wasn't set before.
	_, _ = cmd.StdinPipe()
	return cmd
}

func (n *node) Tool(ctx context.Context, args ...string) *exec.Cmd {
	return n.exec(ctx, append([]string{"/testnet"}, args...)...)
}

func (n *node) Path(name string) string { return "/data/files/" + name }

func (n *node) Ask(ctx context.Context, verb ...string) (scenario.Answer, error) {
	var stdout, stderr bytes.Buffer
	cmd := n.exec(ctx, append([]string{"/p2pnode"}, verb...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	a := scenario.Answer{Verb: n.name + ": p2pnode " + strings.Join(verb, " ")}
	start := time.Now()
	err := cmd.Run()
	a.Stdout, a.Stderr, a.Took = stdout.String(), stderr.String(), time.Since(start)
	if ctx.Err() != nil {
		return a, fmt.Errorf("%s: %w\n%s%s", a.Verb, context.Cause(ctx), a.Stdout, a.Stderr)
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return a, fmt.Errorf("%s: %w", a.Verb, err)
	}
	// What docker itself says: the container doesn't run, or is frozen.
	if strings.HasPrefix(a.Stderr, "Error response from daemon") {
		return a, fmt.Errorf("%s: %s", a.Verb, strings.TrimSpace(a.Stderr))
	}
	a.Code = cmd.ProcessState.ExitCode()
	return a, nil
}

func (n *node) Client() (*api.Client, error) { return api.NewClientAt(n.e.URL() + "/" + n.name) }

func (n *node) Usage(ctx context.Context) (box.Usage, error) {
	text, err := n.Tool(ctx, "usage").Output()
	if err != nil {
		return box.Usage{}, n.failed("usage of", err)
	}
	var u inside.Usage
	if err := json.Unmarshal(text, &u); err != nil {
		return box.Usage{}, n.failed("usage of", err)
	}
	taken := box.Usage{CPU: u.CPU, RSS: u.RSS, PeakRSS: u.PeakRSS, Descriptors: u.Descriptors}
	if err := n.metrics(ctx, taken.Tell); err != nil {
		return box.Usage{}, n.failed("usage of", err)
	}
	return taken, nil
}

// metrics hands on what the node serves.
func (n *node) metrics(ctx context.Context, read func(io.Reader) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.e.URL()+"/"+n.name+"/metrics", nil)
	if err != nil {
		return err
	}
	res, err := n.e.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return read(res.Body)
}

func (n *node) Fill(ctx context.Context, free int64) error {
	return n.failed("fill the disk of", n.disk(ctx, "fill", strconv.FormatInt(free, 10)))
}

func (n *node) Empty(ctx context.Context) error {
	return n.failed("empty the disk of", n.disk(ctx, "empty"))
}

func (n *node) disk(ctx context.Context, args ...string) error {
	if n.e.setup.Plan.Disk == 0 || n.home() == box.HQ {
		return fmt.Errorf("%w: its disk is the machine's; endpoints of branches have one of their own after go run ./testnet up --disk SIZE", box.ErrCannot)
	}
	if text, err := n.Tool(ctx, append([]string{"disk"}, args...)...).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(text))
	}
	return nil
}
