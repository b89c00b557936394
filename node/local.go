package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/discovery"
	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/node/flow"
	"github.com/p2pnode/p2pnode/node/trust"
)

// A local is a node as the local API sees it (api.Node): people's words in,
// people's words out.
type local struct{ *Node }

// lonelyAfter is how long a node is alone before that is worth a warning.
const lonelyAfter = time.Minute

// refusedLately is how long a refusal is worth a warning: longer than the pause
// between two dials of a peer.
const refusedLately = 2 * maxBackoff

// Status implements api.Node.
func (l local) Status(context.Context) (api.Status, error) {
	me := l.identity.Credential()
	here, _ := l.site.Site()
	st := api.Status{
		Version: Version(), Peer: me.Peer.String(), Name: me.Name, Site: here,
		Enterprise: l.identity.Enterprise(), Roles: me.Roles.Strings(), Data: l.cfg.Data,
		Listen: l.listening(), Gateway: l.address(), Ready: l.isReady(), Started: l.started, Looking: l.looking(), Process: l.process(),
	}
	u, err := l.store.Usage()
	if err != nil {
		return st, err
	}
	st.Store = api.Store{
		Contents: u.Contents, Used: u.Used, Free: u.Free, Quota: u.Quota, Pinned: u.Pinned,
		Damaged: u.Damaged, Scrubbed: l.store.ScrubbedSince(),
	}
	for _, p := range l.host.Network().Peers() {
		switch l.link(p) {
		case bandwidth.LAN:
			st.Peers.LAN++
		case bandwidth.WAN:
			st.Peers.WAN++
		}
	}
	st.Flows, st.Moved = l.flows(), l.moved()
	st.Warnings = l.warnings(st)
	return st, nil
}

func (l local) warnings(st api.Status) []api.Warning {
	var out []api.Warning
	if st.Peers.Total() == 0 && time.Since(l.started) > lonelyAfter {
		w := api.Warning{Code: "no-peers", Message: "no other node is connected", Next: "Try: p2pnode doctor"}
		if l.identity.Issuing() {
			w.Next = "Let another machine join: p2pnode invite --site " + st.Site
		}
		out = append(out, w)
	}
	if why := l.unwanted(); why != "" && st.Peers.Total() == 0 {
		out = append(out, api.Warning{Code: "not-admitted", Message: "other nodes refuse this one: " + why, Next: "See them: p2pnode peer ls --refused"})
	}
	switch l.identity.Clock().State() {
	case trust.ClockBehind:
		out = append(out, api.Warning{Code: "clock-behind", Message: "this machine's clock is behind the enterprise's; signed time is used instead", Next: "Set the clock of this machine"})
	case trust.ClockSuspect, trust.ClockAnchored:
		out = append(out, api.Warning{Code: "clock-suspect", Message: "this machine's clock seems far ahead of the enterprise's", Next: "Set the clock of this machine"})
	}
	if left := time.Until(l.identity.Credential().NotAfter); left < 0 {
		out = append(out, api.Warning{Code: "credential-expired", Message: "this node's credential has run out and could not be renewed", Next: "Make sure that the node that issues credentials can be reached"})
	}
	if err := l.identity.Broken(); err != nil {
		next := "Check the disk, then restart the node"
		if api.From(err).Code == api.NoSpace {
			next = makeRoom + ", then restart the node"
		}
		out = append(out, api.Warning{Code: "trust-state", Message: "what this node has to remember could not be written, so nothing new is accepted: " + err.Error(), Next: next})
	}
	if err := l.identity.TurnedBack(); err != nil {
		out = append(out, api.Warning{Code: "turned-back", Message: err.Error(), Next: "See that this folder runs on one machine only, and invite again who joined since the backup: p2pnode invite"})
	}
	if id, n, why := l.changedInPlace(); why != nil {
		w := api.Warning{Code: "changed-in-place", Message: "a file that was added in place is not what it was: " + why.Error(),
			Next: "Publish what is there now: p2pnode add --reference PATH. Then let go of what was: p2pnode content rm " + id}
		if n > 1 {
			w.Message += fmt.Sprintf("; so it is with %d contents", n)
		}
		out = append(out, w)
	}
	for id, trouble := range l.store.Trouble() {
		out = append(out, api.Warning{Code: "disk-trouble", Message: fmt.Sprintf("content %v can't be read or kept: %s", id, trouble),
			Next: "Check the disk of the data folder; once it works the node goes on by itself"})
		break // one says it all
	}
	if w, ok := l.sitesWarning(); ok {
		out = append(out, w)
	}
	if w, ok := l.gets.waiting(); ok {
		out = append(out, w)
	}
	if err := l.store.Low(); err != nil {
		out = append(out, api.Warning{Code: "low-space", Message: err.Error(), Next: makeRoom})
	} else if s := st.Store; s.Used >= s.Quota-s.Quota/20 && s.Pinned >= s.Quota-s.Quota/5 {
		out = append(out, api.Warning{
			Code: "quota-full", Message: fmt.Sprintf("content has %s of its quota of %s, and %s of it are pinned", iBytes(s.Used), iBytes(s.Quota), iBytes(s.Pinned)),
			Next: "Let contents go (p2pnode content unpin), or raise the quota (p2pnode run --cache-quota)",
		})
	}
	if st.Store.Damaged > 0 {
		out = append(out, api.Warning{
			Code: "damage", Message: fmt.Sprintf("%d %s went bad on the disk; the bad parts are not served, and fetched again as soon as somebody has them", st.Store.Damaged, plural(st.Store.Damaged, "content", "contents")),
			Next: "See which: p2pnode content ls. Check the disk: if this comes back, replace it",
		})
	}
	return out
}

