package meter

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
)

func showConnection(c Connection) string {
	return fmt.Sprintf("rtt %s, min %s, rate %s, sent %s, resent %s, unsent %s",
		show(c.RoundTrip), show(c.MinRoundTrip), show(c.Delivery), show(c.Sent), show(c.Resent), show(c.Unsent))
}

// talk returns both ends of a TCP connection over which n bytes went from the
// first to the second and a byte back.
func talk(t testing.TB, n int) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialed, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialed.Close() })
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { accepted.Close() })
	if _, err := dialed.Write(make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(accepted, make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	if _, err := accepted.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(dialed, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return dialed.(*net.TCPConn), accepted.(*net.TCPConn)
}

func TestTCPTellsOfAConnection(t *testing.T) {
	const n = 50000
	a, _ := talk(t, n)
	c, err := TCP(a)
	if err != nil {
		t.Fatal(err)
	}
	if sent, ok := c.Sent.Value(); !ok || sent < n {
		t.Errorf("%s, want at least %d sent", showConnection(c), n)
	}
	a.Close()
	if c, err := TCP(a); err == nil {
		t.Errorf("of a closed connection: %s", showConnection(c))
	}
}

func TestWindowsTCPInfoIsReadByItsLayout(t *testing.T) {
	b := make([]byte, tcpInfoV0)
	for i := range b {
		b[i] = 0xee // what isn't looked at
	}
	binary.LittleEndian.PutUint32(b[20:], 41000)
	binary.LittleEndian.PutUint32(b[24:], 40000)
	binary.LittleEndian.PutUint64(b[48:], 1<<40)
	binary.LittleEndian.PutUint32(b[68:], 1448)
	c, err := parseTCPInfoV0(b)
	if err != nil {
		t.Fatal(err)
	}
	const want = "rtt 41ms by SIO_TCP_INFO, min 40ms by SIO_TCP_INFO, rate absent, " +
		"sent 1099511627776 by SIO_TCP_INFO, resent 1448 by SIO_TCP_INFO, unsent absent"
	if got := showConnection(c); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	binary.LittleEndian.PutUint32(b[24:], 1<<32-1)
	if c, _ := parseTCPInfoV0(b); c.MinRoundTrip.How() != "" {
		t.Errorf("no least round trip yet: %s", show(c.MinRoundTrip))
	}
	if _, err := parseTCPInfoV0(b[:tcpInfoV0-1]); err == nil {
		t.Error("a short answer passed")
	}
}

func TestQUICTellsWhatItHas(t *testing.T) {
	got := showConnection(QUIC(quic.ConnectionStats{SmoothedRTT: 20 * time.Millisecond, BytesSent: 5, BytesLost: 3}))
	const want = "rtt 20ms by quic-go, min absent, rate absent, sent 5 by quic-go, resent 3 by quic-go, unsent absent"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func BenchmarkTCP(b *testing.B) {
	a, _ := talk(b, 50000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := TCP(a); err != nil {
			b.Fatal(err)
		}
	}
}
