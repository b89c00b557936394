package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/node/api"
)

// fakenode FOLDER serves, until the script ends, a node whose every answer is
// known: what it is asked for by the name of an api.Code fails with that.
func cmdFakeNode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: fakenode FOLDER")
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o700))
	s, err := api.NewServer(dir, fakeNode{}, nil, prometheus.NewRegistry(), zap.NewNop())
	ts.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	ts.Defer(func() {
		cancel()
		if err := <-ended; err != nil {
			ts.Logf("fakenode: %v", err)
		}
	})
}

// A fakeNode is a node for tests of what is shown of one.
type fakeNode struct{ api.Node }

const fakeID = "bafyreib2rxk3rybk3aobmv5cjuql3bm2twh4jo5uxgf5kpqcsgz7soitae"

var fakeTime = time.Date(2026, 11, 22, 10, 30, 0, 0, time.UTC)

func fakeError(ref string) error {
	for _, c := range api.Codes() {
		if ref == string(c) {
			e := api.Errorf(c, "Look around: p2pnode peer ls", "get %s: it is %s", ref, c)
			if c == api.NotFound {
				e.Tried = []string{"3 peers asked", "DHT: no holder"}
			}
			return e
		}
	}
	return nil
}

func (fakeNode) Status(context.Context) (api.Status, error) {
	return api.Status{
		Version: "1.2.3", Peer: "12D3KooWRYB4BrUopyJXLyhzVVk3yPPvjQKBPkXcubTfcYXuZPJi", Name: "hq", Site: "berlin",
		Enterprise: "oa3jvowcsnielbcs", Roles: []string{"member"}, Ready: true, Started: time.Now().Add(-time.Hour * 3),
		Store: api.Store{Contents: 1, Used: 3 << 29, Free: 25 << 30, Quota: 10 << 30, Pinned: 1 << 29}, Peers: api.ByLink{LAN: 2, WAN: 1},
		Moved: api.Moved{From: api.ByLink{LAN: 3 << 29, WAN: 1 << 29}, Local: 5 << 20, Wasted: api.Wasted{Duplicate: 4096}, Sent: 3 << 30},
		Flows: []api.FlowStatus{{
			Content: fakeID, Name: "menu", Version: "2", Phase: api.Fetching, Done: 412 << 20, Total: 1431 << 20, Rate: 8 * 9.6e6, Left: api.Seconds(14 * time.Second),
			From: api.ByLink{LAN: 300 << 20, WAN: 112 << 20}, Sources: api.ByLink{LAN: 2, WAN: 1}, Givers: api.ByLink{LAN: 3, WAN: 1},
		}},
		Warnings: []api.Warning{{Code: "low-space", Message: "little is left", Next: "Remove content: p2pnode content ls"}},
	}, nil
}

func (fakeNode) Ready(context.Context) (api.Readiness, error) {
	return api.Readiness{Parts: []api.Part{{Name: "store", Ready: true, Message: "ok"}, {Name: "dht", Message: "no peers"}}}, nil
}

func (fakeNode) Doctor(context.Context) ([]api.Check, error) {
	return []api.Check{
		{Name: "disk", State: api.OK, Message: "9.0 GiB free", Next: "not shown"},
		{Name: "clock", State: api.Fail, Message: "3 years behind", Next: "Set the clock"},
	}, nil
}

func (fakeNode) Add(_ context.Context, r api.AddRequest, _ func(api.Progress)) (api.AddResult, error) {
	res := api.AddResult{
		Content: fakeID, Name: r.Name, Version: r.Version, Type: r.Type, Size: 3 << 29, New: 1 << 29, Files: len(r.Paths), Chunks: 1431,
		Signer: r.Labels["who"], Rate: 8 * 812e6, Elapsed: api.Seconds(1900 * time.Millisecond),
	}
	res.InPlace = r.Reference && r.Name != "copied"
	if r.Unpack {
		res.Unpacked = "deb"
	}
	if r.Remote {
		res.Origin, res.Remote = r.Paths[0], true
	}
	if r.SkipLinks {
		res.Skipped, res.SkippedList = 7, []string{"lib/a.so -> a.so.1", "b", "c", "d", "e", "f", "g"}
	}
	return res, fakeError(r.Name)
}

