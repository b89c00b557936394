package play

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/testnet/box"
)

// Tools are Hands that run this program on the machines: `testnet sample`, `testnet
// digest`, and the load generator.
type Tools struct {
	addrs map[string]netip.Addr // by node, where it begins
	ended sync.WaitGroup        // servers of the load generator

	mu      sync.Mutex
	clients map[string]*api.Client        // by node
	servers map[string]context.CancelFunc // of the load generator, by node
}

// NewTools returns Tools for the machines of a plan. Close them before the enterprise.
func NewTools(plan box.Plan) *Tools {
	t := &Tools{addrs: map[string]netip.Addr{}, clients: map[string]*api.Client{}, servers: map[string]context.CancelFunc{}}
	for _, p := range plan.Places() {
		t.addrs[p.Node] = p.Addr.Addr()
	}
	return t
}

// Close ends what runs on machines, and closes what is open to nodes.
func (t *Tools) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, stop := range t.servers {
		stop()
	}
	t.ended.Wait()
	clear(t.servers)
	for _, c := range t.clients {
		c.Close()
	}
	clear(t.clients)
}

// Sample implements Hands.
func (t *Tools) Sample(ctx context.Context, n box.Node, path string, f File) error {
	_, err := tool(ctx, n, "sample", path, strconv.FormatInt(f.Size, 10), strconv.FormatUint(f.Seed, 10),
		strconv.FormatFloat(f.Changed, 'f', -1, 64)+"%", strconv.FormatUint(f.Edit, 10))
	return err
}

// Digest implements Hands.
func (t *Tools) Digest(ctx context.Context, n box.Node, path string) (string, error) {
	text, err := tool(ctx, n, "digest", path)
	return strings.TrimSpace(text), err
}

func tool(ctx context.Context, n box.Node, args ...string) (string, error) {
	cmd := n.Tool(ctx, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: testnet %s: %w\n%s", n.Name(), strings.Join(args, " "), err, stderr.String())
	}
	return string(text), nil
}

// Have implements Hands. It keeps a client of each node: what is asked five times a
// second shouldn't begin anew each time.
func (t *Tools) Have(ctx context.Context, n box.Node, id string) (int64, error) {
	c, err := t.client(n)
	if err != nil {
		return 0, err
	}
	d, err := c.Content(ctx, id)
	if errors.Is(err, &api.Error{Code: api.NotFound}) {
		return 0, nil
	}
	return d.Here, err
}

func (t *Tools) client(n box.Node) (*api.Client, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.clients[n.Name()]; c != nil {
		return c, nil
	}
	c, err := n.Client()
	if err == nil {
		t.clients[n.Name()] = c
	}
	return c, err
}
