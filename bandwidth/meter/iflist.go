package meter

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/p2pnode/p2pnode/bandwidth"
)

// What macOS tells of interfaces by sysctl net.route.0.0.iflist2: messages of
// RTM_IFINFO2, each a struct if_msghdr2 with a struct if_data64 (net/if.h, net/
// if_var.h), among others. All Macs are little endian.
const (
	rtmIfinfo2  = 0x12
	ifMsghdr2   = 160 // bytes of both structs
	msgLength   = 0   // of ifm_msglen, 16 bits
	msgType     = 3   // 8 bits
	msgIndex    = 12  // 16 bits
	msgIfType   = 32  // 8 bits
	msgBaudrate = 48  // 64 bits each from here
	msgIbytes   = 96
	msgObytes   = 104
)

// Values of ifi_type (net/if_types.h).
const (
	iftLoop     = 0x18
	iftGIF      = 0x37
	iftStf      = 0x39
	iftBridge   = 0xd1
	iftCellular = 0xff
	iftTunnel   = 0x01 // utun is IFT_OTHER
)

// ifinfo is what one message tells.
type ifinfo struct {
	ifType   byte
	baudrate uint64
	bytes    Bytes
}

// parseIflist finds the message about an interface.
func parseIflist(b []byte, index int) (ifinfo, error) {
	for len(b) >= 4 {
		n := int(binary.LittleEndian.Uint16(b[msgLength:]))
		if n < 4 || n > len(b) {
			return ifinfo{}, errors.New("a message of the list of interfaces is cut")
		}
		m := b[:n]
		b = b[n:]
		if m[msgType] != rtmIfinfo2 || n < ifMsghdr2 || int(binary.LittleEndian.Uint16(m[msgIndex:])) != index {
			continue
		}
		return ifinfo{
			ifType:   m[msgIfType],
			baudrate: binary.LittleEndian.Uint64(m[msgBaudrate:]),
			bytes: Bytes{
				In:  binary.LittleEndian.Uint64(m[msgIbytes:]),
				Out: binary.LittleEndian.Uint64(m[msgObytes:]),
			},
		}, nil
	}
	return ifinfo{}, errors.New("the list of interfaces doesn't have it")
}

// kind tells what is certain: Wi-Fi says that it is an Ethernet, so an Ethernet
// is not known to be one.
func (i ifinfo) kind() Reading[Kind] {
	const how = "iflist2"
	switch i.ifType {
	case iftLoop:
		return Read(Loopback, how)
	case iftCellular:
		return Read(Cellular, how)
	case iftTunnel, iftGIF, iftStf, iftBridge:
		return Read(Virtual, how)
	}
	return Reading[Kind]{}
}

func (i ifinfo) speed() Reading[bandwidth.Rate] {
	if i.baudrate == 0 || i.baudrate > math.MaxInt64 {
		return Reading[bandwidth.Rate]{}
	}
	return Read(bandwidth.Rate(i.baudrate), "iflist2")
}
