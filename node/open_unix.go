//go:build unix

package node

import "syscall"

// openAtOnce keeps an open from waiting: for somebody who writes into the pipe
// that took the place of a file since it was looked at. To files it means nothing.
const openAtOnce = syscall.O_NONBLOCK
