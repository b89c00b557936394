package play

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/testnet/box"
)

// Hands is what is done on the machines beside driving their nodes.
type Hands interface {
	// Sample writes a content's bytes to a file of the node's machine.
	Sample(ctx context.Context, n box.Node, path string, f File) error
	// Digest returns the SHA-256 of a file of the node's machine.
	Digest(ctx context.Context, n box.Node, path string) (string, error)
	// Have returns how many verified bytes of a content the node has.
	Have(ctx context.Context, n box.Node, id string) (int64, error)
	// Load lets the users at the machine of client do what a kind is, with the
	// machine of server, for so long.
	Load(ctx context.Context, server, client box.Node, kind string, length time.Duration) (Felt, error)
}

// A File is what a content's bytes are made of.
type File struct {
	Size    int64
	Seed    uint64
	Changed float64 // percent that differs from the file of the same size and seed
	Edit    uint64  // what differs is made of; another one makes another change
}

// Config is what Run needs.
type Config struct {
	Scenario   *Scenario
	Enterprise box.Enterprise // of Scenario.Plan
	Hands      Hands
	Seed       uint64

	// Say is told what happens, and when since the scenario's 0s; negative before
	// that. It may be nil.
	Say func(at time.Duration, text string)
}

const (
	look      = 50 * time.Millisecond  // how often the timetable is
	interval  = 200 * time.Millisecond // how often nodes and links are asked
	usage     = 5                      // samples of a node to one of its process
	answering = 2 * time.Second        // a node that takes longer isn't sampled this time
	starting  = 4                      // nodes that start at once
)

// Run plays a scenario and returns what was seen. What a scenario makes fail is in
// the record; an error says that it couldn't be played.
func Run(ctx context.Context, c Config) (*Record, error) {
	p := newPlayer(c)
	if err := p.raise(ctx); err != nil {
		return nil, err
	}
	alone, err := p.alone(ctx)
	if err != nil {
		return nil, err
	}
	p.start = time.Now()
	play, stop := context.WithCancel(ctx)
	defer stop()
	seen, blind := context.WithCancel(ctx)
	defer blind()
	var watching errgroup.Group
	p.observe(seen, &watching)
	p.direct(play)
	stop()
	p.work.Wait()
	blind()
	if err := errors.Join(watching.Wait(), context.Cause(ctx)); err != nil {
		return nil, err
	}
	// Without the last counts, what crossed a link would seem to be less.
	if err := p.sampleLinks(ctx); err != nil {
		return nil, err
	}
	return p.record(alone), nil
}

// player is a scenario under way.
type player struct {
	Config
	start time.Time
	table *timetable
	work  sync.WaitGroup // actions, gets and loads

	contents map[string]*published
	nodes    map[string]*nodeState
	sites    map[string]*siteState
	turns    map[string]chan struct{} // of what is done to a node or link: the last is done

	mu       sync.Mutex
	busy     int // actions and loads under way
	happened []Happened
	gets     []*Got
	loads    []Played
}

// published is a content, and its id once it is known.
type published struct {
	Content
	file   File
	ready  chan struct{} // closed once the next two are set
	id     string        // empty: it failed
	digest string
}

func newPlayer(c Config) *player {
	p := &player{Config: c, table: newTimetable(c.Scenario.Events), contents: map[string]*published{},
		nodes: map[string]*nodeState{}, sites: map[string]*siteState{}, turns: map[string]chan struct{}{}}
	if p.Say == nil {
		p.Say = func(time.Duration, string) {}
	}
	for i, x := range c.Scenario.Contents {
		f := File{Size: x.Size, Seed: c.Seed + 1000*uint64(i+1), Changed: x.Changed}
		if from := p.contents[x.From]; from != nil {
			f.Seed, f.Edit = from.file.Seed, f.Seed
		}
		p.contents[x.Name] = &published{Content: x, file: f, ready: make(chan struct{})}
	}
	for _, n := range c.Enterprise.Nodes() {
		p.nodes[n.Name()] = newNodeState(n, c.Scenario.site(n.Name()))
	}
	for _, s := range c.Scenario.Plan(c.Seed).Sites() {
		p.sites[s] = &siteState{name: s, link: c.Enterprise.Link(s)}
	}
	return p
}

