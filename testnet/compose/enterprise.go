package compose

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/scenario"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

// An Enterprise is a testnet of containers that runs. It implements
// box.Enterprise.
type Enterprise struct {
	setup   Setup
	project string
	nodes   []*node
	http    *http.Client
	close   func() error // nil: what stands stays

	mu    sync.Mutex
	sites map[string]place // by node, where it stands now
}

// A place is an address at a site.
type place struct {
	site, addr string
}

var _ box.Enterprise = (*Enterprise)(nil)

// A container is what docker ps says of one.
type container struct {
	ID, Service, Project, Setup, State, Status string
}

func containers(ctx context.Context) ([]container, error) {
	const format = `{{.ID}}|{{.Label "com.docker.compose.service"}}|{{.Label "com.docker.compose.project"}}|{{.State}}|{{.Status}}|{{.Label "` + setup + `"}}`
	text, err := docker(ctx, "ps", "-a", "--no-trunc", "--filter", "label="+label, "--format", format)
	if err != nil {
		return nil, err
	}
	var all []container
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), "|", 6)
		if len(f) != 6 {
			return nil, fmt.Errorf("docker ps wrote %q", line)
		}
		all = append(all, container{ID: f[0], Service: f[1], Project: f[2], State: f[3], Status: f[4], Setup: f[5]})
	}
	return all, nil
}

// ErrNone says that no testnet stands here.
var ErrNone = errors.New("no testnet stands here; start one: go run ./testnet up")

// Attach returns the testnet that stands here, whoever started it. Its Close leaves
// it standing.
func Attach(ctx context.Context) (box.Enterprise, error) {
	if _, err := engine(ctx, answers); err != nil {
		return nil, err
	}
	e, err := attach(ctx)
	if err != nil {
		return nil, err
	}
	return e, nil
}

func attach(ctx context.Context) (*Enterprise, error) {
	found, err := containers(ctx)
	if err != nil {
		return nil, err
	}
	e := &Enterprise{http: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 8}}, sites: map[string]place{}}
	ids := map[string]string{}
	for _, c := range found {
		ids[c.Service] = c.ID
		if c.Service != window || c.State != "running" {
			continue
		}
		e.project = c.Project
		if e.setup, err = read(c.Setup); err != nil {
			return nil, err
		}
	}
	if e.project == "" && len(found) > 0 {
		return nil, errors.New("what stands here of a testnet doesn't run whole. Take it away: go run ./testnet down")
	} else if e.project == "" {
		return nil, ErrNone
	}
	for _, p := range e.setup.Plan.Places() {
		id := ids[p.Node]
		if id == "" {
			return nil, fmt.Errorf("the testnet that stands here has no container for %s. Take it away: go run ./testnet down", p.Node)
		}
		e.nodes = append(e.nodes, &node{e: e, name: p.Node, id: id})
	}
	return e, e.findPlaces(ctx)
}

// findPlaces asks where each node stands: someone may have moved it.
func (e *Enterprise) findPlaces(ctx context.Context) error {
	args := []string{"inspect", "-f", "{{json .NetworkSettings.Networks}}"}
	for _, n := range e.nodes {
		args = append(args, n.id)
	}
	text, err := docker(ctx, args...)
	if err != nil {
		return err
	}
	i := 0
	for line := range strings.Lines(text) {
		var networks map[string]struct {
			IPAMConfig *struct{ IPv4Address string }
		}
		if err := json.Unmarshal([]byte(line), &networks); err != nil || i == len(e.nodes) {
			return fmt.Errorf("docker inspect wrote %q: %w", line, err)
		}
		for name, network := range networks {
			site := strings.TrimPrefix(name, e.project+"_")
			if network.IPAMConfig != nil && slices.Contains(e.setup.Plan.Sites(), site) {
				e.sites[e.nodes[i].name] = place{site, network.IPAMConfig.IPv4Address}
			}
		}
		i++
	}
	return nil
}

// URL returns where the window is.
func (e *Enterprise) URL() string { return fmt.Sprintf("http://127.0.0.1:%d", e.setup.Port) }

// Plan implements box.Enterprise.
func (e *Enterprise) Plan() box.Plan { return e.setup.Plan }

// Nodes implements box.Enterprise.
func (e *Enterprise) Nodes() []box.Node {
	all := make([]box.Node, len(e.nodes))
	for i, n := range e.nodes {
		all[i] = n
	}
	return all
}

// Node implements box.Enterprise.
func (e *Enterprise) Node(name string) box.Node {
	for _, n := range e.nodes {
		if n.name == name {
			return n
		}
	}
	return nil
}

// Link implements box.Enterprise.
func (e *Enterprise) Link(site string) box.Link {
	if !slices.Contains(e.setup.Plan.Sites(), site) {
		return nil
	}
	return &link{site: site, control: wan.ControlOver(e.http.Transport, e.URL()+"/links/"+site)}
}

// Logs implements box.Enterprise.
func (e *Enterprise) Logs() string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var b strings.Builder
	for _, n := range e.nodes {
		fmt.Fprintf(&b, "--- %s\n%s", n.name, tail(ctx, n.id, 60))
	}
	return b.String()
}

func tail(ctx context.Context, id string, lines int) string {
	// What a container wrote to stderr comes there.
	text, err := scenario.Command(ctx, nil, "docker", "logs", "--tail", fmt.Sprint(lines), id).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s%v\n", text, err)
	}
	return string(text)
}

// Close implements box.Enterprise: it takes away what Up started, and leaves what
// was attached to.
func (e *Enterprise) Close() error {
	e.http.CloseIdleConnections()
	if e.close == nil {
		return nil
	}
	return e.close()
}

// at returns where a node stands.
func (e *Enterprise) at(node string) place {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sites[node]
}

// put notes where a node stands.
func (e *Enterprise) put(node string, at place) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sites[node] = at
}

// reserve finds a free address at a site for a node that moves there, and notes
// that it stands there.
func (e *Enterprise) reserve(node, site string) (addr string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.setup.Plan.Places() {
		if p.Node == node && p.Site == site {
			e.sites[node] = place{site, p.Addr.Addr().String()}
			return p.Addr.Addr().String()
		}
	}
	taken := map[string]bool{}
	for _, p := range e.sites {
		taken[p.addr] = true
	}
	i := slices.Index(e.setup.Plan.Sites(), site)
	for n := box.MaxPeers + 1; ; n++ {
		a := box.Addr(i, n).Addr()
		if a == lanAddr(i) {
			return ""
		}
		if !taken[a.String()] {
			e.sites[node] = place{site, a.String()}
			return a.String()
		}
	}
}