func (fakeNode) Get(ctx context.Context, r api.GetRequest, report func(api.FlowStatus)) (api.GetResult, error) {
	if err := fakeError(r.Ref); err != nil {
		return api.GetResult{}, err
	}
	report(api.FlowStatus{Name: "pos", Version: "7.2", Phase: api.Fetching, Done: 412 << 20, Total: 1431 << 20, Rate: 8 * 9.6e6,
		Sources: api.ByLink{LAN: 2, WAN: 1}, Left: api.Seconds(14 * time.Second)})
	if r.Ref == "endless" {
		<-ctx.Done()
		return api.GetResult{}, ctx.Err()
	}
	// The line has to be on its way before the summary takes its place.
	time.Sleep(500 * time.Millisecond)
	if r.Ref == "update" { // most of it was on this disk
		return api.GetResult{Content: fakeID, Name: "pos", Version: "7.3", Output: r.Output, Size: 3 << 29, Files: 2, Local: 3<<29 - 1<<20,
			From: api.ByLink{WAN: 1 << 20}, Verified: true, Elapsed: api.Seconds(10 * time.Second)}, nil
	}
	return api.GetResult{Content: fakeID, Name: "pos", Version: "7.2", Output: r.Output, Size: 3 << 29, Files: 2, Here: 1 << 29,
		From: api.ByLink{LAN: 3 << 28, WAN: 1 << 28}, Givers: api.ByLink{LAN: 2, WAN: 1}, Wasted: api.Wasted{Duplicate: 4096}, Verified: true, Elapsed: api.Seconds(10 * time.Second)}, nil
}

func (fakeNode) Contents(context.Context) ([]api.Content, error) {
	return []api.Content{
		{ID: fakeID, Name: "pos", Version: "7.2", Type: "os-image", Size: 3 << 29, Here: 1 << 29, Added: fakeTime, Used: fakeTime.Add(time.Hour)},
		{ID: fakeID, Name: "menu", Version: "1", Size: 10, Here: 10, Pinned: true, Added: fakeTime.Add(time.Minute), Used: fakeTime.Add(2 * time.Minute)},
	}, nil
}

func (fakeNode) Remove(_ context.Context, ref string) (api.Removed, error) {
	return api.Removed{Content: fakeID, Name: ref, Freed: 5}, fakeError(ref)
}

func (fakeNode) Pin(_ context.Context, ref string, pinned bool) (api.Content, error) {
	return api.Content{ID: fakeID, Name: ref, Version: "1", Pinned: pinned, Here: 10}, fakeError(ref)
}

func (fakeNode) Export(_ context.Context, ref string, r api.ExportRequest, _ func(api.Progress)) (api.ExportResult, error) {
	return api.ExportResult{Content: fakeID, Name: "pos", Version: "7.2", Output: r.Output, Size: 3 << 29, Written: 3<<29 + 1<<20, Releases: 2, Elapsed: api.Seconds(time.Second)}, fakeError(ref)
}

func (fakeNode) Import(_ context.Context, r api.ImportRequest, _ func(api.Progress)) (api.ImportResult, error) {
	return api.ImportResult{Content: fakeID, Name: "pos", Version: "7.2", Size: 3 << 29, Here: 1 << 29, Files: 2, Releases: 1, Signer: "hq", Elapsed: api.Seconds(time.Second)}, fakeError(filepath.Base(r.Path))
}

func (fakeNode) Cache(context.Context) (api.Cache, error) {
	return api.Cache{
		Dir: "/data/store", Contents: 3, Used: 3 << 29, Reserved: 1 << 20, Quota: 10 << 30, Floor: 5 << 30, Free: 25 << 30, Total: 100 << 30,
		Reclaimable: 1 << 30, Pinned: 1 << 29, Partial: 1 << 28, Damaged: 1,
		Types:   []api.TypeUse{{Type: "os-image", Contents: 2, Used: 1 << 30}, {Contents: 1, Used: 1 << 29}},
		Evicted: api.Evicted{Contents: 2, Bytes: 1 << 30},
		Scrub:   api.Scrub{Period: api.Seconds(30 * 24 * time.Hour), Since: fakeTime, Damaged: 2, Healed: 1},
	}, nil
}

func (fakeNode) Clean(_ context.Context, r api.CleanRequest) (api.CleanResult, error) {
	res := api.CleanResult{Contents: []api.Removed{{Content: fakeID, Name: "pos", Version: "7.1", Freed: 1 << 30}}, Freed: 1 << 30, DryRun: r.DryRun}
	if r.To == 1 {
		res.Short, res.Why = 1<<20, "held: 1 pinned (1.0 MiB)"
	}
	return res, nil
}

func (fakeNode) VerifyAll(context.Context, func(api.Progress)) (api.VerifyAllResult, error) {
	return api.VerifyAllResult{
		Contents: 3, Checked: 1 << 30, Bad: 65536, BadCount: 1, Elapsed: api.Seconds(time.Second),
		Damaged: []api.VerifyResult{{Content: fakeID, Name: "pos", Bad: 65536, BadCount: 1}},
	}, nil
}

