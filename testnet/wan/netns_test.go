//go:build netns && linux

package wan

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Who asks for the tag netns has to be root: these tests don't skip. Everything
// they make lies in namespaces of their own, whose names testnet/scenario knows
// and removes if a killed process leaves them behind.

var spaces atomic.Int32

func newSpace(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("p2pnode-%d-wan-%d", os.Getpid(), spaces.Add(1))
	ip(t, "netns", "add", name)
	t.Cleanup(func() { ip(t, "netns", "del", name) })
	ip(t, "-n", name, "link", "set", "lo", "up")
	return name
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// run starts an emulator that ends with the test.
func run(t *testing.T, cfg Config) *Emulator {
	t.Helper()
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, e.Close()); err != nil {
			t.Error(err)
		}
	})
	return e
}

const (
	nearAddr = "10.77.0.1"
	farAddr  = "10.77.0.2"
)

// between returns an emulator between two new namespaces, which have the
// addresses above.
func between(t *testing.T, forth, back string) (e *Emulator, near, far string) {
	t.Helper()
	near, far = newSpace(t), newSpace(t)
	e = run(t, Config{
		Ends:     [2]End{{Space: near, Device: "wan0"}, {Space: far, Device: "wan0"}},
		Settings: [2]Settings{parsed(t, forth), parsed(t, back)},
		Classes:  []Class{mustClass(t, "probe proto=udp port=7007")},
		Seed:     1,
	})
	ip(t, "-n", near, "addr", "add", nearAddr, "peer", farAddr, "dev", "wan0")
	ip(t, "-n", far, "addr", "add", farAddr, "peer", nearAddr, "dev", "wan0")
	return e, near, far
}

// A flow is a run of probes: 1500 bytes each, stamped, from one space to another.
type flow struct {
	from, to string
	addr     string // of to
	packets  int
	gap      time.Duration
}

const headers = 28 // of IPv4 and UDP

// probe is one that arrived.
type probe struct {
	n        int
	at, took time.Duration // since the flow began, on the way
}

// measure sends a flow and returns what arrived. Both ends are this process, so
// that they have the same clock. It ends when the link holds nothing any more.
func measure(t *testing.T, e *Emulator, d Direction, f flow) []probe {
	t.Helper()
	var receiver, sender net.PacketConn
	open := func(space, addr string) (c net.PacketConn) {
		err := inSpace(space, func() (err error) {
			c, err = (&net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
				return raw.Control(func(fd uintptr) {
					// A late reader loses nothing: the test measures the link. As root, beyond rmem_max.
					_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, 256<<20)
				})
			}}).ListenPacket(t.Context(), "udp4", addr)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	receiver = open(f.to, f.addr+":7007")
	defer receiver.Close()
	sender = open(f.from, "0.0.0.0:0")
	defer sender.Close()
	before := e.Counts(d).Classes[0].Count
	start := time.Now()
	done := make(chan []probe)
	go func() {
		var got []probe
		buf := make([]byte, packetSize)
		for {
			n, _, err := receiver.ReadFrom(buf)
			if err != nil || n < 16 {
				done <- got // a short one says that it was the last
				return
			}
			at := time.Since(start)
			got = append(got, probe{int(binary.BigEndian.Uint64(buf)), at, at - time.Duration(binary.BigEndian.Uint64(buf[8:]))})
		}
	}()
	to := receiver.LocalAddr().(*net.UDPAddr)
	to = &net.UDPAddr{IP: net.ParseIP(f.addr), Port: to.Port}
	buf := make([]byte, mtu-headers)
	for i := range f.packets {
		if ahead := time.Duration(i)*f.gap - time.Since(start); ahead > 0 {
			time.Sleep(ahead)
		}
		binary.BigEndian.PutUint64(buf, uint64(i))
		binary.BigEndian.PutUint64(buf[8:], uint64(time.Since(start)))
		if _, err := sender.WriteTo(buf, to); err != nil {
			t.Fatal(err)
		}
	}
	until(func() bool {
		c := e.Counts(d).Classes[0].Count
		ended := c.Delivered.Packets + c.Full.Packets + c.Lost.Packets + c.Out.Packets
		return c.Offered.Packets-before.Offered.Packets == int64(f.packets) && ended == c.Offered.Packets
	})
	// The last word goes from within the receiver's own namespace, behind all else
	// in its queue.
	last := open(f.to, "0.0.0.0:0")
	defer last.Close()
	if _, err := last.WriteTo([]byte("end"), to); err != nil {
		t.Fatal(err)
	}
	return <-done
}

// rate returns bits per second on the wire: by the median of the times between a
// probe and the one half the flow later, which some late ones don't move.
func rate(got []probe) float64 {
	half := len(got) / 2
	if half == 0 {
		return 0
	}
	var spans []time.Duration
	for i := range half {
		spans = append(spans, got[i+half].at-got[i].at)
	}
	slices.Sort(spans)
	return float64(half) * mtu * 8 / spans[half/2].Seconds()
}

