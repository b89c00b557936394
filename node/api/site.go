package api

import "time"

// A Site is a location of the enterprise, as this node knows it.
type Site struct {
	Site string `json:"site"`
	Own  bool   `json:"own"`  // this node's
	Link string `json:"link"` // lan for the own site, wan for others
	// Nodes is how many nodes of it are connected now, this one among them if it is
	// its own. There may be more that this node isn't connected to.
	Nodes int          `json:"nodes"`
	Names Many[string] `json:"names"` // of the first ShowNames of these; a peer id where there is no name
}

// ShowNames is the most names that a Site lists.
const ShowNames = 16

// A SiteDetail is a site with who is there. Of another site than its own a node knows
// whom it is connected to, and nothing of what stands behind Members.
type SiteDetail struct {
	Site string `json:"site"`
	Own  bool   `json:"own"`
	// From is what says that this node is at its site: config, map (the enterprise's
	// map of networks), credential, or subnet if none of these does.
	From    string           `json:"from,omitempty"`
	Members Many[SiteMember] `json:"members"` // connected now, and this node
	// Delegates speak for the own site to other sites: peer ids, the best first.
	Delegates Many[string] `json:"delegates"`
	// Underway are the contents that members of the own site fetch now, as far as
	// this node knows: it fetches them too, or plans them for the others.
	Underway Many[Carrying] `json:"underway"`
}

// A SignSitesRequest has a map of sites: a line for each network, "10.1.0.0/16 berlin".
type SignSitesRequest struct {
	Text string `json:"text"`
}

// A CheckSitesRequest has a map of sites in its signed envelope.
type CheckSitesRequest struct {
	Envelope []byte `json:"envelope"`
}

// A SiteMap is a map from networks to sites that an operator signed.
type SiteMap struct {
	Envelope []byte       `json:"envelope"` // the bytes of its file
	Networks int          `json:"networks"` // that it has
	Sites    Many[string] `json:"sites"`    // sorted
	Signed   time.Time    `json:"signed"`
	Signers  Many[string] `json:"signers"` // names
	// Here is the site of the node that was asked, by its networks; empty if none of
	// them is in the map.
	Here string `json:"here,omitempty"`
}

// A SiteMember is a node at a site.
type SiteMember struct {
	Peer     string `json:"peer"`
	Name     string `json:"name,omitempty"`
	Self     bool   `json:"self,omitempty"` // this node
	Delegate bool   `json:"delegate,omitempty"`
	// Since is since when it is connected; of this node, since when it runs.
	Since time.Time `json:"since"`
	RTT   Seconds   `json:"rtt_seconds,omitempty"` // 0 while unknown
	// Report is what it says of itself; null as long as it said nothing, and of
	// members of other sites.
	Report *Report `json:"report"`
	// Silent is whether a sign of life is overdue: it is out of reach, though its
	// connection isn't closed yet.
	Silent bool `json:"silent,omitempty"`
}

// A Report is what a member says of itself to its site.
type Report struct {
	Started time.Time `json:"started"`
	Mains   bool      `json:"mains"` // it isn't on battery
	Wired   bool      `json:"wired"`
	Willing bool      `json:"willing"`    // to be a delegate
	Free    int64     `json:"free_bytes"` // that it may still store
}

// A Carrying tells of a content on its way to a site, whose members share out what
// crosses the WAN.
type Carrying struct {
	Content string `json:"content"`
	Name    string `json:"name,omitempty"`
	Version string `json:"version,omitempty"`
	// Planner is the delegate that shares it out; empty if none is in reach: then each
	// member brings what it lacks itself. It alone knows what follows: of a content
	// that another node plans it is 0 and empty.
	Planner  string        `json:"planner,omitempty"`
	Planned  bool          `json:"planned"`     // by this node
	Chunks   int           `json:"chunks"`      // of the content
	Here     int           `json:"here_chunks"` // that some member has
	Members  int           `json:"members"`     // that fetch it
	Carriers Many[Carrier] `json:"carriers"`
}

// A Carrier is a member that brings chunks of a content over the WAN for its site.
type Carrier struct {
	Peer   string `json:"peer"`
	Name   string `json:"name,omitempty"`
	Chunks int    `json:"chunks"` // that it is to bring now
}
