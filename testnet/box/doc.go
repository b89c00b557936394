// Package box has the words of the enterprise in a box: what stands in it, and
// what can be done to it while it runs.
//
// A Plan says how many branches there are, how many endpoints in each, and what
// their links to the rest of the world are like:
//
//	publisher  operator          branch-a-1  branch-a-2 ...     branch-b-1 ...
//	      \    /                          \  /                       \
//	    router of hq                 router of branch-a          router of branch-b
//	             \______________ the WAN __/__________________________/
//
// Each site is one subnet and one broadcast domain. Its router emulates the link
// between it and the WAN (testnet/wan), one queue for each direction, and counts
// what crosses it by class. The WAN itself is as fast as the machine. Nothing in
// the box reaches anything outside of it.
//
// An Enterprise is a Plan that runs. There are two kinds, which pass the same
// suite (boxtest): testnet/box/spaces makes it of network namespaces, testnet/compose of
// containers. Who wants something to happen in it (testnet/play, testnet/chaos,
// testnet/bench) doesn't know which.
package box
