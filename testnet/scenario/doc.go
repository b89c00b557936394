// Package scenario puts real nodes, as processes of the real binary, into real
// networks, makes things happen to them, and looks at what came of it.
//
// A Lab has the binary, a folder, and the nodes that were started from it; Close
// ends them all, by their process ids. A Node is driven as an operator drives
// it: by the verbs of the command line and their JSON. On Linux a Net makes
// network namespaces with LANs and routers between them (root needed), and a
// node may be started inside one.
//
// The scenarios themselves are this package's tests. Those that need namespaces
// have the build tag netns:
//
//	go test ./testnet/scenario                  loopback, small
//	P2PNODE_SCENARIO=full go test ./testnet/scenario   as large as the goals ask
//	go test -tags netns ./testnet/scenario      with namespaces, as root
//
// What is measured rather than held to a level is left to testnet/bench.
package scenario