// changedInPlace returns a content that stands on files of the user's of which one
// changed, how many such contents there are, and what happened to it.
func (n *Node) changedInPlace() (id string, contents int, why error) {
	for _, c := range n.store.List() {
		if _, changed := c.References(); len(changed) > 0 {
			if contents++; contents == 1 {
				id, why = c.ID().String(), changed[0]
			}
		}
	}
	return id, contents, why
}

// unwanted returns why this node was refused by others lately; empty if it
// wasn't.
func (n *Node) unwanted() string {
	for _, r := range slices.Backward(n.admission.Refused()) {
		if time.Since(r.At) < refusedLately && !r.Inbound && errors.Is(r.Err, trust.ErrNotAdmitted) {
			return r.Err.Error()
		}
	}
	return ""
}

func (n *Node) isReady() bool {
	select {
	case <-n.ready:
		return true
	default:
		return false
	}
}

func (n *Node) listening() []string {
	var out []string
	for _, a := range n.host.Network().ListenAddresses() {
		out = append(out, a.String())
	}
	slices.Sort(out)
	return out
}

func (n *Node) looking() []string {
	var out []string
	if n.cfg.DHT != DHTOff {
		out = append(out, "dht")
	}
	if n.mdns != nil {
		out = append(out, "mdns")
	}
	if len(n.keeper.told) > 0 {
		out = append(out, "bootstrap")
	}
	return out
}

// Ready implements api.Node.
func (l local) Ready(ctx context.Context) (api.Readiness, error) {
	parts := []api.Part{
		{Name: "store", Ready: true},
		{Name: "network", Ready: len(l.host.Network().ListenAddresses()) > 0},
		{Name: "exchange", Ready: l.isReady()},
	}
	// The DHT is a hint: without it a node does its work with whom it knows.
	if d, err := l.dht.Stats(ctx); err == nil && l.cfg.DHT != DHTOff {
		parts = append(parts, api.Part{Name: "dht", Ready: true, Message: fmt.Sprintf("%d %s known", d.Servers, plural(d.Servers, "server", "servers"))})
	}
	r := api.Readiness{Ready: true, Parts: parts}
	for _, p := range parts {
		r.Ready = r.Ready && p.Ready
	}
	return r, nil
}

// Peers implements api.Node.
func (l local) Peers(context.Context) ([]api.Peer, error) {
	stats := l.exchange.Stats()
	out := make([]api.Peer, 0, 16)
	for _, p := range l.host.Network().Peers() {
		conns := l.host.Network().ConnsToPeer(p)
		if len(conns) == 0 {
			continue
		}
		cred, ok := l.admission.Of(p)
		if !ok {
			continue
		}
		conn := conns[0]
		out = append(out, api.Peer{
			Peer: p.String(), Name: cred.Name, Site: l.site.At(p), Link: l.link(p).String(),
			Address: conn.RemoteMultiaddr().String(), Transport: transportOf(conn.RemoteMultiaddr()),
			Inbound: conn.Stat().Direction == network.DirInbound, Since: conn.Stat().Opened,
			RTT:      api.Seconds(l.host.Peerstore().LatencyEWMA(p)),
			Received: int64(stats.Fetching[p].Bytes), Sent: int64(stats.Serving[p].Bytes),
			Expires: cred.NotAfter,
		})
	}
	slices.SortFunc(out, func(a, b api.Peer) int {
		return cmp.Or(cmp.Compare(a.Site, b.Site), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Peer, b.Peer))
	})
	return out, nil
}

