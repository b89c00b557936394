package node

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/discovery"
	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/node/flow"
)

// saidOfAll is how many decisions are told of a content, alike ones together.
const saidOfAll = 40

// Why implements api.Node.
func (l local) Why(_ context.Context, what string, chunk int) (api.Why, error) {
	r, err := parseRef(what)
	if err != nil {
		return api.Why{}, api.Errorf(api.Usage, "See what is here: p2pnode content ls", "%w", err)
	}
	id, looked := l.meant(r)
	w := api.Why{Name: r.name, Version: r.version}
	if id == (content.ID{}) {
		if looked == nil {
			return api.Why{}, api.Errorf(api.NotFound, "See what is here: p2pnode content ls. Get it: p2pnode get "+what+" -o PATH", "nothing is known of %s here", what)
		}
		w.Flow = looked
		return w, nil
	}
	w.Content = id.String()
	if name, version := l.named(id); name != "" {
		w.Name, w.Version = name, version
	}
	for _, f := range l.flows() {
		if f.Content == w.Content {
			w.Flow = &f
		}
	}
	decisions := l.ring.All()
	w.Forgotten = len(decisions) >= flow.DefaultRing
	decisions = slices.DeleteFunc(decisions, func(d flow.Decision) bool { return d.Content != id })
	arrivals := l.ring.Arrivals(id)
	c, held := l.store.Get(id)
	if !held && w.Flow == nil && len(arrivals) == 0 && len(decisions) == 0 {
		return api.Why{}, api.Errorf(api.NotFound, "See what is here: p2pnode content ls. Get it: p2pnode get "+what+" -o PATH", "nothing is known of %s here", what)
	}
	if held {
		w.Chunks, w.Here = len(c.Manifest().Chunks), int(c.Have().GetCardinality())
	}
	w.Came = l.came(arrivals)
	w.Shunned = l.shunned(decisions)
	most := saidOfAll
	if chunk != api.AllChunks {
		most = len(decisions)
		if w.Chunk, err = l.story(what, chunk, c, held, arrivals, decisions); err != nil {
			return api.Why{}, err
		}
		decisions = slices.DeleteFunc(decisions, func(d flow.Decision) bool { return d.Chunk != chunk })
	} else {
		decisions = slices.DeleteFunc(decisions, func(d flow.Decision) bool { return !worthTelling(d) })
	}
	for _, a := range together(decisions, most) {
		w.Said = append(w.Said, api.Sentence{Decision: decision(a.Decision), Name: l.nameOf(a.Peer), Text: tell(a.Decision, l.call), More: a.more})
	}
	return w, nil
}

// alike is a decision, and how many like it came right before.
type alike struct {
	flow.Decision
	more int
}

// together returns the last of decisions, those that differ only in their chunk and
// time being told once, by the last of them: a source that is late is late with twenty
// chunks at once, and a flow waits again and again. What happened again to one
// chunk is told each time.
func together(decisions []flow.Decision, most int) []alike {
	var out []alike
	for _, d := range decisions {
		if n := len(out); n > 0 {
			if o := &out[n-1]; o.Verb == d.Verb && o.Peer == d.Peer && o.Reason == d.Reason && o.Link == d.Link &&
				(o.Chunk != d.Chunk || d.Chunk == flow.NoChunk) {
				o.Decision = d
				o.more++
				continue
			}
		}
		out = append(out, alike{Decision: d})
	}
	return out[max(len(out)-most, 0):]
}

// meant returns which content a person asks about: one that is here or on its way. What
// is looked for by a name that nobody knows yet is told as it stands.
func (l local) meant(r ref) (id content.ID, looked *api.FlowStatus) {
	if r.name == "" {
		return r.id, nil
	}
	if best, err := pick(l.catalogue.named(r.name), r.version); err == nil {
		return best.Content, nil
	}
	for _, d := range l.gets.list() {
		if d.ref == r {
			st := d.status()
			d.mu.Lock()
			id = d.id
			d.mu.Unlock()
			return id, &st
		}
	}
	return content.ID{}, nil
}

