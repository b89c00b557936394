package api

import (
	"encoding/json"
	"fmt"
	"math"
	"time"
)

// Seconds is a duration that stands on the wire as a decimal fraction of
// seconds.
type Seconds time.Duration

// maxSeconds is the longest time a time.Duration can hold, 292 years.
const maxSeconds = float64(math.MaxInt64) / float64(time.Second)

// MarshalJSON implements json.Marshaler; it keeps microseconds.
func (s Seconds) MarshalJSON() ([]byte, error) {
	return json.Marshal(math.Round(time.Duration(s).Seconds()*1e6) / 1e6)
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Seconds) UnmarshalJSON(b []byte) error {
	var f float64
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	if math.Abs(f) >= maxSeconds {
		return fmt.Errorf("%g seconds are more than a duration can hold", f)
	}
	*s = Seconds(math.Round(f * float64(time.Second)))
	return nil
}

// A Status tells how a node stands.
type Status struct {
	Version    string       `json:"version"`
	Peer       string       `json:"peer"` // this node's peer id
	Name       string       `json:"name,omitempty"`
	Site       string       `json:"site"`
	Enterprise string       `json:"enterprise"` // hash of the trust root, shortened
	Roles      Many[string] `json:"roles"`
	Data       string       `json:"data"`              // the data folder
	Listen     Many[string] `json:"listen"`            // multiaddrs
	Gateway    string       `json:"gateway,omitempty"` // its address, if it listens
	Ready      bool         `json:"ready"`
	Started    time.Time    `json:"started"`
	Store      Store        `json:"store"`
	Peers      ByLink       `json:"peers"` // connected now, by link class
	// Flows are the contents on their way here now, each once.
	Flows Many[FlowStatus] `json:"flows"`
	Moved Moved            `json:"moved"` // since it started
	// Looking says how peers are looked for: mdns, dht, bootstrap.
	Looking  Many[string]  `json:"looking"`
	Process  Process       `json:"process"`
	Warnings Many[Warning] `json:"warnings"`
}

// A Process tells how the node's process stands among others on the machine.
type Process struct {
	// Priority is low if the processor and the disk go to others first, normal if
	// not, mixed if only in part; empty where it can't be read.
	Priority    string `json:"priority,omitempty"`
	HashCores   int    `json:"hash_cores"`                   // that hashing may use at once
	Memory      int64  `json:"memory_bytes"`                 // that the program has from the system, mapped files apart
	MemoryLimit int64  `json:"memory_limit_bytes,omitempty"` // that it tries to keep to; none if left out
}

// A Store tells what a node holds on disk.
type Store struct {
	Contents int   `json:"contents"`
	Used     int64 `json:"used_bytes"`
	Free     int64 `json:"free_bytes"` // of the file system, for this user
	Quota    int64 `json:"quota_bytes"`
	Pinned   int64 `json:"pinned_bytes"`
	Damaged  int   `json:"damaged_contents"` // went bad on disk in part, and are yet to be fetched again
	// Scrubbed is since when everything held was read again.
	Scrubbed time.Time `json:"scrubbed"`
}

// Moved tells what content a node moved. A byte counts once, where it was verified
// and stored.
type Moved struct {
	From   ByLink `json:"from_bytes"`  // fetched: of the own site, of others, of HTTP servers
	Local  int64  `json:"local_bytes"` // not fetched, as other contents or seeds on its disk had it
	Wasted Wasted `json:"wasted"`
	Sent   int64  `json:"sent_bytes"` // to peers
}

// ByLink is a number for each link class.
type ByLink struct {
	LAN    int64 `json:"lan"`
	WAN    int64 `json:"wan"`
	Origin int64 `json:"origin"`
}

// Total returns the sum over all links.
func (b ByLink) Total() int64 { return b.LAN + b.WAN + b.Origin }

// A Warning is something an operator should know, with what to do about it.
type Warning struct {
	Code    string `json:"code"` // no-peers, clock-suspect, low-space, ...
	Message string `json:"message"`
	Next    string `json:"next,omitempty"`
}

// Readiness tells which parts of a node can do their work.
type Readiness struct {
	Ready bool       `json:"ready"`
	Parts Many[Part] `json:"parts"`
}

// A Part of a node: store, dht, mdns, exchange, ...
type Part struct {
	Name    string `json:"name"`
	Ready   bool   `json:"ready"`
	Message string `json:"message,omitempty"`
}

// A State is the outcome of a check.
type State string

// The outcomes of a check.
const (
	OK   State = "ok"
	Warn State = "warn" // works, but not as well as it could
	Fail State = "fail" // something can't work until it is mended
)

// A Check is one thing that doctor looked at.
type Check struct {
	Name    string `json:"name"`
	State   State  `json:"state"`
	Message string `json:"message"`
	Next    string `json:"next,omitempty"` // how to mend it
}