func (fakeNode) Verify(_ context.Context, ref string, _ func(api.Progress)) (api.VerifyResult, error) {
	switch ref {
	case "in-place": // and found out before
		return api.VerifyResult{Content: fakeID, Name: ref, Changed: 1}, nil
	case "begun":
		return api.VerifyResult{Content: fakeID, Name: ref, Checked: 1 << 20}, nil
	case "remote":
		return api.VerifyResult{Content: fakeID, Name: ref, Elapsed: api.Seconds(time.Second)}, nil
	}
	return api.VerifyResult{Content: fakeID, Name: ref, Checked: 1 << 30, Bad: 65536, BadCount: 1, Elapsed: api.Seconds(time.Second)}, fakeError(ref)
}

func (fakeNode) Ping(_ context.Context, who string) (api.Pong, error) {
	return api.Pong{Peer: "12D3KooWRYB4BrUopyJXLyhzVVk3yPPvjQKBPkXcubTfcYXuZPJi", Name: who, Site: "hq", Link: "wan", Transport: "quic", Direct: true, RTT: api.Seconds(18 * time.Millisecond)}, fakeError(who)
}

func (fakeNode) Sites(context.Context) ([]api.Site, error) {
	return []api.Site{
		{Site: "berlin", Own: true, Link: "lan", Nodes: 3, Names: []string{"hq", "till-1", "till-2"}},
		{Site: "paris", Link: "wan", Nodes: 8, Names: []string{"a", "b", "c", "d", "e", "f", "g", "h"}},
	}, nil
}

func (fakeNode) Site(_ context.Context, id string) (api.SiteDetail, error) {
	const hq, till = "12D3KooWRYB4BrUopyJXLyhzVVk3yPPvjQKBPkXcubTfcYXuZPJi", "12D3KooWQ5sNXwFQRB8nLzZKZ6sLSKgTv6xHJhUjnTZmCy8re97x"
	since := time.Date(2020, 11, 22, 12, 0, 0, 0, time.Local)
	s := api.SiteDetail{Site: "berlin", Own: true, From: "credential", Delegates: []string{hq}, Members: []api.SiteMember{
		{Peer: hq, Name: "hq", Self: true, Delegate: true, Since: since, Report: &api.Report{Mains: true, Wired: true, Willing: true, Free: 25 << 30}},
	}}
	switch id {
	case "":
		s.Members = append(s.Members,
			api.SiteMember{Peer: till, Name: "till-1", Since: since, RTT: api.Seconds(time.Millisecond), Report: &api.Report{Free: 5 << 30}},
			api.SiteMember{Peer: till, Name: "till-2", Since: since, Silent: true})
		s.Underway = []api.Carrying{
			{Content: fakeID, Name: "menu", Version: "2", Planner: hq, Planned: true, Chunks: 40, Here: 12, Members: 2, Carriers: []api.Carrier{{Peer: till, Name: "till-1", Chunks: 3}, {Peer: hq, Name: "hq", Chunks: 1}}},
			{Content: fakeID, Name: "pos", Version: "7.2", Planner: till},
			{Content: fakeID},
		}
	case "paris":
		s = api.SiteDetail{Site: id, Members: s.Members}
	}
	return s, fakeError(id)
}

// Why's times are told without zones: it happened at noon, wherever the test runs.
func (fakeNode) Why(_ context.Context, ref string, chunk int) (api.Why, error) {
	noon := time.Date(2020, 11, 22, 12, 0, 0, 0, time.Local)
	const hq, till = "12D3KooWRYB4BrUopyJXLyhzVVk3yPPvjQKBPkXcubTfcYXuZPJi", "12D3KooWQ5sNXwFQRB8nLzZKZ6sLSKgTv6xHJhUjnTZmCy8re97x"
	w := api.Why{
		Content: fakeID, Name: ref, Version: "7.2", Chunks: 1431, Here: 1012,
		Came: []api.Came{
			{Peer: hq, Name: "hq", Link: "wan", Chunks: 400, First: noon, Last: noon.Add(time.Minute)},
			{Peer: till, Link: "lan", Chunks: 600, First: noon.Add(time.Second), Last: noon.Add(time.Minute)},
		},
		Shunned: []api.Shunned{{Peer: till, Name: "till-9", Reason: "bad-bytes", Until: noon.Add(time.Hour)}},
		Flow:    &api.FlowStatus{Name: ref, Version: "7.2", Phase: api.Waiting, Reason: "carried", Detail: "other members of the site bring what is missing", Done: 412 << 20, Total: 1431 << 20},
		Said: []api.Sentence{
			{Decision: api.Decision{Time: noon, Chunk: -1, Peer: hq, Verb: "join"}, Text: "hq became a source over the WAN"},
			{Decision: api.Decision{Time: noon.Add(time.Second), Chunk: 7, Peer: hq, Verb: "doubt"}, Text: "hq is late with chunk 7", More: 18},
			{Decision: api.Decision{Time: noon.Add(time.Minute), Chunk: -1, Verb: "wait", Reason: "carried"}, Text: "it waits: other members of the site bring what is missing"},
		},
		Forgotten: true,
	}
	if chunk != api.AllChunks {
		w.Chunk = &api.ChunkStory{Chunk: chunk, Here: true, Time: &noon, Text: fmt.Sprintf("chunk %d came from hq over the WAN because no member of the site held it and this node was its carrier", chunk)}
		w.Said, w.Forgotten = []api.Sentence{{Decision: api.Decision{Time: noon, Chunk: chunk, Peer: hq, Verb: "ask"}, Text: fmt.Sprintf("hq was asked for chunk %d over the WAN: nobody else in reach had it to give", chunk)}}, false
	}
	return w, fakeError(ref)
}

