// Package mdns finds the enterprise's other nodes on the same subnet, by
// multicast DNS (RFC 6762) and DNS service discovery (RFC 6763), without anyone
// having been told an address.
//
// On each interface a Service says who it is when it starts, asks who else is
// there, and answers others who ask. What it says is a random name, and under it
// the addresses that this node has on this interface, in the TXT records that
// libp2p's mDNS uses too ("dnsaddr=/ip4/.../tcp/.../p2p/..."). What it hears it
// hands to a callback, which may dial.
//
// Everything here can be read and forged by anyone on the subnet. So nothing is
// said that names a person, a host or a site; what is heard leads to no more
// than a dial, to an address of the same subnet, at a bounded rate, and
// admission (node/trust) decides about whoever answers it; and every table has
// its limit, so that a flood of forgeries costs a bounded amount of memory and
// work, and at worst hides neighbours, who can be found otherwise too.
//
// libp2p's own service has every node answer every query by multicast, which
// grows with the square of the nodes (225 Mbit/s at 1,000 of them), keeps what
// it hears without limit, and tells all addresses on all interfaces. Here all nodes
// of a subnet together say at most 20 things a second, however many they are and
// however they start, and about one in the long run; half of them know eight others
// a second or two after they started. README.md has how, and the figures.
//
//	packet.go   what is said and heard on the wire
//	talk.go     when to ask, when to answer, whom one knows (pure)
//	link.go     one interface: its sockets and its talk
//	service.go  all interfaces, and the callback
package mdns
