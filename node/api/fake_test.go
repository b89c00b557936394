package api_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/node/api"
)

// fakeNode answers every method with something to tell it by. What is asked for
// by the name "missing" isn't found.
type fakeNode struct {
	ready atomic.Bool
	// get, if set, is Get.
	get func(context.Context, api.GetRequest, func(api.FlowStatus)) (api.GetResult, error)
	// added is the last request of Add.
	added atomic.Pointer[api.AddRequest]
}

var moment = time.Date(2026, 11, 22, 10, 30, 0, 0, time.UTC)

func missing(ref string) error {
	if ref != "missing" {
		return nil
	}
	return &api.Error{
		Code:    api.NotFound,
		Message: fmt.Sprintf("get %s: %v", ref, content.ErrNotFound),
		Next:    "Look for other nodes: p2pnode peer ls",
		Tried:   []string{"3 peers asked", "DHT: 0 holders"},
	}
}

func (f *fakeNode) Status(context.Context) (api.Status, error) {
	return api.Status{Version: "1.2.3", Peer: "12D3KooWfake", Site: "hq", Started: moment, Ready: f.ready.Load(), Peers: api.ByLink{LAN: 2, WAN: 1}}, nil
}

func (f *fakeNode) Ready(context.Context) (api.Readiness, error) {
	ok := f.ready.Load()
	return api.Readiness{Ready: ok, Parts: []api.Part{{Name: "store", Ready: true, Message: "ok"}, {Name: "dht", Ready: ok, Message: "2 peers"}}}, nil
}

func (f *fakeNode) Doctor(context.Context) ([]api.Check, error) {
	return []api.Check{{Name: "clock", State: api.Warn, Message: "3 s behind", Next: "Set it"}}, nil
}

func (f *fakeNode) Add(_ context.Context, r api.AddRequest, report func(api.Progress)) (api.AddResult, error) {
	f.added.Store(&r)
	report(api.Progress{Phase: "read", Done: 1, Total: 2})
	return api.AddResult{Content: "bafyadd", Name: r.Name, Size: 2, Rate: 8 * bandwidth.MbitPerSecond, Elapsed: api.Seconds(1500 * time.Millisecond)}, nil
}

func (f *fakeNode) Get(ctx context.Context, r api.GetRequest, report func(api.FlowStatus)) (api.GetResult, error) {
	if f.get != nil {
		return f.get(ctx, r, report)
	}
	if err := missing(r.Ref); err != nil {
		return api.GetResult{}, err
	}
	return api.GetResult{Content: "bafyget", Output: r.Output, From: api.ByLink{LAN: 5, WAN: 6}, Verified: true}, nil
}

func (f *fakeNode) Contents(context.Context) ([]api.Content, error) { return nil, nil }

func (f *fakeNode) Content(_ context.Context, ref string) (api.ContentDetail, error) {
	return api.ContentDetail{Content: api.Content{ID: "bafyshow", Name: ref}}, missing(ref)
}

func (f *fakeNode) Remove(_ context.Context, ref string) (api.Removed, error) {
	return api.Removed{Content: "bafyrm", Name: ref, Freed: 7}, missing(ref)
}

func (f *fakeNode) Pin(_ context.Context, ref string, pinned bool) (api.Content, error) {
	return api.Content{ID: "bafypin", Name: ref, Pinned: pinned}, missing(ref)
}

func (f *fakeNode) Export(_ context.Context, ref string, r api.ExportRequest, report func(api.Progress)) (api.ExportResult, error) {
	report(api.Progress{Phase: "write", Done: 1, Total: 2})
	return api.ExportResult{Content: "bafyexport", Name: ref, Output: r.Output, Releases: 1}, missing(ref)
}

func (f *fakeNode) Import(_ context.Context, r api.ImportRequest, report func(api.Progress)) (api.ImportResult, error) {
	report(api.Progress{Phase: "import", Done: 1, Total: 2})
	return api.ImportResult{Content: "bafyimport", Name: r.Path, Signer: "hq"}, nil
}

func (f *fakeNode) Cache(context.Context) (api.Cache, error) {
	return api.Cache{Used: 3, Quota: 10, Types: []api.TypeUse{{Type: "app", Contents: 1, Used: 3}}}, nil
}

func (f *fakeNode) Clean(_ context.Context, r api.CleanRequest) (api.CleanResult, error) {
	return api.CleanResult{Freed: r.To, DryRun: r.DryRun}, nil
}

