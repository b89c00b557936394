package wan

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Other is the class of what no rule matches.
const Other = "other"

// A Class is a rule for packets that are counted together. Its text form is its
// name and what must hold of a packet, all of it:
//
//	voice proto=udp port=5060 dscp=46
//	branch host=10.2.0.0/16
//
// src and dst are an address or a prefix, sport and dport a port; host and port
// mean either side, so that the same class fits both directions. proto is tcp,
// udp, icmp (which is ICMPv6 too) or a number, dscp a number.
type Class struct {
	Name string

	Src, Dst, Host     netip.Prefix // not valid: any
	SPort, DPort, Port uint16       // 0: any
	Proto              uint8        // 0: any
	DSCP               uint8        // only if HasDSCP
	HasDSCP            bool
}

const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
)

var protoNames = map[string]uint8{"icmp": protoICMP, "tcp": protoTCP, "udp": protoUDP}

// ParseClass reads the text form of a Class.
func ParseClass(text string) (Class, error) {
	fields := strings.Fields(text)
	if len(fields) == 0 || strings.Contains(fields[0], "=") {
		return Class{}, fmt.Errorf("class %q: want a name first, as in %q", text, "voice proto=udp port=5060")
	}
	c := Class{Name: fields[0]}
	if c.Name == Other {
		return Class{}, fmt.Errorf("class %q: %s is what no class matches; want another name", text, Other)
	}
	for _, f := range fields[1:] {
		if err := c.set(f); err != nil {
			return Class{}, fmt.Errorf("class %s: %q: %w", c.Name, f, err)
		}
	}
	return c, nil
}

func (c *Class) set(field string) (err error) {
	key, value, _ := strings.Cut(field, "=")
	switch key {
	case "src":
		c.Src, err = parsePrefix(value)
	case "dst":
		c.Dst, err = parsePrefix(value)
	case "host":
		c.Host, err = parsePrefix(value)
	case "sport":
		c.SPort, err = parsePort(value)
	case "dport":
		c.DPort, err = parsePort(value)
	case "port":
		c.Port, err = parsePort(value)
	case "proto":
		proto, known := protoNames[value]
		if !known {
			var n uint64
			if n, err = strconv.ParseUint(value, 10, 8); err != nil || n == 0 {
				return fmt.Errorf("want tcp, udp, icmp or a number from 1 to 255")
			}
			proto = uint8(n)
		}
		c.Proto = proto
	case "dscp":
		var n int
		n, err = parseInt(value, 63)
		c.DSCP, c.HasDSCP = uint8(n), true
	default:
		return fmt.Errorf("want one of src=, dst=, host=, sport=, dport=, port=, proto=, dscp=")
	}
	return err
}

func parsePrefix(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("want an address or a prefix, as in 10.2.0.0/16")
	}
	return p.Masked(), nil
}

func parsePort(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("want a port from 1 to 65535")
	}
	return uint16(n), nil
}

// String returns the text form.
func (c Class) String() string {
	var b strings.Builder
	b.WriteString(c.Name)
	for _, p := range []struct {
		key   string
		value netip.Prefix
	}{{"src", c.Src}, {"dst", c.Dst}, {"host", c.Host}} {
		if p.value.IsValid() {
			fmt.Fprintf(&b, " %s=%v", p.key, p.value)
		}
	}
	for _, p := range []struct {
		key   string
		value uint16
	}{{"sport", c.SPort}, {"dport", c.DPort}, {"port", c.Port}, {"proto", uint16(c.Proto)}} {
		if p.value != 0 {
			fmt.Fprintf(&b, " %s=%d", p.key, p.value)
		}
	}
	if c.HasDSCP {
		fmt.Fprintf(&b, " dscp=%d", c.DSCP)
	}
	return b.String()
}

// header is what a Class looks at. Ports are 0 where the packet has none.
type header struct {
	src, dst     netip.Addr
	sport, dport uint16
	proto, dscp  uint8
}

// parse reads the IP header of a packet, and the ports behind it. ok is false for
// what is no IP packet. Ports of a fragment other than the first are 0, as they
// are behind IPv6 extension headers: these count under the first header's number.
func parse(packet []byte) (h header, ok bool) {
	if len(packet) < 20 {
		return header{}, false
	}
	var rest []byte
	switch packet[0] >> 4 {
	case 4:
		size := int(packet[0]&15) * 4
		if size < 20 || size > len(packet) {
			return header{}, false
		}
		h.src = netip.AddrFrom4([4]byte(packet[12:16]))
		h.dst = netip.AddrFrom4([4]byte(packet[16:20]))
		h.proto, h.dscp = packet[9], packet[1]>>2
		if binary.BigEndian.Uint16(packet[6:])&0x1fff == 0 {
			rest = packet[size:]
		}
	case 6:
		if len(packet) < 40 {
			return header{}, false
		}
		h.src = netip.AddrFrom16([16]byte(packet[8:24]))
		h.dst = netip.AddrFrom16([16]byte(packet[24:40]))
		h.proto, h.dscp = packet[6], uint8(binary.BigEndian.Uint16(packet)>>6)&63
		rest = packet[40:]
	default:
		return header{}, false
	}
	if (h.proto == protoTCP || h.proto == protoUDP) && len(rest) >= 4 {
		h.sport, h.dport = binary.BigEndian.Uint16(rest), binary.BigEndian.Uint16(rest[2:])
	}
	return h, true
}

func (c *Class) matches(h *header) bool {
	within := func(p netip.Prefix, a netip.Addr) bool { return !p.IsValid() || p.Contains(a) }
	return within(c.Src, h.src) && within(c.Dst, h.dst) && (within(c.Host, h.src) || within(c.Host, h.dst)) &&
		(c.SPort == 0 || c.SPort == h.sport) && (c.DPort == 0 || c.DPort == h.dport) &&
		(c.Port == 0 || c.Port == h.sport || c.Port == h.dport) &&
		(c.Proto == 0 || c.Proto == h.proto || c.Proto == protoICMP && h.proto == protoICMPv6) &&
		(!c.HasDSCP || c.DSCP == h.dscp)
}

// classify returns the index of the first class that matches, or len(classes).
func classify(classes []Class, packet []byte) int {
	h, ok := parse(packet)
	if ok {
		for i := range classes {
			if classes[i].matches(&h) {
				return i
			}
		}
	}
	return len(classes)
}
