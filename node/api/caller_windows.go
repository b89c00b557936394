package api

import "net"

// isOwner reports whether the other end of c may act for the node. The pipe's
// access list has decided that when it was opened.
func isOwner(net.Conn) bool { return true }
