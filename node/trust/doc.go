// Package trust decides who belongs to the enterprise, and what of that a node
// may believe at which time.
//
// An enterprise is everyone with a credential under one trust root. A credential
// is an X.509 certificate (profile.go) for the node's libp2p host key, signed by
// one of two issuers: that for members, which is online and so the likeliest to
// be stolen, can't make publishers, operators or issuers, as the name constraint
// in its own certificate keeps it to another host in the URI.
//
// How a connection is admitted (admit.go, tcp.go, quic.go): the transport's TLS
// proves both host keys; inside it, before the swarm sees the connection, the
// dialer shows its chain and newest beacon, then the listener its own, and each
// holds the other's against root, time, revocation lists and the key of the
// channel. What is not admitted is closed there: no muxer, no stream, no
// protocol, no address is ever shared with it. Those who come to join with a
// token, or to renew a credential that ran out, are served in the same place
// (enrol.go) and never get further either.
//
// What is remembered (memory.go, ledger.go): the newest signed time, the newest
// revocation lists, the newest release of each name, the keys, and what an issuer
// did. Each is on disk twice before it is used and never goes back. One copy mends
// the other; damage to both stops the node instead of making it forget.
//
// The time (clock.go): never below the highest that an issuer signed, so a clock
// that is behind is put right by the first member it meets; a clock that is ahead
// is only believed less, until an issuer signs the time for this node's nonce.
//
// What members tell each other (heads.go): which lists and which beacon is
// newest, after each dial and on every change. So a revocation needs no server:
// it takes effect wherever it arrives, and connections of the revoked end.
//
// The package leaves to others what roles are for: which statements an operator
// may make, and what becomes of a release.
package trust
