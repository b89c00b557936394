package play

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"sync"
	"time"

	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/scenario"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

// fakeBox is an enterprise of a few lines: every member fetches each content on its
// own over its site's link, at a tenth of its rate. It is Hands too.
type fakeBox struct {
	plan  box.Plan
	nodes []*fakeNode
	links map[string]*fakeLink

	mu    sync.Mutex
	said  []string         // what was done, in order
	sizes map[string]int64 // of files, by path, and of contents
	wrong string           // the node whose copies are others'
	lame  string           // the node that doesn't start

	unread string // the node whose copies can't be read
}

func newFakeBox(p box.Plan) *fakeBox {
	f := &fakeBox{plan: p, links: map[string]*fakeLink{}, sizes: map[string]int64{}}
	for _, s := range p.Sites() {
		f.links[s] = &fakeLink{box: f, settings: [2]wan.Settings{p.Up, p.Down}}
	}
	for _, place := range p.Places() {
		f.nodes = append(f.nodes, &fakeNode{box: f, name: place.Node, site: place.Site, have: map[string]int64{}})
	}
	return f
}

func (f *fakeBox) say(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.said = append(f.said, fmt.Sprintf(format, args...))
}

func (f *fakeBox) Plan() box.Plan { return f.plan }
func (f *fakeBox) Nodes() (out []box.Node) {
	for _, n := range f.nodes {
		out = append(out, n)
	}
	return out
}
func (f *fakeBox) Node(name string) box.Node {
	i := slices.IndexFunc(f.nodes, func(n *fakeNode) bool { return n.name == name })
	if i < 0 {
		return nil
	}
	return f.nodes[i]
}
func (f *fakeBox) Link(site string) box.Link { return f.links[site] }
func (f *fakeBox) Logs() string              { return "" }
func (f *fakeBox) Close() error              { return nil }

func (f *fakeBox) Sample(_ context.Context, n box.Node, path string, file File) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sizes[path] = file.Size
	return nil
}

func (f *fakeBox) Digest(_ context.Context, n box.Node, path string) (string, error) {
	if n.Name() == f.unread {
		return "", errors.New("no such file")
	}
	if n.Name() == f.wrong {
		return "another", nil
	}
	return "right", nil
}

func (f *fakeBox) Have(_ context.Context, n box.Node, id string) (int64, error) {
	x := n.(*fakeNode)
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.have[id], nil
}

// Load gets half of what it gets alone once a content is under way.
func (f *fakeBox) Load(ctx context.Context, server, client box.Node, kind string, length time.Duration) (Felt, error) {
	f.say("%s at %s", kind, client.Name())
	if err := pause(ctx, length); err != nil {
		return Felt{}, err
	}
	rate := 8e6
	if f.links[client.Site()].carried() > 0 {
		rate /= 2
	}
	return Felt{Rate: rate}, nil
}

type fakeNode struct {
	box  *fakeBox
	name string

	mu     sync.Mutex
	site   string
	up     bool
	frozen bool
	lives  int
	have   map[string]int64
}

func (n *fakeNode) Name() string { return n.name }
func (n *fakeNode) Site() string { n.mu.Lock(); defer n.mu.Unlock(); return n.site }
func (n *fakeNode) Running() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.up
}

func (n *fakeNode) be(what string, change func()) error {
	n.box.say("%s %s", what, n.name)
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
	return nil
}

func (n *fakeNode) Start(context.Context) error {
	n.box.mu.Lock()
	lame := n.name == n.box.lame
	n.box.mu.Unlock()
	if lame {
		return errors.New("it has no legs")
	}
	return n.be("start", func() { n.up = true })
}
func (n *fakeNode) Stop(context.Context) error {
	return n.be("stop", func() { n.up = false; n.lives++ })
}
func (n *fakeNode) Kill(context.Context) error {
	return n.be("kill", func() { n.up = false; n.lives++ })
}
func (n *fakeNode) Freeze(context.Context) error {
	return n.be("freeze", func() { n.frozen = true })
}
func (n *fakeNode) Thaw(context.Context) error   { return n.be("thaw", func() { n.frozen = false }) }
func (n *fakeNode) Unplug(context.Context) error { return n.be("unplug", func() {}) }
func (n *fakeNode) Plug(context.Context) error   { return n.be("plug", func() {}) }
func (n *fakeNode) Move(_ context.Context, site string) error {
	return n.be("move to "+site, func() { n.site = site })
}

func (n *fakeNode) Ask(ctx context.Context, verb ...string) (scenario.Answer, error) {
	if verb[0] == "add" {
		path := verb[len(verb)-1]
		n.box.mu.Lock()
		n.box.sizes["id of "+path] = n.box.sizes[path]
		n.box.mu.Unlock()
		return scenario.Answer{Stdout: "id of " + path + "\n"}, nil
	}
	id := verb[1]
	n.box.mu.Lock()
	size := n.box.sizes[id]
	n.box.mu.Unlock()
	n.mu.Lock()
	life, before := n.lives, n.have[id]
	n.mu.Unlock()
	for {
		n.mu.Lock()
		left, site := size-n.have[id], n.site
		answer := scenario.Answer{Stdout: fmt.Sprintf(`{"from_bytes":{"lan":0,"wan":%d,"origin":0}}`+"\n", n.have[id]-before)}
		if !n.up || n.lives != life {
			answer.Code = 10
		} else if left > 0 && !n.frozen {
			step := min(left, n.box.links[site].carry(100*time.Millisecond))
			n.have[id] += step
		}
		n.mu.Unlock()
		if answer.Code != 0 || left == 0 {
			return answer, nil
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return answer, err
		}
	}
}

func (n *fakeNode) Client() (*api.Client, error) { return nil, box.ErrCannot }
func (n *fakeNode) Usage(context.Context) (box.Usage, error) {
	return box.Usage{RSS: 40 << 20}, nil
}
func (n *fakeNode) Path(name string) string                         { return name }
func (n *fakeNode) Tool(ctx context.Context, _ ...string) *exec.Cmd { return nil }
func (n *fakeNode) Fill(context.Context, int64) error               { return box.ErrCannot }
func (n *fakeNode) Empty(context.Context) error                     { return box.ErrCannot }

type fakeLink struct {
	box *fakeBox

	mu       sync.Mutex
	settings [2]wan.Settings
	bytes    int64
	err      error // of Counts
}

func (l *fakeLink) fail(err error) { l.mu.Lock(); defer l.mu.Unlock(); l.err = err }

// carry returns what a member gets in so long.
func (l *fakeLink) carry(d time.Duration) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.settings[box.Down].Outages) > 0 {
		return 0
	}
	n := int64(l.settings[box.Down].Rate.BytesPerSecond() / 10 * d.Seconds())
	l.bytes += n
	return n
}

func (l *fakeLink) carried() int64 { l.mu.Lock(); defer l.mu.Unlock(); return l.bytes }

func (l *fakeLink) Set(_ context.Context, d box.Direction, s wan.Settings) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settings[d] = s
	return nil
}
func (l *fakeLink) Settings(_ context.Context, d box.Direction) (wan.Settings, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.settings[d], nil
}
func (l *fakeLink) Counts(_ context.Context, d box.Direction) (wan.Counts, error) {
	c := wan.ClassCount{Class: box.ClassP2P}
	if d == box.Down {
		c.Delivered.Bytes = l.carried()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return wan.Counts{Classes: []wan.ClassCount{c}}, l.err
}
