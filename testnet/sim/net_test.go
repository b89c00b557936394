package sim

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p2pnode/p2pnode/testnet/wan"
)

// lines is a network of two sites, one socket at the first, two at the second.
type lines struct {
	*Net
	a, b, c net.PacketConn
}

func draw(t *testing.T, access string) lines {
	t.Helper()
	s, err := wan.Parse(access)
	if err != nil {
		t.Fatal(err)
	}
	n, err := NewNet(2, s, 1)
	if err != nil {
		t.Fatal(err)
	}
	listen := func(site, place int) net.PacketConn {
		p, err := n.Plug(site, Address(site, place))
		if err != nil {
			t.Fatal(err)
		}
		c, err := p.ListenUDP("udp4", &net.UDPAddr{Port: port})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	return lines{n, listen(0, 0), listen(1, 0), listen(1, 1)}
}

func at(site, place int) net.Addr {
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(Address(site, place), port))
}

// send sends a packet of a size and returns how long it took to arrive.
func send(t *testing.T, from net.PacketConn, to net.Addr, at net.PacketConn, size int) (time.Duration, error) {
	t.Helper()
	began := time.Now()
	if _, err := from.WriteTo(make([]byte, size), to); err != nil {
		t.Fatal(err)
	}
	if err := at.SetReadDeadline(began.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	n, _, err := at.ReadFrom(make([]byte, 2000))
	if err == nil && n != size {
		t.Fatalf("%d bytes arrived, want %d", n, size)
	}
	return time.Since(began), err
}

func TestPacketTakesTheWayBetweenSites(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := draw(t, "rate=1mbit delay=10ms")
		if took, err := send(t, n.b, at(1, 1), n.c, 1222); err != nil || took != time.Millisecond {
			t.Errorf("on the LAN: %s, %v", took, err)
		}
		// Up and down: 10 ms each for 1250 bytes at the rate, 10 ms each of delay.
		want := 40*time.Millisecond + n.distance[0][1].Truncate(grid)
		if took, err := send(t, n.a, at(1, 0), n.b, 1222); err != nil || took < want || took > want+3*grid {
			t.Errorf("to the other site: %s, want %s and up to 3 ms, %v", took, want, err)
		}
		up, down, lan := n.Site(0).Tally(), n.Site(1).Tally(), n.Site(1).Tally().LAN
		if up.Up.Total() != 1250 || down.Down.Total() != 1250 || lan.Total() != 1250 {
			t.Errorf("counted %d up, %d down, %d on the LAN, want 1250 each", up.Up.Total(), down.Down.Total(), lan.Total())
		}
	})
}

func TestCutNetCarriesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := draw(t, "rate=1mbit delay=10ms")
		n.Part(1, 1)
		if _, err := send(t, n.a, at(1, 0), n.b, 100); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("through a cut: %v", err)
		}
		if cut := n.Site(0).Tally().Cut; cut != 1 {
			t.Errorf("%d packets met the cut, want 1", cut)
		}
		if _, err := send(t, n.b, at(1, 1), n.c, 100); err != nil {
			t.Errorf("inside of a cut site: %v", err)
		}
		n.Part(0, 1)
		if _, err := send(t, n.a, at(1, 0), n.b, 100); err != nil {
			t.Errorf("after the cut: %v", err)
		}
	})
}

func TestMovedPortIsReachedWhereItIs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := draw(t, "rate=1mbit delay=10ms")
		p, _ := n.port(Address(0, 0))
		if err := p.Move(1, Address(1, 0)); err == nil {
			t.Error("two ports have one address")
		}
		if err := p.Move(1, Address(1, 7)); err != nil {
			t.Fatal(err)
		}
		if _, err := send(t, n.b, at(0, 0), n.a, 100); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("at the old address: %v", err)
		}
		if took, err := send(t, n.b, at(1, 7), n.a, 100); err != nil || took != time.Millisecond {
			t.Errorf("at the new one: %s, %v", took, err)
		}
		if addrs, _ := p.Addrs(); addrs[0].String() != "10.1.0.8/16" {
			t.Errorf("its address is %s", addrs[0])
		}
	})
}

func TestLossIsThatOfTheLink(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := draw(t, "rate=100mbit delay=1ms loss=10%")
		for range 2000 {
			if _, err := n.a.WriteTo(make([]byte, 100), at(1, 0)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(grid)
		}
		time.Sleep(time.Second)
		lost := n.Site(0).Tally().Lost + n.Site(1).Tally().Lost
		if lost < 300 || lost > 460 { // 380 in the mean, 18 the deviation
			t.Errorf("%d of 2000 lost on two links of 10 %%", lost)
		}
	})
}

func TestSocketOfAPortIsOneAndEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := draw(t, "")
		p, _ := n.port(Address(0, 0))
		if _, err := p.ListenUDP("udp4", &net.UDPAddr{Port: port}); err == nil {
			t.Error("two sockets have one port")
		}
		done := make(chan error)
		go func() { _, _, err := n.a.ReadFrom(make([]byte, 10)); done <- err }()
		synctest.Wait()
		if err := n.a.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("a reader of a closed socket: %v", err)
		}
		if _, err := n.a.WriteTo([]byte("x"), at(1, 0)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a writer: %v", err)
		}
		if _, err := p.ListenUDP("udp4", &net.UDPAddr{Port: port}); err != nil {
			t.Errorf("its port anew: %v", err)
		}
	})
}
