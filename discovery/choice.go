package discovery

import (
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/bandwidth"
)

// A Candidate is a peer that has what is wanted now, with what is known of it.
type Candidate struct {
	Peer peer.ID
	Link bandwidth.Link
	// Rate is the delivery rate seen lately; 0 while unknown.
	Rate bandwidth.Rate
	// Latency is the time from a request to its first byte, smoothed; 0 while
	// unknown.
	Latency time.Duration
	// Pending is the number of bytes asked of it and not yet delivered.
	Pending int64
	// Failures counts requests in a row that ended without what was asked.
	Failures int
	// Bad counts the blocks from it that did not match their hash.
	Bad int
	// Banned until this time; zero if never.
	Banned time.Time
}

// A Reason says why a source was chosen or passed over, or why a flow waits. It
// is typed so that a person can be told later, and counted.
type Reason uint8

const (
	Unknown     Reason = iota
	OnlySource         // nobody else has it
	SameSite           // on our LAN, the others are not
	Faster             // delivers more than the others
	LessLoaded         // has less to deliver to us than the others
	Untried            // nothing is known of it yet: tried to learn
	Hedge              // asked again elsewhere because the first is slow
	Stalled            // no byte in time
	TooSlow            // below the least rate
	Refused            // said no, or lacks it after all
	Left               // connection gone
	BadBytes           // bytes that do not match their hash
	IsBanned           // for bad bytes earlier
	QueueFull          // has as much to deliver as its rate allows
	NoSource           // nobody known has it
	NotAdmitted        // its credential was refused or ran out
	Delivered          // done
	MakesWay           // for what somebody waits for
	IsCarrier          // this node brings it for its site
	Carried            // another member of the site has it, or brings it
	TakenOver          // somebody else brings it now: it was late here
	NoPlanner          // nobody shares the work out: this node brings all itself
	LastBlocks         // has nothing else to do while another sends the rest of a chunk
	reasonCount
)

var reasonText = [reasonCount]string{"unknown", "only-source", "same-site", "faster", "less-loaded", "untried", "hedge", "stalled", "too-slow", "refused", "left", "bad-bytes", "banned", "queue-full", "no-source", "not-admitted", "delivered", "makes-way", "is-carrier", "carried", "taken-over", "no-planner", "last-blocks"}

// String returns the reason as it stands in the API.
func (r Reason) String() string {
	if r < reasonCount {
		return reasonText[r]
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
}

// MarshalText implements encoding.TextMarshaler.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// A Choice is a candidate with why it stands where it stands in a ranking.
type Choice struct {
	Candidate
	Reason Reason
}
