package chaos

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/scenario"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

// A fakeBox is an enterprise without networks, disks or processes: what its nodes
// hold are names, and a get takes time while its node and the publisher are well.
type fakeBox struct {
	plan  box.Plan
	wrong wrong

	mu    sync.Mutex
	nodes []*fakeNode
	links map[string]*fakeLink
	files map[string]string // path to digest
	gets  int
	began time.Time
}

// wrong is what a fakeBox does wrong, once or on one node.
type wrong struct {
	digest, corrupt, bad, hang, crash, panics, code, left, goroutines, memory, descriptors, start, lost, unread, verb, never, gone, scrolled, unfetched bool
}

const fakeRate = 8 << 20 // bytes a second

func newFakeBox(p box.Plan, w wrong) *fakeBox {
	b := &fakeBox{plan: p, wrong: w, links: map[string]*fakeLink{}, files: map[string]string{}, began: time.Now()}
	for _, site := range p.Sites() {
		up, down := Links(p, site)
		b.links[site] = &fakeLink{set: [2]wan.Settings{up, down}, box: b}
	}
	for _, place := range p.Places() {
		b.nodes = append(b.nodes, &fakeNode{box: b, place: place, site: place.Site, up: true, held: map[string]bool{}})
	}
	return b
}

func (b *fakeBox) Plan() box.Plan { return b.plan }
func (b *fakeBox) Close() error   { return nil }
func (b *fakeBox) Nodes() (all []box.Node) {
	for _, n := range b.nodes {
		all = append(all, n)
	}
	return all
}

func (b *fakeBox) Node(name string) box.Node {
	return b.nodes[slices.IndexFunc(b.nodes, func(n *fakeNode) bool { return n.Name() == name })]
}
func (b *fakeBox) Link(site string) box.Link { return b.links[site] }
func (b *fakeBox) Logs() string {
	var all strings.Builder
	for i, n := range b.nodes {
		fmt.Fprintf(&all, "--- %s\nsays nothing\n", n.Name())
		// A panic that scrolled is seen in the midst of the faults only.
		if b.wrong.panics && i == 3 || b.wrong.scrolled && i == 4 && time.Since(b.began) < time.Minute {
			fmt.Fprintf(&all, "http: panic serving 1.2.3.4: oh\n")
		}
	}
	return all.String()
}

type fakeLink struct {
	box *fakeBox
	set [2]wan.Settings
}

func (l *fakeLink) Set(_ context.Context, d box.Direction, s wan.Settings) error {
	l.box.mu.Lock()
	defer l.box.mu.Unlock()
	l.set[d] = s
	return nil
}

func (l *fakeLink) Settings(_ context.Context, d box.Direction) (wan.Settings, error) {
	return l.set[d], nil
}

func (l *fakeLink) Counts(context.Context, box.Direction) (wan.Counts, error) {
	return wan.Counts{}, nil
}

type fakeNode struct {
	box   *fakeBox
	place box.Place

	// Guarded by box.mu.
	site                    string
	up, frozen, out, filled bool
	starts                  int
	held                    map[string]bool
}

func (n *fakeNode) Name() string { return n.place.Node }
func (n *fakeNode) Site() string { return n.site }

// do changes the node, as a machine would: a mistake of the caller is an error.
func (n *fakeNode) do(what string, allowed bool, change func()) error {
	n.box.mu.Lock()
	defer n.box.mu.Unlock()
	if !allowed {
		return fmt.Errorf("%s %s: it isn't in a state for that", what, n.Name())
	}
	change()
	return nil
}

func (n *fakeNode) Start(context.Context) error {
	time.Sleep(100 * time.Millisecond)
	if n.box.wrong.start && n.starts == 0 && n.Name() == "branch-a-1" {
		n.starts++
		return errors.New("the node can't start")
	}
	return n.do("start", !n.up, func() { n.up = true; n.starts++ })
}

func (n *fakeNode) Stop(context.Context) error {
	time.Sleep(50 * time.Millisecond)
	return n.do("stop", n.up && !n.frozen, func() { n.up = false })
}
func (n *fakeNode) Kill(context.Context) error {
	return n.do("kill", true, func() { n.up = false })
}
func (n *fakeNode) Running() bool {
	n.box.mu.Lock()
	defer n.box.mu.Unlock()
	return n.up
}
func (n *fakeNode) Freeze(context.Context) error {
	return n.do("freeze", n.up && !n.frozen, func() { n.frozen = true })
}
func (n *fakeNode) Thaw(context.Context) error {
	return n.do("thaw", n.frozen, func() { n.frozen = false })
}
func (n *fakeNode) Unplug(context.Context) error {
	return n.do("unplug", !n.out, func() { n.out = true })
}
func (n *fakeNode) Plug(context.Context) error { return n.do("plug", n.out, func() { n.out = false }) }
func (n *fakeNode) Move(_ context.Context, site string) error {
	return n.do("move", n.site != site, func() { n.site = site })
}
func (n *fakeNode) Client() (*api.Client, error) { return nil, box.ErrCannot }
func (n *fakeNode) Path(name string) string      { return "/" + n.Name() + "/" + name }
func (n *fakeNode) Tool(context.Context, ...string) *exec.Cmd {
	panic("a fake has no tools")
}
func (n *fakeNode) Fill(context.Context, int64) error {
	return n.do("fill", !n.filled, func() { n.filled = true })
}
func (n *fakeNode) Empty(context.Context) error {
	return n.do("empty", n.filled, func() { n.filled = false })
}

