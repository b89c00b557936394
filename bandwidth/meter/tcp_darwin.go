package meter

import (
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// TCP reads TCP_CONNECTION_INFO of a connection. Its times are whole milliseconds,
// so that a round trip within a LAN is absent, as are the least one and the rate.
func TCP(c syscall.Conn) (Connection, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return Connection{}, fmt.Errorf("read TCP_CONNECTION_INFO: %w", err)
	}
	var info *unix.TCPConnectionInfo
	var failed error
	err = raw.Control(func(fd uintptr) {
		info, failed = unix.GetsockoptTCPConnectionInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_CONNECTION_INFO)
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return Connection{}, fmt.Errorf("read TCP_CONNECTION_INFO: %w", err)
	}
	const how = "TCP_CONNECTION_INFO"
	return Connection{
		RoundTrip: unless(0, time.Duration(info.Srtt)*time.Millisecond, how),
		Sent:      Read(info.Txbytes, how),
		Resent:    Read(info.Txretransmitbytes, how),
	}, nil
}
