package node

import (
	"cmp"
	"slices"
	"time"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/node/flow"
)

// flows returns what is on its way here, each content once: several gets of one, and
// readers of it, share a fetch.
func (n *Node) flows() []api.FlowStatus {
	var out []api.FlowStatus
	told := make(map[string]bool)
	tell := func(st api.FlowStatus) {
		if key := cmp.Or(st.Content, st.Name+"@"+st.Version); !told[key] {
			told[key] = true
			out = append(out, st)
		}
	}
	for _, d := range n.gets.list() {
		st := d.status()
		if st.Content == "" { // nobody has told yet which content has that name
			st.Name, st.Version = d.ref.name, d.ref.version
		}
		tell(st)
	}
	for _, f := range n.fetches.all() { // of readers
		tell(f.status())
	}
	slices.SortFunc(out, func(a, b api.FlowStatus) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Content, b.Content))
	})
	return out
}

// shares is what came over each kind of link.
type shares [len(bandwidth.Links)]flow.Share

func (sum *shares) add(s flow.Status) {
	for i, share := range s.Shares {
		sum[i].Verified += share.Verified
		sum[i].Duplicate += share.Duplicate
		sum[i].Corrupt += share.Corrupt
		sum[i].Unwanted += share.Unwanted
	}
}

// brought returns what came since the start. It never goes back.
func (t *fetchTable) brought() shares {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum := t.ended
	for _, f := range t.byID {
		if s, ok := f.flowStatus(); ok {
			sum.add(s)
		}
	}
	return sum
}

// moved returns what this node fetched, copied and gave since it started.
func (n *Node) moved() api.Moved {
	sum := n.fetches.brought()
	m := api.Moved{Local: n.fetches.localBytes(), Sent: int64(n.exchange.Stats().Served.Bytes)}
	for i, l := range bandwidth.Links {
		sum[i].Link = l
	}
	m.From, _, _, m.Wasted = byLink(flow.Status{Shares: sum})
	return m
}

// list returns the gets under way.
func (g *gets) list() []*delivery {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]*delivery, 0, len(g.all))
	for d := range g.all {
		out = append(out, d)
	}
	return out
}

// localBytes returns what fetches had from this disk since the start.
func (t *fetchTable) localBytes() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum := t.local
	for _, f := range t.byID {
		sum += f.localBytes()
	}
	return sum
}

// status says how a fetch stands that nobody has an own copy made of.
func (f *fetch) status() api.FlowStatus {
	b := f.brought()
	st := api.FlowStatus{
		Content: f.id.String(), Phase: api.Finding, Local: b.local, From: b.from, Givers: b.givers, Wasted: b.wasted,
		Elapsed: api.Seconds(time.Since(f.asked)),
	}
	st.Name, st.Version = f.node.named(f.id)
	f.stands(&st)
	return st
}

// named returns a name and version of a content; empty if none is known.
func (n *Node) named(id content.ID) (name, version string) {
	if known := n.catalogue.of(id); len(known) > 0 {
		return known[0].Name, known[0].Version
	}
	return "", ""
}

// stands fills in how far a fetch is, once that can be told; f may be nil.
func (f *fetch) stands(st *api.FlowStatus) {
	if c, ok := f.preparing(); ok {
		st.Phase, st.Done, st.Total = api.Copying, c.Progress(), c.Manifest().Size()
	}
	fs, ok := f.flowStatus()
	if !ok {
		return
	}
	st.Phase, st.Done, st.Total, st.Rate, st.Left = api.Fetching, fs.Done, fs.Total, fs.Rate, api.Seconds(fs.Left)
	if fs.Waiting != 0 {
		st.Phase, st.Reason, st.Detail = api.Waiting, fs.Waiting.String(), waitText(fs.Waiting)
	}
	_, st.Sources, _, _ = byLink(fs)
}

// byLink tells what came over each kind of link, who is asked there now, and who gave
// something.
func byLink(fs flow.Status) (from, sources, givers api.ByLink, wasted api.Wasted) {
	for _, s := range fs.Shares {
		switch s.Link {
		case bandwidth.LAN:
			from.LAN, sources.LAN, givers.LAN = s.Verified, int64(s.Sources), int64(s.Givers)
		case bandwidth.WAN:
			from.WAN, sources.WAN, givers.WAN = s.Verified, int64(s.Sources), int64(s.Givers)
		case bandwidth.Origin:
			from.Origin, sources.Origin, givers.Origin = s.Verified, int64(s.Sources), int64(s.Givers)
		}
		wasted = wasted.Plus(api.Wasted{Duplicate: s.Duplicate, Corrupt: s.Corrupt, Unwanted: s.Unwanted})
	}
	return from, sources, givers, wasted
}