func (fakeNode) Invite(_ context.Context, r api.InviteRequest) (api.Invitation, error) {
	return api.Invitation{Token: "p2p1.token", Site: r.Site, Uses: r.Uses, Expires: fakeTime.Add(time.Duration(r.Expires))}, fakeError(r.Site)
}

func (fakeNode) Content(_ context.Context, ref string) (api.ContentDetail, error) {
	return api.ContentDetail{
		Content: api.Content{ID: fakeID, Name: ref, Version: "1", Size: 1 << 20, Files: 1, Chunks: 1},
		Origins: []string{"https://files.example.com/os.iso"},
	}, fakeError(ref)
}

// A fakeNet is a demo's enterprise in which one node may hand out wrong bytes.
type fakeNet struct {
	sites []demoSite
	wan   int64
}

func newFakeNet(wrong string) *fakeNet {
	n := &fakeNet{}
	for _, site := range []string{"branch-a", "branch-b"} {
		s := demoSite{Name: site}
		for i := range demoNodes {
			name := fmt.Sprintf("%s-%d", site, i+1)
			s.Nodes = append(s.Nodes, demoNode{Name: name, Node: copier{net: n, wrong: name == wrong}})
		}
		n.sites = append(n.sites, s)
	}
	return n
}

func (n *fakeNet) Sites() []demoSite { return n.sites }
func (n *fakeNet) WAN() int64        { return n.wan }
func (n *fakeNet) Close() error      { return nil }

// copied is where a copier's publisher has the file that the others copy.
var copied string

type copier struct {
	api.Node
	net   *fakeNet
	wrong bool
}

func (c copier) Add(_ context.Context, r api.AddRequest, _ func(api.Progress)) (api.AddResult, error) {
	copied = r.Paths[0]
	info, err := os.Stat(copied)
	if err != nil {
		return api.AddResult{}, err
	}
	return api.AddResult{Content: fakeID, Name: r.Name, Version: r.Version, Size: info.Size(), Chunks: 1, Signer: "branch-a-1"}, nil
}

func (c copier) Get(_ context.Context, r api.GetRequest, report func(api.FlowStatus)) (api.GetResult, error) {
	b, err := os.ReadFile(copied)
	if err != nil {
		return api.GetResult{}, err
	}
	n := int64(len(b))
	if c.wrong {
		b[0]++
	}
	report(api.FlowStatus{Phase: api.Fetching, Done: n / 2, Total: n})
	if filepath.Base(r.Output) == "late" {
		return api.GetResult{}, content.ErrNotFound
	}
	return api.GetResult{Size: n, From: api.ByLink{WAN: n}, Verified: true}, os.WriteFile(r.Output, b, 0o600)
}

func (fakeNode) SignSites(_ context.Context, r api.SignSitesRequest) (api.SiteMap, error) {
	return api.SiteMap{Envelope: []byte("signed " + r.Text), Networks: 2, Sites: []string{"berlin", "paris"}, Signed: time.Date(2026, 11, 22, 10, 30, 0, 0, time.UTC), Signers: []string{"hq"}, Here: "berlin"}, nil
}

func (fakeNode) CheckSites(_ context.Context, r api.CheckSitesRequest) (api.SiteMap, error) {
	if !strings.HasPrefix(string(r.Envelope), "signed ") {
		return api.SiteMap{}, api.Errorf(api.Usage, "Sign the map on an operator's node: p2pnode site map sign FILE", "nodes of this enterprise wouldn't use this map of sites: not a valid signed envelope")
	}
	return api.SiteMap{Envelope: r.Envelope, Networks: 1, Sites: []string{"paris"}, Signed: time.Date(2026, 11, 22, 10, 30, 0, 0, time.UTC), Signers: []string{"hq"}}, nil
}
