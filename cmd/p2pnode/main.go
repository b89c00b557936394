// Command p2pnode moves content to every endpoint of an enterprise, peer to
// peer. This package is the command line: it runs a node, and speaks with the
// one that runs, over its local API. README.md has the contract that scripts may
// rely on: streams, exit codes, JSON, environment.
package main

import "os"

func main() { os.Exit(Main()) }

// Main runs the command line of this process and returns its exit code.
func Main() int {
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.LookupEnv}
	return a.main(os.Args[1:])
}
