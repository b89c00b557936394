package node

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/discovery"
	"github.com/p2pnode/p2pnode/node/flow"
)

// Sentences
//
// What a flow decided is told to people in sentences: one for each verb, with a clause
// for each reason behind it. A new verb or reason needs a line in one of these tables,
// and a test says so. In a line, {chunk} is the chunk, {peer} the peer, {over} the link
// to it and {why} the clause of the reason.

var verbSentences = map[flow.Verb]string{
	flow.Join:   "{peer} became a source{over}",
	flow.Leave:  "{peer} is no source any more: {why}",
	flow.Ask:    "{peer} was asked for {chunk}{over}: {why}",
	flow.Got:    "{chunk} came from {peer}{over}, and its bytes are right",
	flow.Doubt:  "{peer} is late with {chunk}: {why}; somebody else may be asked for it",
	flow.Cancel: "{peer} was told not to send {chunk}: {why}",
	flow.Blame:  "{peer} gave something bad of {chunk}: {why}",
	flow.Rest:   "{peer} is asked nothing for a while, after {chunk}: {why}",
	flow.Ban:    "{peer} is asked nothing for long: {why}",
	flow.Wait:   "it waits: {why}",
	flow.Finish: "all of it is here",
	flow.Carry:  "this node is to bring {chunk} from another site: {why}",
	flow.Yield:  "this node doesn't bring {chunk} any more: {why}",
	flow.Alone:  "this node brings all it lacks itself: {why}",
}

var reasonClauses = map[discovery.Reason]string{
	discovery.Unknown:     "the reason wasn't noted",
	discovery.OnlySource:  "nobody else in reach had it to give",
	discovery.SameSite:    "it is at this site, the others are not",
	discovery.Faster:      "it delivers more than the others",
	discovery.LessLoaded:  "it had less to deliver to this node than the others",
	discovery.Untried:     "nothing was known of it yet, so it was tried",
	discovery.Hedge:       "another source was slow with it",
	discovery.Stalled:     "no byte came from it in time",
	discovery.TooSlow:     "it is slower than others would be",
	discovery.Refused:     "it refused, or doesn't have it after all",
	discovery.Left:        "its connection is gone",
	discovery.BadBytes:    "the bytes don't match their hash",
	discovery.IsBanned:    "whoever has it gave bytes that don't match their hash",
	discovery.QueueFull:   "it has as much to deliver as it can",
	discovery.NoSource:    "nobody in reach has what is missing",
	discovery.NotAdmitted: "its credential was refused or ran out",
	discovery.Delivered:   "it is here already",
	discovery.MakesWay:    "it made way for what somebody waits for",
	discovery.IsCarrier:   "no member of the site had it, and this node is its carrier",
	discovery.Carried:     "other members of the site bring what is missing",
	discovery.TakenOver:   "it was late here, so another member of the site took it over",
	discovery.NoPlanner:   "no planner of the site is in reach to share the work out",
	discovery.LastBlocks:  "it had nothing else to do, so it sends the last blocks and another source the rest",
}

// waitClauses are those that have another sense where a flow waits: they are about
// everybody who has what is missing.
var waitClauses = map[discovery.Reason]string{
	discovery.Stalled: "nobody who was asked sent a byte in time",
	discovery.Refused: "whoever has what is missing is not to be asked just now",
}

// waitText says why a flow waits.
func waitText(why discovery.Reason) string { return cmp.Or(waitClauses[why], reasonClauses[why]) }

// tell says a decision in a sentence; call names a peer.
func tell(d flow.Decision, call func(peer.ID) string) string {
	text, ok := verbSentences[d.Verb]
	if !ok {
		text = "{peer}: " + d.Verb.String() + " {chunk}, {why}" // of a version that forgot it
	}
	why, ok := reasonClauses[d.Reason]
	if !ok {
		why = d.Reason.String()
	}
	if d.Verb == flow.Wait {
		why = cmp.Or(waitClauses[d.Reason], why)
	}
	chunk, who := "something", "somebody"
	if d.Chunk != flow.NoChunk {
		chunk = "chunk " + strconv.Itoa(d.Chunk)
	}
	if d.Peer != "" {
		who = call(d.Peer)
	}
	return strings.NewReplacer("{chunk}", chunk, "{peer}", who, "{over}", overText(d.Link), "{why}", why).Replace(text)
}

// overText says over what a source was reached.
func overText(l bandwidth.Link) string {
	switch l {
	case bandwidth.LAN:
		return " over the LAN"
	case bandwidth.WAN:
		return " over the WAN"
	case bandwidth.Origin:
		return " by HTTP"
	}
	return ""
}

// recount says where a chunk came from and why, in a sentence without its time.
func recount(chunk int, a flow.Arrival, call func(peer.ID) string) string {
	who := "a source that was forgotten"
	if a.Peer != "" {
		who = call(a.Peer)
	}
	text := "chunk " + strconv.Itoa(chunk) + " came from " + who + overText(a.Link)
	near := a.Link == bandwidth.LAN
	switch {
	case near && a.Carried && !a.TakenOver:
		text += ", before this node, its carrier, had brought it itself"
	case near && a.TakenOver:
		text += ", after another member of the site took over from this node, which was late with it"
	case near:
		text += ", where a member of the site had it"
	case a.Alone:
		text += " because " + reasonClauses[discovery.NoPlanner] + ", so this node brought it itself"
	case a.Carried:
		text += " because no member of the site held it and this node was its carrier"
	case a.Why != discovery.Unknown:
		text += ": " + reasonClauses[a.Why]
	}
	if a.Late {
		text += "; a source was late with it before"
	}
	return text
}
