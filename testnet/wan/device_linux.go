package wan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// backlog is how many packets may wait in a device for the emulator: 100 ms
	// of a gigabit. They count nowhere, and the kernel's 500 are soon full when
	// the machine is busy.
	backlog = 10_000

	// The tables that lead packets into the link, and the place of the rules that
	// lead there: behind the table of local addresses, before the main one.
	firstTable   = 7400
	rulePriority = 1000
)

// inSpace calls f on a thread in a network namespace. What is opened there stays
// in it.
func inSpace(space string, f func() error) error {
	if space == "" {
		return f()
	}
	done := make(chan error, 1)
	go func() { done <- enter("/run/netns/"+space, f) }()
	return <-done
}

// enter calls f in the namespace at path and goes back to where the thread was. A
// thread that can't is never unlocked, and ends with its goroutine. The others
// must not: the kernel kills the children of a thread that ends, if they were
// started to die with their parent (PR_SET_PDEATHSIG), and this thread may have
// started some before.
func enter(path string, f func() error) (err error) {
	runtime.LockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter namespace %s: %w", path, err)
	}
	defer own.Close()
	ns, err := os.Open(path)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter namespace %s: %w; `ip netns add` makes one", path, err)
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter namespace %s: %w", path, err)
	}
	defer func() {
		if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
			err = errors.Join(err, fmt.Errorf("leave namespace %s: %w", path, back))
			return
		}
		runtime.UnlockOSThread()
	}()
	return f()
}

// openTUN makes an end's device and sets it up. It goes when it is closed.
func openTUN(end End) (fd int, err error) {
	err = inSpace(end.Space, func() error {
		if fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err != nil {
			return fmt.Errorf("open /dev/net/tun: %w; in a container it needs --device /dev/net/tun --cap-add NET_ADMIN", err)
		}
		if err := setUp(fd, end.Device); err != nil {
			return errors.Join(fmt.Errorf("make device %s: %w", end.Device, err), unix.Close(fd))
		}
		return nil
	})
	return fd, err
}

func setUp(tun int, device string) error {
	ifr, err := unix.NewIfreq(device)
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(tun, unix.TUNSETIFF, ifr); err != nil {
		return err
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	ifr.SetUint32(backlog)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFTXQLEN, ifr); err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr)
}

// steer leads what came in by end.From, and is for others, into end.Device. It
// speaks netlink itself: a container from scratch has no ip command.
func steer(end End, table int) (remove func() error, err error) {
	rule := func(kind, flags uint16) error {
		body := []byte{unix.AF_INET, 0, 0, 0, 0, 0, 0, unix.FR_ACT_TO_TBL, 0, 0, 0, 0}
		body = attribute(body, unix.FRA_IIFNAME, append([]byte(end.From), 0))
		body = attribute(body, unix.FRA_PRIORITY, number(rulePriority))
		body = attribute(body, unix.FRA_TABLE, number(uint32(table)))
		return netlink(kind, flags, body)
	}
	err = inSpace(end.Space, func() error {
		if err := forwards(end.Device); err != nil {
			return err
		}
		device, err := net.InterfaceByName(end.Device)
		if err != nil {
			return err
		}
		if _, err := net.InterfaceByName(end.From); err != nil {
			return err
		}
		route := []byte{unix.AF_INET, 0, 0, 0, 0, unix.RTPROT_STATIC, unix.RT_SCOPE_LINK, unix.RTN_UNICAST, 0, 0, 0, 0}
		route = attribute(route, unix.RTA_OIF, number(uint32(device.Index)))
		route = attribute(route, unix.RTA_TABLE, number(uint32(table)))
		if err := netlink(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, route); err != nil {
			return fmt.Errorf("add a route: %w", err)
		}
		// One that was left behind by a process that was killed says the same.
		if err := rule(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add a rule: %w", err)
		}
		return nil
	})
	return func() error {
		return inSpace(end.Space, func() error { return rule(unix.RTM_DELRULE, 0) })
	}, err
}

// forwards makes a router of the namespace that lets back in what came out of the
// link: by the kernel's strict reverse path filter it would be on the wrong side.
func forwards(device string) error {
	const dir = "/proc/sys/net/ipv4/"
	for _, s := range []struct {
		name, want string
	}{
		{"ip_forward", "1"},
		{"conf/" + device + "/rp_filter", "0"},
		{"conf/all/rp_filter", "0"},
	} {
		text, err := os.ReadFile(dir + s.name)
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(text)) == s.want {
			continue
		}
		// Opened without O_TRUNC and O_CREAT, which nothing under /proc knows.
		if err := write(dir+s.name, s.want); err != nil {
			return fmt.Errorf("set %s to %s: %w; start the container with --sysctl net.ipv4.ip_forward=1 --sysctl net.ipv4.conf.all.rp_filter=0 --sysctl net.ipv4.conf.default.rp_filter=0", s.name, s.want, err)
		}
	}
	return nil
}

func write(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

func number(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

// attribute adds a netlink attribute, padded to 4 bytes.
func attribute(body []byte, kind uint16, value []byte) []byte {
	body = binary.NativeEndian.AppendUint16(body, uint16(4+len(value)))
	body = binary.NativeEndian.AppendUint16(body, kind)
	body = append(body, value...)
	return append(body, make([]byte, -len(body)&3)...)
}

// netlink asks the kernel for one thing, and waits for its answer.
func netlink(kind, flags uint16, body []byte) error {
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	message := number(uint32(unix.NLMSG_HDRLEN + len(body)))
	message = binary.NativeEndian.AppendUint16(message, kind)
	message = binary.NativeEndian.AppendUint16(message, flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	message = append(message, make([]byte, 8)...) // sequence number and port
	if err := unix.Sendto(s, append(message, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(s, answer, 0)
	if err != nil {
		return err
	}
	if n < unix.NLMSG_HDRLEN+4 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return errors.New("the kernel's answer is no acknowledgement")
	}
	if code := int32(binary.NativeEndian.Uint32(answer[unix.NLMSG_HDRLEN:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}