func transportOf(a ma.Multiaddr) string {
	if _, err := a.ValueForProtocol(ma.P_QUIC_V1); err == nil {
		return "quic"
	}
	return "tcp"
}

// Refusals implements api.Node.
func (l local) Refusals(context.Context) ([]api.Refusal, error) {
	refused := l.admission.Refused()
	out := make([]api.Refusal, 0, len(refused))
	for _, r := range slices.Backward(refused) {
		a := api.Refusal{Time: r.At, Inbound: r.Inbound, Reason: r.Err.Error()}
		if r.Addr != nil {
			a.Address = r.Addr.String()
		}
		if r.Peer != "" {
			a.Peer = r.Peer.String()
		}
		out = append(out, a)
	}
	return out, nil
}

// Ping implements api.Node.
func (l local) Ping(ctx context.Context, who string) (api.Pong, error) {
	p, err := l.findPeer(who)
	if err != nil {
		return api.Pong{}, err
	}
	if err := l.keeper.connect(ctx, l.keeper.lookup(p)); err != nil {
		return api.Pong{}, api.Errorf(api.Failed, "See which leg fails: p2pnode doctor, and p2pnode peer ls --refused on both", "reach %s: %w", l.call(p), err)
	}
	x, err := l.exchange.Session(ctx, p)
	if err != nil {
		return api.Pong{}, fmt.Errorf("ping %s: %w", l.call(p), err)
	}
	rtt, err := x.Ping(ctx)
	if err != nil {
		return api.Pong{}, fmt.Errorf("ping %s: %w", l.call(p), err)
	}
	l.host.Peerstore().RecordLatency(p, rtt)
	pong := api.Pong{Peer: p.String(), Link: l.link(p).String(), RTT: api.Seconds(rtt)}
	if c, ok := l.admission.Of(p); ok {
		pong.Name, pong.Site = c.Name, l.site.At(p)
	}
	if conns := l.host.Network().ConnsToPeer(p); len(conns) > 0 {
		a := conns[0].RemoteMultiaddr()
		pong.Address, pong.Transport = a.String(), transportOf(a)
		pong.Direct = !conns[0].Stat().Limited
	}
	return pong, nil
}

// findPeer returns whom a person means: a peer id, or the name of somebody
// connected or, on the issuer, of any member.
func (l local) findPeer(who string) (peer.ID, error) {
	if p, err := peer.Decode(who); err == nil {
		return p, nil
	}
	found := make(map[peer.ID]struct{})
	for _, p := range l.host.Network().Peers() {
		if c, ok := l.admission.Of(p); ok && strings.EqualFold(c.Name, who) {
			found[p] = struct{}{}
		}
	}
	if len(found) == 0 {
		if all, err := l.identity.Members(); err == nil {
			for _, m := range all {
				if strings.EqualFold(m.Name, who) {
					found[m.Peer] = struct{}{}
				}
			}
		}
	}
	switch len(found) {
	case 0:
		return "", api.Errorf(api.NotFound, "See who is: p2pnode peer ls", "no node named %q is connected", who)
	case 1:
		for p := range found {
			return p, nil
		}
	}
	return "", api.Errorf(api.Usage, "Use the peer id: p2pnode peer ls", "%d nodes are named %q", len(found), who)
}

// Decisions implements api.Node.
func (l local) Decisions(_ context.Context, limit int) ([]api.Decision, error) {
	all := l.ring.All()
	if limit > 0 && len(all) > limit {
		all = all[len(all)-limit:]
	}
	out := make([]api.Decision, 0, len(all))
	for _, d := range slices.Backward(all) {
		out = append(out, decision(d))
	}
	return out, nil
}

