package wan

import (
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pipe is a direction between two pairs of datagram sockets, which behave as TUN
// devices do and need no root.
type pipe struct {
	*direction
	near, far int
	ended     chan error
}

func newPipe(t *testing.T, settings string, classes ...Class) *pipe {
	t.Helper()
	pair := func() [2]int {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return fds
	}
	in, out := pair(), pair()
	link, err := NewLink(parsed(t, settings), len(classes)+1, 1)
	if err != nil {
		t.Fatal(err)
	}
	d, err := newDirection(in[1], out[0], link, classes)
	if err != nil {
		t.Fatal(err)
	}
	p := &pipe{d, in[0], out[1], make(chan error, 1)}
	go func() { p.ended <- d.run() }()
	t.Cleanup(func() {
		d.stop()
		if err := <-p.ended; err != nil {
			t.Error(err)
		}
		for _, fd := range []int{in[0], in[1], out[0], out[1], d.wake} {
			if err := unix.Close(fd); err != nil {
				t.Error(err)
			}
		}
	})
	return p
}

func (p *pipe) send(t *testing.T, packet []byte) {
	t.Helper()
	if _, err := unix.Write(p.near, packet); err != nil {
		t.Fatal(err)
	}
}

// receive waits for a packet, as long as the test may take.
func (p *pipe) receive(t *testing.T) string {
	t.Helper()
	for {
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(p.far), Events: unix.POLLIN}}, -1); err != nil {
			if errors.Is(err, unix.EINTR) {
				continue
			}
			t.Fatal(err)
		}
		buf := make([]byte, packetSize)
		n, err := unix.Read(p.far, buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
}

// until polls: the counts are all that tells what a direction's thread has done.
// A test that waits in vain ends with the test binary's time limit.
func until(done func() bool) {
	for !done() {
		time.Sleep(time.Millisecond)
	}
}

func TestDirectionCarriesInOrderAndNotTooEarly(t *testing.T) {
	p := newPipe(t, "rate=10mbit delay=20ms", mustClass(t, "voice port=5060"))
	voice := ipPacket("10.0.0.1", "10.0.0.2", protoUDP, 1, 5060, 0)
	start := time.Now()
	for _, packet := range []string{"first", string(voice), "third"} {
		p.send(t, []byte(packet))
	}
	for _, want := range []string{"first", string(voice), "third"} {
		if got := p.receive(t); got != want {
			t.Errorf("received %q, want %q", got, want)
		}
		if took := time.Since(start); took < 20*time.Millisecond {
			t.Errorf("received after %v", took)
		}
	}
	c := p.counts()
	if got := c.Classes[0]; got.Class != "voice" || got.Delivered != (Tally{1, int64(len(voice))}) {
		t.Errorf("counted %+v", got)
	}
	if got := c.Classes[1]; got.Class != Other || got.Delivered != (Tally{2, 10}) || got.Offered != (Tally{2, 10}) {
		t.Errorf("counted %+v", got)
	}
}

// The thread waits for a time that is far off, or for nothing, when the settings
// change.
func TestDirectionNoticesChanges(t *testing.T) {
	p := newPipe(t, "rate=1bit")
	p.send(t, []byte("slow"))
	until(func() bool { return p.counts().Classes[0].Offered.Packets > 0 })
	if err := p.set(Settings{Loss: Loss{Mean: whole}}); err != nil {
		t.Fatal(err)
	}
	until(func() bool { return p.counts().Classes[0].Lost.Packets > 0 })
	if err := p.set(Settings{Loss: Loss{Mean: whole + 1}}); err == nil {
		t.Error("settings that can't be were taken")
	}
	if err := p.set(Settings{}); err != nil {
		t.Fatal(err)
	}
	p.send(t, []byte("fast"))
	if got := p.receive(t); got != "fast" {
		t.Errorf("received %q", got)
	}
	if got := p.settings().String(); got != "rate=unlimited" {
		t.Errorf("settings: %s", got)
	}
}

func TestConfigSaysWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		ends [2]End
		want string
	}{
		{[2]End{{Device: "wan0"}, {}}, "end 1: device \"\""},
		{[2]End{{Device: "a-name-of-16-let"}, {Device: "b"}}, "up to 15 letters"},
		{[2]End{{Device: "wan0"}, {Device: "wan0"}}, "want two devices"},
		{[2]End{{Device: "wan0", From: "eth0"}, {Device: "wan1"}}, "both or neither"},
	} {
		if _, err := New(Config{Ends: c.ends}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v; want an error with %q", c.ends, err, c.want)
		}
	}
}
