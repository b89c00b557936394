package play

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

// act makes an event happen, and doesn't wait for it. What is done to the same node or
// link is done in the order of the calls.
func (p *player) act(ctx context.Context, e Event) {
	switch {
	case e.Do.Verb == "publish":
		p.begin(func() { p.note(e, p.publish(ctx, e.Do)) })
	case e.Do.Verb == "get":
		p.note(e, func() error { p.getAll(ctx, e.Do); return nil })
	case isLoad(e.Do.Verb):
		p.begin(func() { p.note(e, func() error { return p.load(ctx, e) }) })
	default:
		wait, done := p.turn(p.targets(e.Do))
		p.begin(func() {
			defer done()
			p.note(e, func() error {
				for _, w := range wait {
					select {
					case <-w:
					case <-ctx.Done():
						return context.Cause(ctx)
					}
				}
				return p.touch(ctx, e.Do)
			})
		})
	}
}

// begin runs f on its own; the scenario isn't over before it is.
func (p *player) begin(f func()) {
	p.busier(1)
	p.work.Go(func() {
		defer p.busier(-1)
		f()
	})
}

func (p *player) busier(by int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy += by
}

// note does something and writes down that it happened.
func (p *player) note(e Event, do func() error) {
	h := Happened{Line: e.Line, At: time.Since(p.start), What: e.Do.String()}
	if err := do(); err != nil {
		h.Error = err.Error()
		p.Say(time.Since(p.start), fmt.Sprintf("%s: %v", e.Do, err))
	}
	h.Took = time.Since(p.start) - h.At
	p.mu.Lock()
	defer p.mu.Unlock()
	p.happened = append(p.happened, h)
}

// targets returns what an action is done to.
func (p *player) targets(a Action) []string {
	if a.Verb == "cut" || a.Verb == "heal" || a.Verb == "link" {
		return a.Places
	}
	return p.members(a)
}

func (p *player) members(a Action) []string {
	var names []string
	seen := map[string]bool{}
	for _, place := range a.Places {
		for _, n := range p.Scenario.members(place) {
			if !seen[n] {
				seen[n] = true
				names = append(names, n)
			}
		}
	}
	return names
}

// turn returns what has to be closed before the next thing is done to the targets,
// and what to call once that is done.
func (p *player) turn(targets []string) (wait []chan struct{}, done func()) {
	mine := make(chan struct{})
	for _, t := range targets {
		if last := p.turns[t]; last != nil {
			wait = append(wait, last)
		}
		p.turns[t] = mine
	}
	return wait, func() { close(mine) }
}

// touch does something to nodes or links, to several at once.
func (p *player) touch(ctx context.Context, a Action) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, t := range p.targets(a) {
		g.Go(func() error {
			if site := p.sites[t]; site != nil {
				return site.touch(ctx, a)
			}
			return p.nodes[t].touch(ctx, a)
		})
	}
	return g.Wait()
}

func (s *nodeState) touch(ctx context.Context, a Action) error {
	down := func() { s.set(func(s *nodeState) { s.up, s.frozen, s.lives = false, false, s.lives+1 }) }
	start := func() error {
		if err := s.node.Start(ctx); err != nil {
			return err
		}
		s.set(func(s *nodeState) { s.up = true })
		return nil
	}
	switch a.Verb {
	case "start":
		return start()
	case "stop":
		down()
		return s.node.Stop(ctx)
	case "kill":
		down()
		return s.node.Kill(ctx)
	case "restart":
		down()
		if err := s.node.Stop(ctx); err != nil {
			return err
		}
		return start()
	case "freeze":
		s.set(func(s *nodeState) { s.frozen = true })
		return s.node.Freeze(ctx)
	case "thaw":
		err := s.node.Thaw(ctx)
		s.set(func(s *nodeState) { s.frozen = false })
		return err
	case "unplug":
		return s.node.Unplug(ctx)
	case "plug":
		return s.node.Plug(ctx)
	case "move":
		return s.node.Move(ctx, a.To)
	}
	return fmt.Errorf("nobody knows how to %s a node", a.Verb)
}

// dead is a link that loses everything, until it is set anew.
var dead = []wan.Outage{{For: 31 * 24 * time.Hour}}

func (s *siteState) touch(ctx context.Context, a Action) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range []box.Direction{box.Up, box.Down} {
		if !s.known {
			is, err := s.link.Settings(ctx, d)
			if err != nil {
				return err
			}
			s.whole[d] = is
		}
	}
	s.known = true
	switch a.Verb {
	case "cut":
		s.cut = true
	case "heal":
		s.cut = false
	}
	for _, d := range []box.Direction{box.Up, box.Down} {
		if a.Direction == "up" && d != box.Up || a.Direction == "down" && d != box.Down {
			continue
		}
		if a.Verb == "link" {
			is, err := s.whole[d].With(a.Settings)
			if err != nil {
				return err
			}
			s.whole[d] = is
		}
		is := s.whole[d]
		if s.cut {
			is.Outages = dead
		}
		if err := s.link.Set(ctx, d, is); err != nil {
			return fmt.Errorf("link of %s: %w", s.name, err)
		}
	}
	return nil
}

