// Package sim runs a whole enterprise in one process and in virtual time: 1,000
// real nodes on 50 sites live through minutes of an office in less than one.
//
// What is real: everything that ships. A Node is a node.Node with its folder, its
// credential (each joined with a token over the network), its QUIC, its exchange
// and its flows; delegates serve the DHT. What is not: the network, the clock, and
// multicast. A Net carries the packets in memory: a site's access link is a
// testnet/wan Link in each direction, between sites lies a distance, inside of one
// a fast LAN. Links are told apart by site and direction, packets by what they look
// like from outside. The clock is that of a testing/synctest bubble, in which New
// must be called: it stands while anything computes, so a busy machine makes a run
// longer and changes nothing in it. And instead of hearing each other on the LAN,
// the nodes of a site are told where their delegate is.
//
// The seed decides distances, losses and what a test draws. Which of two things
// that happen at one moment comes first is the scheduler's, and keys are random: a
// seed gives the same story, not the same packets.
//
// A Journal has what all nodes logged, with the virtual time. It is how a test
// knows when something came to a node without asking it over and over.
//
// Only QUIC runs here, so nothing is said of TCP's throughput, and little of
// QUIC's: that is testnet/scenario's and testnet/bench's. What is decided without
// a network is simulated for larger enterprises by testnet/sim/deciders.
package sim
