package meter

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// tcpInfoV0 is the size of TCP_INFO_v0 of mstcpip.h, which SIO_TCP_INFO fills in
// from Windows 10 1703 on: state and MSS of 32 bits, the connection's age in ms of
// 64, whether it has timestamps (8 bits and 24 of padding), the round trip and the
// least in microseconds, bytes in flight, the windows and the receive buffer, 32
// each; bytes out and in of 64; bytes out of order and bytes sent again of 32, and
// counts of no use here.
const tcpInfoV0 = 88

func parseTCPInfoV0(b []byte) (Connection, error) {
	if len(b) < tcpInfoV0 {
		return Connection{}, fmt.Errorf("SIO_TCP_INFO gave %d bytes of %d", len(b), tcpInfoV0)
	}
	const how = "SIO_TCP_INFO"
	micro := func(at int) Reading[time.Duration] {
		us := binary.LittleEndian.Uint32(b[at:])
		if us == math.MaxUint32 {
			us = 0 // none yet
		}
		return unless(0, time.Duration(us)*time.Microsecond, how)
	}
	return Connection{
		RoundTrip:    micro(20),
		MinRoundTrip: micro(24),
		Sent:         Read(binary.LittleEndian.Uint64(b[48:]), how),
		Resent:       Read(uint64(binary.LittleEndian.Uint32(b[68:])), how),
	}, nil
}
