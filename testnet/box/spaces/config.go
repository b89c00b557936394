package spaces

// A Config says of what an Enterprise is made.
type Config struct {
	Binary string // p2pnode
	Dir    string // what lies here is made by New or left alone; short, for the sockets' sake

	// Program is what a node's Tool runs: testnet, or what has its tools. Empty:
	// this program.
	Program string

	// Router is a program that runs the links (`ROUTER router ...`, as testnet does),
	// each in a process of its own: those are on time however busy the machine is.
	// Empty: they run in this process, whose other threads they wait for now and
	// then, which the counts tell.
	Router string
}
