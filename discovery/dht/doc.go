// Package dht tells the other nodes of the enterprise what is held here, and
// asks them who holds something, through a Kademlia DHT of the enterprise's own.
//
// Announce writes keys to a keystore on disk and returns. From there kad-dht's
// sweeping provider groups them by region of the keyspace, finds the servers of
// a region once, and sends each of them one record per key; it does so again
// every two hours, until Withdraw. Servers forget a record after three and a
// half hours, which bridges one missed round. There is no message that takes a
// record back: one that nobody renews runs out.
//
// What most nodes hold would have most nodes as providers, and melt the servers
// that keep its records. So Keys derives further keys of a content, for each site
// and region, and says which node announces under which. Of 100,000 nodes at 1,000
// sites that all hold one content, with estimates of the number of nodes that are
// off by up to a fifth (TestNoKeyHasManyProviders):
//
//	key      announced by                                  providers
//	plain    publishers, one delegate of a site, others    1,986 of 984 sites
//	         by lot: about 2,000, however many nodes
//	region   one delegate of each of its sites             100
//	site     every holder there                            100
//
// Of a content that few hold the lot may take nobody. So whoever finds fewer than
// eight others under a plain key tells it too, until there are 64.
//
// Find walks towards the servers nearest to a key and yields whoever they name.
// What it yields is a hint: a record is neither signed nor checked, and its
// addresses may be old.
//
// Servers answer and store records, clients only ask and announce. With no
// server in reach nothing is lost: keys are kept, and told as soon as one is.
//
// Left to others: who may speak to us at all (node/trust, below every
// connection), whether a holder really has what was asked (node/exchange), and
// which of them to ask (discovery/rank).
package dht
