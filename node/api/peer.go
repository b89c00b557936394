package api

import (
	"time"

	"github.com/p2pnode/p2pnode/bandwidth"
)

// A Peer is another node that this one is connected to.
type Peer struct {
	Peer      string    `json:"peer"`
	Name      string    `json:"name,omitempty"`
	Site      string    `json:"site"`
	Link      string    `json:"link"`      // lan, wan
	Address   string    `json:"address"`   // multiaddr
	Transport string    `json:"transport"` // tcp, quic
	Inbound   bool      `json:"inbound"`
	Since     time.Time `json:"since"`
	RTT       Seconds   `json:"rtt_seconds,omitempty"` // 0 while unknown
	Received  int64     `json:"received_bytes"`        // verified content
	Sent      int64     `json:"sent_bytes"`
	Expires   time.Time `json:"expires"` // of its credential
}

// A Refusal is a connection that was not admitted.
type Refusal struct {
	Time    time.Time `json:"time"`
	Address string    `json:"address"`
	Peer    string    `json:"peer,omitempty"` // if its key was known by then
	Inbound bool      `json:"inbound"`
	Reason  string    `json:"reason"`
}

// A Pong is an answer to a ping.
type Pong struct {
	Peer      string  `json:"peer"`
	Name      string  `json:"name,omitempty"`
	Site      string  `json:"site"`
	Link      string  `json:"link"`
	Transport string  `json:"transport"`
	Direct    bool    `json:"direct"` // not over a relay
	Address   string  `json:"address"`
	RTT       Seconds `json:"rtt_seconds"`
}

// A Decision is one choice of a source, or of no source, with why.
type Decision struct {
	Time    time.Time `json:"time"`
	Content string    `json:"content"`
	Chunk   int       `json:"chunk"` // -1 if it concerns the whole content
	Peer    string    `json:"peer,omitempty"`
	Verb    string    `json:"verb"`
	Reason  string    `json:"reason"`
	Link    string    `json:"link,omitempty"` // to the peer: lan, wan, origin
}

// An InviteRequest asks for a token that lets machines join the enterprise.
type InviteRequest struct {
	Site string `json:"site"`
	// Name is for the one machine that the token is for. Empty: a machine says
	// its own.
	Name    string  `json:"name,omitempty"`
	Uses    int     `json:"uses,omitempty"`            // how often it can be used; 0: once
	Expires Seconds `json:"expires_seconds,omitempty"` // from now; 0: 24 h
}

// An Invitation holds the token. The token is a secret: it is told once and kept
// only as a hash.
type Invitation struct {
	Token      string       `json:"token"`
	Enterprise string       `json:"enterprise"`
	Site       string       `json:"site"`
	Name       string       `json:"name,omitempty"`
	Uses       int          `json:"uses"`
	Expires    time.Time    `json:"expires"`
	Bootstrap  Many[string] `json:"bootstrap"` // addresses of this node that it holds
}

// A Member has, or had, a credential of the enterprise.
type Member struct {
	Peer      string       `json:"peer"`
	Name      string       `json:"name,omitempty"`
	Site      string       `json:"site"`
	Roles     Many[string] `json:"roles"`
	Enrolled  time.Time    `json:"enrolled"`
	Expires   time.Time    `json:"expires"` // of its newest credential
	Connected bool         `json:"connected"`
	Revoked   *time.Time   `json:"revoked,omitempty"` // nil while it is a member
	Reason    string       `json:"reason,omitempty"`  // of the revocation
}

// A RevokeRequest ends a membership.
type RevokeRequest struct {
	Reason string `json:"reason,omitempty"`
}

// MeanRate returns bytes over time as a rate; 0 if no time passed.
func MeanRate(bytes int64, elapsed time.Duration) bandwidth.Rate {
	if elapsed <= 0 {
		return 0
	}
	return bandwidth.Rate(float64(bytes) * 8 / elapsed.Seconds())
}
