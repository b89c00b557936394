package node

import (
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/discovery"
	"github.com/p2pnode/p2pnode/node/flow"
)

func byOwnName(p peer.ID) string { return string(p) }

// Whatever a flow may decide, and for whatever reason, there are words for it.
func TestEveryVerbAndReasonHasWords(t *testing.T) {
	verbs, reasons := 0, 0
	for v := flow.Verb(1); !strings.HasPrefix(v.String(), "verb("); v++ {
		if verbs++; verbSentences[v] == "" {
			t.Errorf("verb %s has no sentence: write one in sentence.go", v)
		}
	}
	for r := discovery.Reason(0); !strings.HasPrefix(r.String(), "reason("); r++ {
		if reasons++; reasonClauses[r] == "" {
			t.Errorf("reason %s has no clause: write one in sentence.go", r)
		}
	}
	if verbs != len(verbSentences) || reasons != len(reasonClauses) || verbs < 14 || reasons < 22 {
		t.Errorf("words for %d of %d verbs, %d of %d reasons", len(verbSentences), verbs, len(reasonClauses), reasons)
	}
	for v, text := range verbSentences {
		for r := range reasonClauses {
			got := tell(flow.Decision{Verb: v, Reason: r, Chunk: 12, Peer: "till-3", Link: bandwidth.WAN}, byOwnName)
			if strings.ContainsAny(got, "{}") || strings.Contains(text, "{chunk}") != strings.Contains(got, "chunk 12") || strings.Contains(text, "{peer}") != strings.Contains(got, "till-3") {
				t.Errorf("%s, %s: %q", v, r, got)
			}
		}
	}
}

func TestDecisionsAreToldInSentences(t *testing.T) {
	for want, d := range map[string]flow.Decision{
		"till-3 became a source over the LAN":                                                                          {Verb: flow.Join, Chunk: flow.NoChunk, Peer: "till-3", Link: bandwidth.LAN},
		"till-3 is no source any more: its connection is gone":                                                         {Verb: flow.Leave, Reason: discovery.Left, Chunk: flow.NoChunk, Peer: "till-3"},
		"hq was asked for chunk 12 over the WAN: nobody else in reach had it to give":                                  {Verb: flow.Ask, Reason: discovery.OnlySource, Chunk: 12, Peer: "hq", Link: bandwidth.WAN},
		"chunk 0 came from origin:files.example.com:443 by HTTP, and its bytes are right":                              {Verb: flow.Got, Reason: discovery.Delivered, Peer: "origin:files.example.com:443", Link: bandwidth.Origin},
		"hq is late with chunk 12: no byte came from it in time; somebody else may be asked for it":                    {Verb: flow.Doubt, Reason: discovery.Stalled, Chunk: 12, Peer: "hq"},
		"hq is asked nothing for a while, after chunk 12: it has as much to deliver as it can":                         {Verb: flow.Rest, Reason: discovery.QueueFull, Chunk: 12, Peer: "hq"},
		"till-3 is asked nothing for long: the bytes don't match their hash":                                           {Verb: flow.Ban, Reason: discovery.BadBytes, Chunk: flow.NoChunk, Peer: "till-3"},
		"it waits: other members of the site bring what is missing":                                                    {Verb: flow.Wait, Reason: discovery.Carried, Chunk: flow.NoChunk},
		"it waits: whoever has what is missing is not to be asked just now":                                            {Verb: flow.Wait, Reason: discovery.Refused, Chunk: flow.NoChunk},
		"this node is to bring chunk 12 from another site: no member of the site had it, and this node is its carrier": {Verb: flow.Carry, Reason: discovery.IsCarrier, Chunk: 12},
		"this node doesn't bring chunk 12 any more: it was late here, so another member of the site took it over":      {Verb: flow.Yield, Reason: discovery.TakenOver, Chunk: 12},
		"this node brings all it lacks itself: no planner of the site is in reach to share the work out":               {Verb: flow.Alone, Reason: discovery.NoPlanner, Chunk: flow.NoChunk},
		"somebody: verb(200) something, reason(200)":                                                                   {Verb: 200, Reason: 200, Chunk: flow.NoChunk},
	} {
		got := tell(d, byOwnName)
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestArrivalIsToldInASentence(t *testing.T) {
	for want, a := range map[string]flow.Arrival{
		"chunk 12 came from hq over the WAN because no member of the site held it and this node was its carrier":                              {Peer: "hq", Link: bandwidth.WAN, Why: discovery.Untried, Carried: true},
		"chunk 12 came from hq over the WAN because no planner of the site is in reach to share the work out, so this node brought it itself": {Peer: "hq", Link: bandwidth.WAN, Alone: true},
		"chunk 12 came from till-2 over the LAN, where a member of the site had it":                                                           {Peer: "till-2", Link: bandwidth.LAN, Why: discovery.Faster},
		"chunk 12 came from till-2 over the LAN, after another member of the site took over from this node, which was late with it":           {Peer: "till-2", Link: bandwidth.LAN, Carried: true, TakenOver: true},
		"chunk 12 came from till-2 over the LAN, before this node, its carrier, had brought it itself; a source was late with it before":      {Peer: "till-2", Link: bandwidth.LAN, Carried: true, Late: true},
		"chunk 12 came from origin:files.example.com:443 by HTTP: nobody else in reach had it to give":                                        {Peer: "origin:files.example.com:443", Link: bandwidth.Origin, Why: discovery.OnlySource},
		"chunk 12 came from a source that was forgotten":                                                                                      {Time: time.Now()},
		"chunk 12 came from hq over the WAN: another source was slow with it; a source was late with it before":                               {Peer: "hq", Link: bandwidth.WAN, Why: discovery.Hedge, Late: true},
	} {
		if got := recount(12, a, byOwnName); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