func decision(d flow.Decision) api.Decision {
	return api.Decision{
		Time: d.Time, Content: d.Content.String(), Chunk: d.Chunk, Peer: sourceName(d.Peer), Verb: d.Verb.String(), Reason: d.Reason.String(),
		Link: linkName(d.Link),
	}
}

// sourceName returns the id of a source as it stands in the API; empty if there is none.
func sourceName(p peer.ID) string {
	if p == "" {
		return ""
	}
	return discovery.PeerName(p)
}

// linkName returns a link class as it stands in the API; empty if it isn't known.
func linkName(l bandwidth.Link) string {
	if l == 0 {
		return ""
	}
	return l.String()
}

// Invite implements api.Node.
func (l local) Invite(_ context.Context, r api.InviteRequest) (api.Invitation, error) {
	if !l.identity.Issuing() {
		return api.Invitation{}, l.notIssuer("invite")
	}
	addrs := l.invitable()
	t, err := l.identity.Invite(trust.InviteOptions{Site: r.Site, Name: r.Name, Uses: r.Uses, Expires: time.Duration(r.Expires), Bootstrap: addrs})
	if err != nil {
		return api.Invitation{}, api.Errorf(api.Usage, "", "invite: %w", err)
	}
	l.log.Info("invited")
	uses, expires := max(r.Uses, 1), time.Duration(r.Expires)
	if expires == 0 {
		expires = 24 * time.Hour
	}
	return api.Invitation{
		Token: t.String(), Enterprise: l.identity.Enterprise(), Site: r.Site, Name: r.Name, Uses: uses,
		Expires: l.identity.Clock().Now().Add(expires).UTC().Truncate(time.Second), Bootstrap: addrs,
	}, nil
}

// maxInvited is how many addresses an invite holds: a token is copied by hand.
const maxInvited = 4

// invitable returns the addresses that somebody elsewhere can reach this node
// by, TCP first; those of this machine alone only if there are no others.
func (n *Node) invitable() []string {
	addrs := slices.Clone(n.host.Addrs())
	far := slices.DeleteFunc(slices.Clone(addrs), func(a ma.Multiaddr) bool { return manet.IsIPLoopback(a) || manet.IsIP6LinkLocal(a) })
	if len(far) > 0 {
		addrs = far
	}
	slices.SortStableFunc(addrs, func(a, b ma.Multiaddr) int {
		return cmp.Or(cmp.Compare(transportOf(b), transportOf(a)), cmp.Compare(a.String(), b.String()))
	})
	var out []string
	for _, a := range addrs[:min(len(addrs), maxInvited)] {
		out = append(out, a.String()+"/p2p/"+n.host.ID().String())
	}
	return out
}

func (l local) notIssuer(verb string) error {
	return api.Errorf(api.NotPermitted, "Run it on the node that issues credentials (role issuer): p2pnode status shows a node's roles", "%s: %w", verb, trust.ErrNotIssuer)
}

// Members implements api.Node.
func (l local) Members(context.Context) ([]api.Member, error) {
	all, err := l.identity.Members()
	if errors.Is(err, trust.ErrNotIssuer) {
		return nil, l.notIssuer("list members")
	}
	if err != nil {
		return nil, err
	}
	out := make([]api.Member, 0, len(all))
	for _, m := range all {
		out = append(out, l.member(m))
	}
	return out, nil
}

func (l local) member(m trust.MemberRecord) api.Member {
	return api.Member{
		Peer: m.Peer.String(), Name: m.Name, Site: m.Site, Roles: m.Roles.Strings(), Enrolled: m.Issued, Expires: m.NotAfter,
		Connected: m.Peer == l.host.ID() || l.host.Network().Connectedness(m.Peer) == network.Connected,
		Revoked:   m.Revoked, Reason: m.Reason,
	}
}

// Revoke implements api.Node.
func (l local) Revoke(_ context.Context, who string, r api.RevokeRequest) (api.Member, error) {
	m, err := l.admission.Revoke(who, r.Reason)
	switch {
	case errors.Is(err, trust.ErrNotIssuer):
		return api.Member{}, l.notIssuer("revoke")
	case errors.Is(err, trust.ErrUnknownMember):
		return api.Member{}, api.Errorf(api.NotFound, "See who is: p2pnode member ls", "%w", err)
	case err != nil:
		return api.Member{}, err
	}
	l.keeper.book.forget(m.Peer)
	return l.member(m), nil
}
