package foreground

import "syscall"

// cubic makes a listener's connections send by CUBIC (RFC 9438), whatever this
// machine does by itself. It fails where that is not allowed to whoever runs this.
func cubic(_, _ string, c syscall.RawConn) error {
	var failed error
	if err := c.Control(func(fd uintptr) {
		failed = syscall.SetsockoptString(int(fd), syscall.IPPROTO_TCP, syscall.TCP_CONGESTION, "cubic")
	}); err != nil {
		return err
	}
	return failed
}