func (n *fakeNode) Usage(context.Context) (box.Usage, error) {
	u := box.Usage{RSS: 40 << 20, Goroutines: 100, Descriptors: 30}
	n.box.mu.Lock()
	defer n.box.mu.Unlock()
	if !n.up {
		return u, errors.New("it doesn't run")
	}
	if w := n.box.wrong; n.box.gets > len(n.box.nodes) && n.Name() == "operator" {
		if w.goroutines {
			u.Goroutines += 11
		}
		if w.descriptors {
			u.Descriptors += 200
		}
		if w.memory {
			u.RSS += 65 << 20
		}
	}
	return u, nil
}

// Ask does what the verbs do that a run uses.
func (n *fakeNode) Ask(ctx context.Context, verb ...string) (scenario.Answer, error) {
	switch verb[0] {
	case "add":
		return n.work(ctx, time.Second, func() string { n.held[verb[2]] = true; return "id-of-" + verb[2] + "\n" })
	case "get":
		return n.get(ctx, verb)
	case "content":
		return n.work(ctx, 20*time.Millisecond, func() string {
			if verb[1] == "rm" {
				delete(n.held, verb[2])
			}
			return "{}\n"
		})
	}
	if n.box.wrong.gone && verb[1] == "stat" && n.Name() == "branch-b-2" { // the end of the run
		return scenario.Answer{}, n.do("crash", true, func() { n.up = false })
	}
	if n.box.wrong.verb && n.Name() == "branch-a-2" {
		return scenario.Answer{Code: 1, Stderr: "something failed"}, nil
	}
	return n.work(ctx, 500*time.Millisecond, func() string {
		if n.box.wrong.unread {
			return "{}\n"
		}
		if n.box.wrong.bad && n.Name() == "branch-a-2" {
			return `{"type":"summary","checked_bytes":1000,"bad_blocks":2}` + "\n"
		}
		return `{"type":"summary","checked_bytes":1000}` + "\n"
	})
}

// work takes so long of a node that is up, and then has the answer.
func (n *fakeNode) work(ctx context.Context, takes time.Duration, answer func() string) (scenario.Answer, error) {
	const slice = 100 * time.Millisecond
	for begun := n.starts; ; takes -= slice {
		n.box.mu.Lock()
		down, frozen := !n.up || n.starts != begun, n.frozen
		n.box.mu.Unlock()
		switch {
		case down:
			return scenario.Answer{Code: exitNotRunning, Stderr: "node not running"}, nil
		case frozen:
			takes += slice
		case takes <= 0:
			n.box.mu.Lock()
			defer n.box.mu.Unlock()
			return scenario.Answer{Stdout: answer()}, nil
		}
		select {
		case <-ctx.Done():
			return scenario.Answer{}, context.Cause(ctx)
		case <-time.After(slice):
		}
	}
}

func (n *fakeNode) get(ctx context.Context, verb []string) (scenario.Answer, error) {
	b := n.box
	if b.wrong.never {
		return scenario.Answer{Code: exitNotFound, Stderr: "nobody has it"}, nil
	}
	b.mu.Lock()
	b.gets++
	number := b.gets - len(b.nodes)
	b.mu.Unlock()
	if number == 5 && b.wrong.hang {
		<-ctx.Done()
		return scenario.Answer{}, context.Cause(ctx)
	}
	if number == 5 && b.wrong.crash {
		return scenario.Answer{Code: exitNotRunning}, n.do("crash", true, func() { n.up = false })
	}
	if number == 5 && b.wrong.code {
		return scenario.Answer{Code: 1, Stderr: "something failed"}, nil
	}
	if number > 0 && b.wrong.lost && n.Name() == "branch-b-1" {
		n.wait(ctx, time.Minute)
		return scenario.Answer{Code: exitTimeout}, context.Cause(ctx)
	}
	publisher := b.nodes[0]
	deadline := time.Now().Add(getTimeout)
	for left := 2 * fakeRate; left > 0; {
		a, err := n.work(ctx, 100*time.Millisecond, func() string {
			if publisher.up && !publisher.frozen && !publisher.out && !n.out && b.links[n.site].set[0].Loss.Mean == 0 {
				left -= fakeRate / 10
			}
			return ""
		})
		if err != nil || a.Code != 0 {
			return a, err
		}
		if time.Now().After(deadline) {
			return scenario.Answer{Code: exitTimeout, Stderr: "p2pnode: time is over"}, nil
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	n.held[verb[1]] = true
	b.files[verb[3]] = strings.TrimPrefix(verb[1], "id-of-")
	if number == 5 && b.wrong.digest {
		b.files[verb[3]] = "something else"
	}
	corrupt := 0
	if number == 5 && b.wrong.corrupt {
		corrupt = 17
	}
	fetched := 5
	if b.wrong.unfetched {
		fetched = 0
	}
	return scenario.Answer{Stdout: fmt.Sprintf(`{"type":"summary","from_bytes":{"lan":%d},"wasted":{"corrupt_bytes":%d}}`+"\n", fetched, corrupt)}, nil
}

func (n *fakeNode) wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// A fake is Files too: a digest is the path that the bytes were first at.
func (b *fakeBox) Sample(_ context.Context, _ box.Node, path string, _ int64, _ uint64) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.files[path] = path
	return path, nil
}

func (b *fakeBox) Digest(_ context.Context, _ box.Node, path string) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.files[path], nil
}

func (b *fakeBox) Remove(_ context.Context, _ box.Node, path string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.files, path)
	return nil
}

func (b *fakeBox) Left(_ context.Context, n box.Node) (left []string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for path := range b.files {
		if strings.HasPrefix(path, "/"+n.Name()+"/") {
			left = append(left, path)
		}
	}
	if b.wrong.left && n.Name() == "operator" {
		left = append(left, "/data/store/content/.new-1")
	}
	return left, nil
}
