// Package site knows who is at this node's site, and who speaks for it.
//
// A site is a location: endpoints that share a LAN and a WAN link. Which one a node
// is at follows from its configuration, a map of the enterprise's networks, its
// credential or its own subnet, in this order. A node keeps a stream with each
// member it is connected to, on which it says at which site it is and how fit to be
// a delegate, that it is alive, and which good candidates for delegate it is in
// touch with itself. From what members say of themselves everyone at the site
// computes the same delegates, up to three; from what they say of others follows no
// more than a dial. So in a site of 1,000 nodes, each in touch with a few, all
// come to hold connections to the same three; and these tell whoever knows few of
// others, to be its neighbours.
//
//	id.go         at which site a node is
//	map.go        the enterprise's map from networks to sites
//	member.go     what a member says of itself
//	delegates.go  who are the delegates, and who of them plans a content
//	wire.go       the frames of the stream
//	core.go       what is known of whom, and whom to tell
//	seek.go       whom to dial
//	line.go       the stream with one peer
//	service.go    joins the core to the host
//
// delegates.go, core.go and seek.go are pure: they take what is known plus the time.
//
// Two halves of a site that don't see each other are two sites with one name and
// delegates of their own. The delegates go on to dial whom they lost, and at the
// first connection both halves hear of each other's delegates and choose three of
// them: those that have been it for longest.
//
// A member may say that it is at any site: what it gains is to be taken for a
// neighbour, with whom transfers don't count as crossing the WAN, and what it is
// given is verified like everything else. One that was admitted for this site may claim
// to be the best of all candidates, and is a delegate then, as it might be by its
// merits; a guest is none as long as there are others. Nobody can speak for
// others, nor flood: who says too much is read more slowly, who breaks the protocol
// has no stream for a minute, dials that others bring about are one a second, and
// every table has its limit.
//
// A delegate whose connections close is lost at once. One that a kill took, and to which
// some have connections that nobody closes (QUIC), is asked for a sign of life as soon as
// another member names it no more, and by who waits for it. A node that just came goes by
// no planner until it has met three delegates that sit, or for a second.
//
// What a delegate does for its site is left to others, and so is what a transfer
// within a site or between sites may cost.
package site