func (f *fakeNode) VerifyAll(context.Context, func(api.Progress)) (api.VerifyAllResult, error) {
	return api.VerifyAllResult{Contents: 2, Checked: 9, BadCount: 1}, nil
}

func (f *fakeNode) Verify(_ context.Context, ref string, report func(api.Progress)) (api.VerifyResult, error) {
	return api.VerifyResult{Content: "bafyverify", Name: ref, Checked: 9, Bad: 1}, missing(ref)
}

func (f *fakeNode) Peers(context.Context) ([]api.Peer, error) {
	return []api.Peer{{Peer: "12D3KooWother", Link: "lan", RTT: api.Seconds(time.Millisecond)}}, nil
}

func (f *fakeNode) Refusals(context.Context) ([]api.Refusal, error) {
	return []api.Refusal{{Time: moment, Reason: "expired"}}, nil
}

func (f *fakeNode) Ping(_ context.Context, who string) (api.Pong, error) {
	return api.Pong{Peer: who, RTT: api.Seconds(2 * time.Millisecond)}, missing(who)
}

func (f *fakeNode) Decisions(_ context.Context, limit int) ([]api.Decision, error) {
	return []api.Decision{{Time: moment, Chunk: limit, Verb: "ask", Reason: "same-site"}}, nil
}

func (f *fakeNode) Sites(context.Context) ([]api.Site, error) {
	return []api.Site{{Site: "hq", Own: true, Link: "lan", Nodes: 2, Names: []string{"a", "b"}}}, nil
}

func (f *fakeNode) Site(_ context.Context, id string) (api.SiteDetail, error) {
	return api.SiteDetail{
		Site: "is " + id, From: "map", Delegates: []string{"p"}, Members: []api.SiteMember{{Peer: "p", Since: moment, Report: &api.Report{Started: moment, Mains: true, Free: 5}}},
		Underway: []api.Carrying{{Content: "c", Planner: "p", Planned: true, Carriers: []api.Carrier{{Peer: "p", Chunks: 3}}}},
	}, missing(id)
}

func (f *fakeNode) Why(_ context.Context, ref string, chunk int) (api.Why, error) {
	return api.Why{Content: "bafywhy", Name: ref, Chunks: chunk, Came: []api.Came{{Peer: "p", Link: "lan", Chunks: 2, First: moment, Last: moment}},
		Said: []api.Sentence{{Decision: api.Decision{Time: moment, Chunk: chunk, Verb: "got"}, Text: "it came"}}, Shunned: []api.Shunned{{Peer: "q", Until: moment}}}, missing(ref)
}

func (f *fakeNode) Invite(_ context.Context, r api.InviteRequest) (api.Invitation, error) {
	return api.Invitation{Token: "p2p1.x", Site: r.Site, Uses: r.Uses, Expires: moment.Add(time.Duration(r.Expires))}, nil
}

func (f *fakeNode) Members(context.Context) ([]api.Member, error) {
	return []api.Member{{Peer: "12D3KooWfake", Site: "hq"}}, nil
}

func (f *fakeNode) Revoke(_ context.Context, who string, r api.RevokeRequest) (api.Member, error) {
	return api.Member{Peer: who, Revoked: &moment, Reason: r.Reason}, missing(who)
}

func (f *fakeNode) SignSites(_ context.Context, r api.SignSitesRequest) (api.SiteMap, error) {
	return api.SiteMap{Envelope: []byte("signed " + r.Text), Networks: 2, Sites: []string{"berlin", "paris"}, Signed: time.Date(2026, 11, 22, 10, 30, 0, 0, time.UTC), Signers: []string{"hq"}, Here: "berlin"}, nil
}

func (f *fakeNode) CheckSites(_ context.Context, r api.CheckSitesRequest) (api.SiteMap, error) {
	if !strings.HasPrefix(string(r.Envelope), "signed ") {
		return api.SiteMap{}, api.Errorf(api.Usage, "Sign the map on an operator's node: p2pnode site map sign FILE", "nodes of this enterprise wouldn't use this map of sites: not a valid signed envelope")
	}
	return api.SiteMap{Envelope: r.Envelope, Networks: 1, Sites: []string{"paris"}, Signed: time.Date(2026, 11, 22, 10, 30, 0, 0, time.UTC), Signers: []string{"hq"}}, nil
}
