package node

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/discovery/site"
	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/node/carry"
)

// Sites implements api.Node.
func (l local) Sites(context.Context) ([]api.Site, error) {
	own, _ := l.site.Site()
	at := map[string][]string{own: {l.identity.Credential().Name}}
	for _, p := range l.host.Network().Peers() {
		if id := l.site.At(p); id != "" {
			at[id] = append(at[id], cmp.Or(l.nameOf(p), p.String()))
		}
	}
	out := make([]api.Site, 0, len(at))
	for id, names := range at {
		slices.Sort(names)
		s := api.Site{Site: id, Own: id == own, Link: "wan", Nodes: len(names), Names: names[:min(len(names), api.ShowNames)]}
		if s.Own {
			s.Link = "lan"
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b api.Site) int {
		switch {
		case a.Own:
			return -1
		case b.Own:
			return 1
		}
		return cmp.Compare(a.Site, b.Site)
	})
	return out, nil
}

// Site implements api.Node.
func (l local) Site(_ context.Context, id string) (api.SiteDetail, error) {
	own, from := l.site.Site()
	id = cmp.Or(id, own)
	s := api.SiteDetail{Site: id, Own: id == own}
	delegates := l.site.Delegates()
	if s.Own {
		s.From = from.String()
		for _, p := range delegates {
			s.Delegates = append(s.Delegates, p.String())
		}
		s.Underway = l.underway()
		s.Members = append(s.Members, l.memberAt(l.host.ID(), delegates))
	}
	for _, p := range l.host.Network().Peers() {
		if l.site.At(p) == id {
			s.Members = append(s.Members, l.memberAt(p, delegates))
		}
	}
	if len(s.Members) == 0 {
		return api.SiteDetail{}, api.Errorf(api.NotFound, "See which sites it knows: p2pnode site ls", "no node at site %q is connected to this one", id)
	}
	slices.SortFunc(s.Members, func(a, b api.SiteMember) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Peer, b.Peer))
	})
	return s, nil
}

// memberAt describes this node or a connected peer.
func (l local) memberAt(p peer.ID, delegates []peer.ID) api.SiteMember {
	m := api.SiteMember{Peer: p.String(), Name: l.nameOf(p), Self: p == l.host.ID(), Delegate: slices.Contains(delegates, p)}
	if m.Self {
		m.Name, m.Since = l.identity.Credential().Name, l.started
	} else if conns := l.host.Network().ConnsToPeer(p); len(conns) > 0 {
		m.Since, m.RTT = conns[0].Stat().Opened, api.Seconds(l.host.Peerstore().LatencyEWMA(p))
	}
	if known, ok := l.site.Of(p); ok {
		m.Report, m.Silent = report(known.Report), known.Silent
	}
	return m
}

func report(r site.Report) *api.Report {
	return &api.Report{Started: r.Started.Truncate(time.Second), Mains: r.Mains, Wired: r.Wired, Willing: r.Willing, Free: r.Free}
}

// underway returns the contents on their way to this site that this node plans, or
// fetches.
func (l local) underway() []api.Carrying {
	var out []api.Carrying
	planned := make(map[content.ID]bool)
	for _, st := range l.planner.States() {
		planned[st.Content] = true
		out = append(out, l.plannedHere(st))
	}
	for _, f := range l.fetches.all() {
		if planned[f.id] {
			continue
		}
		c := api.Carrying{Content: f.id.String()}
		c.Name, c.Version = l.named(f.id)
		if p, ok := l.site.Planner(f.id); ok {
			c.Planner = p.String()
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b api.Carrying) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Content, b.Content))
	})
	return out
}

func (l local) plannedHere(st carry.State) api.Carrying {
	c := api.Carrying{
		Content: st.Content.String(), Planner: l.host.ID().String(), Planned: true,
		Chunks: st.Chunks, Here: st.Here, Members: st.Members,
	}
	c.Name, c.Version = l.named(st.Content)
	for p, chunks := range st.Carriers {
		name := l.nameOf(p)
		if p == l.host.ID() {
			name = l.identity.Credential().Name
		}
		c.Carriers = append(c.Carriers, api.Carrier{Peer: p.String(), Name: name, Chunks: chunks})
	}
	slices.SortFunc(c.Carriers, func(a, b api.Carrier) int {
		return cmp.Or(cmp.Compare(b.Chunks, a.Chunks), cmp.Compare(a.Peer, b.Peer))
	})
	return c
}
