// Package node is the program: one p2pnode on one endpoint.
//
// Run is its cast list. A node has an identity in its enterprise (node/trust), a
// libp2p host that admits members only (host.go), ways to learn of other
// members (discovery/dht, discovery/mdns, peers.go) and of its site (discovery/site), a store of what it holds
// (content/store), the chunk protocol that serves it and fetches more
// (node/exchange), and a local API through which people and scripts speak to it
// (node/api).
//
// How content moves through it:
//
//	publish.go  files -> blocks, chunks, manifest -> store; release signed, told to the DHT
//	serve.go    what the store holds, as the exchange shows it to peers
//	resolve.go  a name -> the newest release that a publisher signed
//	fetch.go    a content id -> sources -> manifest -> a flow (node/flow) -> the user's copy
//
// The package joins workers and decides little: which bytes to ask of whom is
// node/flow's, which source is best discovery/rank's, who is let in node/trust's.
// Workers don't know of each other; what one needs of another is adapted here.
package node