// publish returns what publishes a content.
func (p *player) publish(ctx context.Context, a Action) func() error {
	return func() error {
		c, n := p.contents[a.Content], p.publisher(a)
		defer close(c.ready)
		answer, err := n.Ask(ctx, "add", "-q", n.Path(c.Name))
		if err == nil {
			err = answer.Err(0)
		}
		if err != nil {
			return err
		}
		c.id = strings.TrimSpace(answer.Stdout)
		return nil
	}
}

func (p *player) load(ctx context.Context, e Event) error {
	at := time.Since(p.start)
	felt, err := p.Hands.Load(ctx, p.Enterprise.Node(box.Operator), p.user(e.Do), e.Do.Verb, e.Do.For)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loads = append(p.loads, Played{Kind: e.Do.Verb, Site: e.Do.Places[0], At: at, For: e.Do.For, With: felt, line: e.Line})
	return nil
}

// getAll has all members of the places get a content, each on its own.
func (p *player) getAll(ctx context.Context, a Action) {
	for _, name := range p.members(a) {
		g := &Got{Node: name, Site: p.nodes[name].site, Content: a.Content, Asked: time.Since(p.start)}
		p.mu.Lock()
		p.gets = append(p.gets, g)
		p.mu.Unlock()
		p.work.Go(func() { p.get(ctx, g) })
	}
}

// get asks a node for a content until it has it or says that it can't; when its end
// cuts that off, once more after it was started.
func (p *player) get(ctx context.Context, g *Got) {
	c, st := p.contents[g.Content], p.nodes[g.Node]
	select {
	case <-c.ready:
	case <-ctx.Done():
		return
	}
	p.mu.Lock()
	g.Asked = time.Since(p.start) // not before it could be had
	p.mu.Unlock()
	out := st.node.Path(c.Name + "." + g.Node)
	for {
		lives := p.untilUp(ctx, st)
		if ctx.Err() != nil {
			return
		}
		answer, err := st.node.Ask(ctx, "get", c.id, "-o", out, "--overwrite", "--json")
		ended := time.Since(p.start)
		p.mu.Lock()
		g.count(answer.Stdout)
		p.mu.Unlock()
		now, up, _ := st.life()
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && answer.Code == 0:
			digest, err := p.Hands.Digest(ctx, st.node, out)
			switch {
			case ctx.Err() != nil: // nobody knows what the copy is
			case err != nil:
				p.ended(g, ended, 1, fmt.Sprintf("its copy can't be read: %v", err), false)
			default:
				p.ended(g, ended, 0, "", digest == c.digest)
			}
			return
		case now != lives || !up:
			p.mu.Lock()
			g.Again++
			p.mu.Unlock()
		default:
			said := strings.TrimSpace(answer.Stderr)
			if err != nil {
				said = err.Error()
			}
			p.ended(g, ended, max(1, answer.Code), said, false)
			return
		}
	}
}

// untilUp waits until a node is up.
func (p *player) untilUp(ctx context.Context, st *nodeState) (lives int) {
	for {
		lives, up, changed := st.life()
		if up {
			return lives
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return lives
		}
	}
}

func (p *player) ended(g *Got, at time.Duration, exit int, said string, right bool) {
	p.mu.Lock()
	g.Ended, g.Exit, g.Said, g.Right = at, exit, said, right
	left, all := 0, 0
	for _, x := range p.gets {
		if x.Content == g.Content && x.Site == g.Site {
			all++
			if !x.done() {
				left++
			}
		}
	}
	p.mu.Unlock()
	now := time.Since(p.start)
	switch {
	case exit != 0:
		p.Say(now, fmt.Sprintf("%s: get %s ended with %d: %s", g.Node, g.Content, exit, said))
	case left == 0:
		p.Say(now, fmt.Sprintf("%s: all %d have %s", g.Site, all, g.Content))
	default:
		p.Say(now, fmt.Sprintf("%s has %s (%d of %d there)", g.Node, g.Content, all-left, all))
	}
}

// count adds what the last line of a get's output says was fetched.
func (g *Got) count(output string) {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		var last struct {
			From   *api.ByLink `json:"from_bytes"`
			Local  int64       `json:"local_bytes"`
			Wasted api.Wasted  `json:"wasted"`
		}
		// What was cut off in the middle of a line, or is an error, has none.
		if err := json.Unmarshal([]byte(lines[i]), &last); err != nil || last.From == nil {
			continue
		}
		g.LAN += last.From.LAN
		g.WAN += last.From.WAN
		g.Local += last.Local
		g.Wasted += last.Wasted.Total()
		return
	}
}
