package meter

import (
	"fmt"
	"math"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/p2pnode/p2pnode/bandwidth"
)

// TCP reads TCP_INFO of a connection.
func TCP(c syscall.Conn) (Connection, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return Connection{}, fmt.Errorf("read TCP_INFO: %w", err)
	}
	var info *unix.TCPInfo
	var failed error
	err = raw.Control(func(fd uintptr) {
		info, failed = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return Connection{}, fmt.Errorf("read TCP_INFO: %w", err)
	}
	return fromTCPInfo(info), nil
}

// fromTCPInfo takes what an older kernel leaves out, which is 0 then, for absent:
// the least round trip and the rate came with 4.6 and 4.9, bytes sent with 4.19.
func fromTCPInfo(i *unix.TCPInfo) Connection {
	const how = "TCP_INFO"
	c := Connection{
		RoundTrip: unless(0, time.Duration(i.Rtt)*time.Microsecond, how),
		Unsent:    Read(uint64(i.Notsent_bytes), how),
	}
	if i.Min_rtt > 0 && i.Min_rtt < math.MaxUint32 { // all ones: none yet
		c.MinRoundTrip = Read(time.Duration(i.Min_rtt)*time.Microsecond, how)
	}
	if i.Delivery_rate < math.MaxInt64/8 {
		c.Delivery = unless(0, bandwidth.Rate(i.Delivery_rate)*8, how)
	}
	if i.Bytes_sent > 0 {
		c.Sent, c.Resent = Read(i.Bytes_sent, how), Read(i.Bytes_retrans, how)
	}
	return c
}