func TestNetRate(t *testing.T) {
	e, near, far := between(t, "rate=20mbit buffer=100ms delay=20ms", "rate=unlimited")
	// Twice what fits, for 3 s.
	got := measure(t, e, Forth, flow{near, far, farAddr, 10_000, 300 * time.Microsecond})
	c := e.Counts(Forth)
	if r := rate(got); math.Abs(r-20e6) > 0.03*20e6 {
		t.Errorf("%.2f Mbit/s, want 20: %+v", r/1e6, c)
	}
	if full := c.Classes[0].Full.Packets; full == 0 || full+int64(len(got)) != 10_000 {
		t.Errorf("%d arrived, %d were dropped, want 10000 together", len(got), full)
	}
	for _, p := range got {
		// Nothing is early; the queue makes the most of the delay.
		if p.took < 20*time.Millisecond {
			t.Fatalf("probe %d took %v", p.n, p.took)
		}
	}
	if c.Missed+c.Refused > 0 {
		t.Errorf("%+v", c)
	}
	t.Logf("%.3f Mbit/s, %d packets, latest %v, %d late", rate(got)/1e6, len(got), c.Latest, c.Late)
}

func TestNetDelayAndChange(t *testing.T) {
	e, near, far := between(t, "delay=20ms", "delay=50ms")
	check := func(d Direction, f flow, want time.Duration) {
		t.Helper()
		var took []time.Duration
		for _, p := range measure(t, e, d, f) {
			took = append(took, p.took)
		}
		slices.Sort(took)
		// The fastest one shows the link; the others show what else the machine does.
		if len(took) != f.packets || took[0] < want || took[0] > want+time.Millisecond {
			t.Errorf("direction %d: %d of %d came, the fastest took %v, want %v", d, len(took), f.packets, took[0], want)
		}
		t.Logf("want %v: fastest %v, median %v, slowest %v", want, took[0], took[len(took)/2], took[len(took)-1])
	}
	forth := flow{near, far, farAddr, 200, 2 * time.Millisecond}
	check(Forth, forth, 20*time.Millisecond)
	check(Back, flow{far, near, nearAddr, 200, 2 * time.Millisecond}, 50*time.Millisecond)
	if err := e.Set(Forth, parsed(t, "delay=5ms")); err != nil {
		t.Fatal(err)
	}
	check(Forth, forth, 5*time.Millisecond)
	check(Back, flow{far, near, nearAddr, 200, 2 * time.Millisecond}, 50*time.Millisecond)
}

func TestNetLoss(t *testing.T) {
	const n = 10_000
	for _, share := range []float64{0, 0.01, 0.05} {
		e, near, far := between(t, fmt.Sprintf("loss=%v%%", share*100), "rate=unlimited")
		got := measure(t, e, Forth, flow{near, far, farAddr, n, 100 * time.Microsecond})
		lost := 1 - float64(len(got))/n
		if off := math.Abs(lost - share); off > 5*math.Sqrt(share*(1-share)/n) {
			t.Errorf("loss of %v: %v", share, lost)
		}
		if c := e.Counts(Forth).Classes[0]; c.Lost.Packets != int64(n-len(got)) {
			t.Errorf("%d did not come, counted %+v", n-len(got), c)
		}
	}
}

// Two networks with a router between them, as containers are: what the router
// hands on crosses the link, each direction with its own settings.
func TestNetRouter(t *testing.T) {
	a, router, b := newSpace(t), newSpace(t), newSpace(t)
	for i, space := range []string{a, b} {
		dev := fmt.Sprintf("eth%d", i)
		ip(t, "link", "add", dev, "netns", router, "type", "veth", "peer", "name", "eth0", "netns", space)
		ip(t, "-n", router, "addr", "add", fmt.Sprintf("10.%d.0.1/24", i), "dev", dev)
		ip(t, "-n", router, "link", "set", dev, "up")
		ip(t, "-n", space, "addr", "add", fmt.Sprintf("10.%d.0.2/24", i), "dev", "eth0")
		ip(t, "-n", space, "link", "set", "eth0", "up")
		ip(t, "-n", space, "route", "add", "default", "via", fmt.Sprintf("10.%d.0.1", i))
	}
	e := run(t, Config{
		Ends:     [2]End{{router, "wan0", "eth0"}, {router, "wan1", "eth1"}},
		Settings: [2]Settings{parsed(t, "delay=30ms"), parsed(t, "delay=10ms")},
		Classes:  []Class{mustClass(t, "probe proto=udp port=7007")},
	})
	for _, c := range []struct {
		d    Direction
		f    flow
		want time.Duration
	}{
		{Forth, flow{a, b, "10.1.0.2", 100, 2 * time.Millisecond}, 30 * time.Millisecond},
		{Back, flow{b, a, "10.0.0.2", 100, 2 * time.Millisecond}, 10 * time.Millisecond},
	} {
		got := measure(t, e, c.d, c.f)
		if len(got) != c.f.packets {
			t.Fatalf("%d of %d came: %+v", len(got), c.f.packets, e.Counts(c.d))
		}
		fastest := slices.MinFunc(got, func(x, y probe) int { return int(x.took - y.took) }).took
		if fastest < c.want || fastest > c.want+time.Millisecond {
			t.Errorf("direction %d: the fastest took %v, want %v", c.d, fastest, c.want)
		}
	}
}

