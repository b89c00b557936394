// Package wan emulates the link between two sites: what a transfer meets on its
// way there, from a leased line to a congested radio link.
//
// Each direction is a Link of its own, with Settings of its own. A packet that is
// offered to it goes through, in this order:
//
//  1. The queue. It holds Buffer (time at the link's rate, or bytes) and what finds
//     no room is dropped, the newest first: a tail-drop FIFO, which is what most
//     branch routers and modems have, and what makes bufferbloat when it is deep.
//     What is being sent counts until its last bit has left, so nothing waits longer
//     than Buffer. There is no active queue management.
//  2. The rate. One packet at a time leaves the queue, at Rate on the wire. There
//     is no burst: at 20 Mbit/s 1500 bytes take 600 us whatever the link did before.
//     The size on the wire is that of the IP packet plus Overhead, by default
//     nothing, and rates, counts and buffers in bytes all mean it. So what a program
//     measures is smaller by its own headers: TCP with timestamps carries 1448 in
//     1500 bytes, UDP in IPv4 all but 28.
//  3. Outages. What leaves the queue in an outage is lost. The queue goes on
//     draining, as a modem sends into a dead line; what is on the line arrives.
//  4. Loss, evenly or in bursts: see Loss. It comes behind the rate, so that what
//     is lost used the link, as with a radio link.
//  5. Delay and jitter, and the packet is there. Jitter is even between 0 and
//     Jitter, on top of Delay, and keeps the order unless Reorder is set.
//
// Link is the model: time goes in, fates come out; it has no clock and moves no
// bytes. The same seed and packets have the same fates. Classes say which packets
// are counted together.
//
// An Emulator is a pair of Links between two TUN devices, with one thread each. It
// runs between two network namespaces, or in a router: see End. Settings change
// and counts are read while packets are under way. A packet that goes out late
// because the machine is busy is counted, and delays no other: times follow from
// the model, not from when a thread woke. Needs Linux and root.
//
// Which nodes are behind which link, and what is to come of it, is left to
// testnet/scenario.
package wan