// raise starts all nodes but those that are off: headquarters first, which the
// others join.
func (p *player) raise(ctx context.Context) error {
	began := time.Now()
	count := 0
	for _, hq := range []bool{true, false} {
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(starting)
		if hq {
			g.SetLimit(1) // the publisher founds what the operator joins
		}
		for _, n := range p.Enterprise.Nodes() {
			st := p.nodes[n.Name()]
			if (st.site == box.HQ) != hq {
				continue
			}
			if slices.Contains(p.Scenario.Off, n.Name()) {
				g.Go(func() error { return off(gctx, n) })
				continue
			}
			count++
			g.Go(func() error {
				if !n.Running() {
					if err := n.Start(gctx); err != nil {
						return err
					}
				}
				st.set(func(s *nodeState) { s.up = true })
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	p.Say(-1, fmt.Sprintf("%d nodes at %d sites are up after %.1f s", count, len(p.sites), time.Since(began).Seconds()))
	if slices.ContainsFunc(p.Scenario.Contents, func(c Content) bool { return c.Priority != "" }) {
		p.Say(-1, "nodes have no word for priorities: all contents have one")
	}
	return p.samples(ctx)
}

// off stops a node that an enterprise started by itself.
func off(ctx context.Context, n box.Node) error {
	if !n.Running() {
		return nil
	}
	return n.Stop(ctx)
}

// samples makes the files that will be published, so that this takes no time later.
func (p *player) samples(ctx context.Context) error {
	for _, e := range p.Scenario.Events {
		if e.Do.Verb != "publish" {
			continue
		}
		c, n := p.contents[e.Do.Content], p.publisher(e.Do)
		path := n.Path(c.Name)
		if err := p.Hands.Sample(ctx, n, path, c.file); err != nil {
			return fmt.Errorf("make %s at %s: %w", c.Name, n.Name(), err)
		}
		digest, err := p.Hands.Digest(ctx, n, path)
		if err != nil {
			return fmt.Errorf("hash %s at %s: %w", c.Name, n.Name(), err)
		}
		c.digest = digest
	}
	return nil
}

func (p *player) publisher(a Action) box.Node {
	if len(a.Places) == 1 {
		return p.Enterprise.Node(a.Places[0])
	}
	return p.Enterprise.Node(box.Publisher)
}

// alone plays the foreground traffic without any content, at the times at which it
// is to come, and returns what was felt of each. There is nothing to wait for before
// the first.
func (p *player) alone(ctx context.Context) (map[int]Felt, error) {
	var events []Event
	first, last := never, time.Duration(0)
	for _, e := range p.Scenario.Events {
		if isLoad(e.Do.Verb) {
			events = append(events, e)
			last = max(last, e.When.Time+e.Do.For)
			if first == never || e.When.Time < first {
				first = e.When.Time
			}
		}
	}
	out := map[int]Felt{}
	if len(events) == 0 {
		return out, nil
	}
	p.Say(-1, fmt.Sprintf("for %v the users of the branches are alone", last-first))
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	for _, e := range events {
		g.Go(func() error {
			if err := pause(ctx, e.When.Time-first); err != nil {
				return err
			}
			felt, err := p.Hands.Load(ctx, p.Enterprise.Node(box.Operator), p.user(e.Do), e.Do.Verb, e.Do.For)
			if err != nil {
				return fmt.Errorf("%s alone: %w", e.Do, err)
			}
			mu.Lock()
			defer mu.Unlock()
			out[e.Line] = felt
			return nil
		})
	}
	return out, g.Wait()
}

// user returns the machine of a branch where its users work: the last one.
func (p *player) user(a Action) box.Node {
	members := p.Scenario.members(a.Places[0])
	return p.Enterprise.Node(members[len(members)-1])
}

// direct makes happen what the timetable says, until all is done, or the limit.
func (p *player) direct(ctx context.Context) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		// In this order: what is idle now makes nothing due that isn't due already.
		now, idle := time.Since(p.start), p.idle()
		due := p.table.due(now, p.come)
		for _, e := range due {
			p.Say(now, e.Do.String())
			p.act(ctx, e)
		}
		if _, more := p.table.next(); idle && !more && len(due) == 0 {
			return
		}
		if now >= p.Scenario.Limit {
			p.Say(now, "the limit is reached")
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// idle reports whether nothing goes on that ends by itself. A get whose node is down
// doesn't, unless the scenario starts the node.
func (p *player) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.busy == 0 && !slices.ContainsFunc(p.gets, func(g *Got) bool { return g.Ended == 0 && p.nodes[g.Node].isUp() })
}

// record puts together what was seen.
func (p *player) record(alone map[int]Felt) *Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := &Record{Length: time.Since(p.start), Happened: p.happened}
	for _, e := range p.table.waiting() {
		r.Happened = append(r.Happened, Happened{Line: e.Line, What: e.Text(), Error: "its time never came"})
	}
	slices.SortStableFunc(r.Happened, func(a, b Happened) int { return cmp.Compare(a.At, b.At) })
	for _, g := range p.gets {
		// A node that is down at the end was taken down by the scenario: what it was
		// to get isn't missing.
		if p.nodes[g.Node].isUp() || g.Ended > 0 {
			r.Gets = append(r.Gets, *g)
		}
	}
	for _, e := range p.Scenario.Events {
		for _, l := range p.loads {
			if isLoad(e.Do.Verb) && l.line == e.Line {
				l.Alone = alone[e.Line]
				r.Loads = append(r.Loads, l)
			}
		}
	}
	for _, n := range p.Enterprise.Nodes() {
		r.Nodes = append(r.Nodes, p.nodes[n.Name()].series())
	}
	for _, s := range p.Scenario.Plan(p.Seed).Sites() {
		r.Links = append(r.Links, LinkSeries{Site: s, Points: p.sites[s].points})
	}
	return r
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