// worthTelling reports whether a decision is told about a content as a whole: of each
// chunk there are several that are not.
func worthTelling(d flow.Decision) bool {
	switch d.Verb {
	case flow.Ask, flow.Got, flow.Carry, flow.Cancel:
		return false
	}
	return true
}

// came sums up who gave chunks.
func (n *Node) came(arrivals []flow.Arrival) []api.Came {
	type from struct{ peer, link string }
	by := make(map[from]*api.Came)
	for _, a := range arrivals {
		if a.Time.IsZero() {
			continue
		}
		f := from{sourceName(a.Peer), linkName(a.Link)}
		c := by[f]
		if c == nil {
			c = &api.Came{Peer: f.peer, Name: n.nameOf(a.Peer), Link: f.link, First: a.Time, Last: a.Time}
			by[f] = c
		}
		c.Chunks++
		if a.Time.Before(c.First) {
			c.First = a.Time
		}
		if a.Time.After(c.Last) {
			c.Last = a.Time
		}
	}
	out := make([]api.Came, 0, len(by))
	for _, c := range by {
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b api.Came) int {
		return cmp.Or(cmp.Compare(b.Chunks, a.Chunks), cmp.Compare(a.Link, b.Link), cmp.Compare(a.Peer, b.Peer))
	})
	return out
}

// nameOf returns a peer's name, empty if it isn't known now.
func (n *Node) nameOf(p peer.ID) string {
	if c, ok := n.admission.Of(p); ok {
		return c.Name
	}
	return ""
}

// shunned returns who of those that decisions are about is banned now.
func (n *Node) shunned(decisions []flow.Decision) []api.Shunned {
	var out []api.Shunned
	told := make(map[peer.ID]bool)
	for _, d := range decisions {
		if d.Peer == "" || told[d.Peer] {
			continue
		}
		told[d.Peer] = true
		if until := n.bans.Banned(d.Peer); time.Now().Before(until) {
			out = append(out, api.Shunned{Peer: sourceName(d.Peer), Name: n.nameOf(d.Peer), Reason: discovery.BadBytes.String(), Until: until})
		}
	}
	return out
}

// story tells how a chunk came, or how it stands.
func (l local) story(what string, chunk int, c *store.Content, held bool, arrivals []flow.Arrival, decisions []flow.Decision) (*api.ChunkStory, error) {
	s := &api.ChunkStory{Chunk: chunk}
	if held {
		all := c.Manifest().Chunks
		if chunk >= len(all) {
			return nil, api.Errorf(api.Usage, fmt.Sprintf("Give a chunk from 0 to %d", len(all)-1), "%s has no chunk %d", what, chunk)
		}
		s.Size, s.Here = int64(all[chunk].Size), c.Have().Contains(uint32(chunk))
	}
	var a flow.Arrival
	if chunk < len(arrivals) {
		a = arrivals[chunk]
	}
	last := slices.IndexFunc(decisions, func(d flow.Decision) bool { return d.Chunk == chunk })
	switch {
	case !a.Time.IsZero():
		s.Text = recount(chunk, a, l.call)
		s.Time, s.Peer, s.Name, s.Link = &a.Time, sourceName(a.Peer), l.nameOf(a.Peer), linkName(a.Link)
		if held && !s.Here {
			s.Text += "; it isn't here any more"
		}
	case s.Here:
		s.Text = fmt.Sprintf("chunk %d came from no other node since this one started: it was here, was added or imported, or was copied from this disk", chunk)
	case last >= 0:
		s.Text = fmt.Sprintf("chunk %d is not here yet", chunk)
	default:
		s.Text = fmt.Sprintf("chunk %d is not here, and nobody was asked for it as far as is remembered", chunk)
	}
	return s, nil
}
