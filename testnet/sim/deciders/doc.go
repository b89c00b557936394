// Package deciders shows in minutes what the product's decisions cost an
// enterprise of a thousand sites: how long until all have a content, how often it
// crosses each site's link, how much the publisher sends.
//
// It plays the world to a Decider in virtual time: who wishes for the content and
// when, who comes and goes, which links carry how much (Plan). The Decider says
// who asks whom for what. Nothing else decides: no goroutine runs, no clock is
// read, every random choice comes from the plan's seed, so that the same plan
// gives the same result to the last byte.
//
// # What is real and what is a model
//
// Deciders are real code: Today runs node/flow's core with discovery/rank for
// every node, all 100,000 of them. What lies between the nodes is a model:
//
//   - A request takes a round trip to its source; what the source sends, the time
//     that the links need. All blocks have one size, all chunks as many blocks.
//   - A link serves one block after the other, in turn among the connections that
//     have one to send (link.go). A WAN transfer crosses the uplink of one site and
//     the downlink of the other, a LAN transfer the port of one node and that of
//     the other. Ports are taken to be faster than WAN links.
//   - A node sends to sixteen others at a time, to each a chunk before the next
//     (upload.go).
//   - Maps of what a node has are told exchange.Spread after a change, and half a
//     round trip later far away. They, requests and block lists take no bytes.
//   - Who comes or goes is known to all concerned at once, with no dial and no wait
//     until it is missed: what churn costs is more.
//   - What comes behind a cancel has used the links and is thrown away, as nodes do.
//   - Hashing and disks take no time, and no block is ever wrong.
//   - In sites that aren't among Plan.Full, a node sees its neighbours as one
//     source, Neighbours, that has whatever one of them has. Who of them sends is
//     the less busy of two that have it; it goes through that node's port. With
//     each neighbour a source of its own, every change is told up to 56 times, and
//     weighed as often. README.md shows what the difference is.
//
// # What is left to others
//
// That real nodes do what their deciders say is shown in the sibling packages:
// whole hosts in virtual time (testnet/sim), processes (testnet/bench).
package deciders