// Two sites and the WAN between them, a Router each: routes, addresses and links
// as they are asked for, changed while it runs.
func TestNetRoutersOfTwoSites(t *testing.T) {
	wan := newSpace(t)
	ip(t, "-n", wan, "link", "add", "br0", "type", "bridge")
	ip(t, "-n", wan, "link", "set", "br0", "up")
	var hosts []string
	var controls []*Control
	for i := range 2 {
		host, space := newSpace(t), newSpace(t)
		hosts = append(hosts, host)
		leg := fmt.Sprintf("leg%d", i)
		ip(t, "link", "add", leg, "netns", space, "type", "veth", "peer", "name", leg, "netns", wan)
		ip(t, "-n", wan, "link", "set", leg, "master", "br0", "up")
		ip(t, "link", "add", "lan", "netns", space, "type", "veth", "peer", "name", "eth0", "netns", host)
		ip(t, "-n", space, "addr", "add", fmt.Sprintf("10.78.0.1%d/24", i), "dev", leg)
		// As Docker does it: the gateway's address isn't the router's yet.
		ip(t, "-n", space, "addr", "add", fmt.Sprintf("10.78.%d.253/24", i+1), "dev", "lan")
		ip(t, "-n", space, "link", "set", leg, "up")
		ip(t, "-n", space, "link", "set", "lan", "up")
		ip(t, "-n", host, "addr", "add", fmt.Sprintf("10.78.%d.2/24", i+1), "dev", "eth0")
		ip(t, "-n", host, "link", "set", "eth0", "up")
		ip(t, "-n", host, "route", "add", "default", "via", fmt.Sprintf("10.78.%d.254", i+1))
		route, err := ParseRoute(fmt.Sprintf("10.78.%d.0/24=10.78.0.1%d", 2-i, 1-i))
		if err != nil {
			t.Fatal(err)
		}
		controls = append(controls, routerIn(t, space, RouterConfig{
			LAN:      netip.MustParsePrefix(fmt.Sprintf("10.78.%d.254/24", i+1)),
			WAN:      netip.MustParsePrefix(fmt.Sprintf("10.78.0.1%d/24", i)),
			Settings: [2]Settings{parsed(t, "delay=10ms"), parsed(t, "delay=5ms")},
			Classes:  []Class{mustClass(t, "ping proto=icmp host=10.78.0.0/16")},
			Routes:   []Route{route},
		}))
	}
	fastest := func() time.Duration {
		t.Helper()
		out, err := exec.Command("ip", "netns", "exec", hosts[0], "ping", "-q", "-i", "0.01", "-W", "2", "-c", "20", "10.78.2.2").CombinedOutput()
		m := regexp.MustCompile(`= ([0-9.]+)/`).FindSubmatch(out)
		if err != nil || m == nil {
			t.Fatalf("ping: %v: %s", err, out)
		}
		ms, _ := strconv.ParseFloat(string(m[1]), 64)
		return time.Duration(ms * float64(time.Millisecond))
	}
	const once = 2 * (10 + 5) * time.Millisecond // up and down, there and back
	if got := fastest(); got < once || got > once+2*time.Millisecond {
		t.Errorf("a round trip takes %v, want %v", got, once)
	}
	if err := controls[1].Set(t.Context(), Back, parsed(t, "delay=45ms")); err != nil {
		t.Fatal(err)
	}
	if got := fastest(); got < once+40*time.Millisecond || got > once+42*time.Millisecond {
		t.Errorf("a round trip takes %v, want %v: what comes to the second site has 40 ms more", got, once+40*time.Millisecond)
	}
	s, err := controls[0].State(t.Context(), Forth)
	if err != nil {
		t.Fatal(err)
	}
	if c := s.Counts.Classes[0]; c.Class != "ping" || c.Delivered.Packets != 40 {
		t.Errorf("the first site's link has carried %+v, want 40 pings", s.Counts)
	}
}

// routerIn runs a Router in a space until the test ends.
func routerIn(t *testing.T, space string, cfg RouterConfig) *Control {
	t.Helper()
	cfg.Control = filepath.Join(t.TempDir(), "control")
	var r *Router
	if err := inSpace(space, func() (err error) { r, err = NewRouter(cfg); return err }); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, inSpace(space, r.Close)); err != nil {
			t.Error(err)
		}
	})
	return NewControl(cfg.Control)
}
