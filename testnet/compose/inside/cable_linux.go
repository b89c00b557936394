package inside

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/p2pnode/p2pnode/testnet/wan"
)

// Unplug pulls the cable of every interface but the loopback's.
func Unplug() error { return eachCable(false) }

// Plug puts them back, and leads what is for others to the router via: the kernel
// forgets routes by an interface that is down.
func Plug(via netip.Addr) error {
	if err := eachCable(true); err != nil {
		return err
	}
	return wan.AddRoute(wan.Route{To: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: via})
}

func eachCable(up bool) error {
	all, err := net.Interfaces()
	if err != nil {
		return err
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	for _, i := range all {
		// Others, as tunl0, are devices that the kernel puts into every space.
		if !strings.HasPrefix(i.Name, "eth") {
			continue
		}
		ifr, err := unix.NewIfreq(i.Name)
		if err != nil {
			return err
		}
		if err := unix.IoctlIfreq(s, unix.SIOCGIFFLAGS, ifr); err != nil {
			return fmt.Errorf("%s: %w", i.Name, err)
		}
		flags := ifr.Uint16() &^ unix.IFF_UP
		if up {
			flags |= unix.IFF_UP
		}
		ifr.SetUint16(flags)
		if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr); err != nil {
			return fmt.Errorf("%s: set it up or down: %w; it needs NET_ADMIN: docker exec -u 0", i.Name, err)
		}
	}
	return nil
}
