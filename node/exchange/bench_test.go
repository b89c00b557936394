//go:build unix

package exchange

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"golang.org/x/sys/unix"

	"github.com/p2pnode/p2pnode/content"
)

// BenchmarkTransfer moves 1 GiB in blocks of 64 KiB over loopback with TCP, TLS and
// yamux, both ends in this process: by a bare stream, where io.CopyBuffer reads from
// memory and writes 64 KiB at a time, and by the exchange. The two take turns, as other work
// on the machine changes what either costs. Metrics are MB/s, CPU seconds per GiB
// of both ends together (system time included), and the exchange's CPU by that of
// the bare stream.
func BenchmarkTransfer(b *testing.B) {
	const chunks = 16
	const gib = 1 << 30
	h := newHolding(b, chunks*mib, 64*kib)
	_, fetching, s := pair(b, newMemory(h), Config{})
	server := newHost(b)
	server.SetStreamHandler(prefix+"/bare", func(stream network.Stream) {
		defer stream.Close()
		buf := make([]byte, 64*kib)
		for range gib / len(h.data) {
			if _, err := io.CopyBuffer(struct{ io.Writer }{stream}, struct{ io.Reader }{bytes.NewReader(h.data)}, buf); err != nil {
				return
			}
		}
	})
	connect(b, fetching.host, server)
	for range 2 { // warm up: windows and buffers
		fetchMany(b, s, h, chunks)
	}

	var bare, exchange struct {
		wall time.Duration
		cpu  float64
	}
	b.ReportAllocs()
	for b.Loop() {
		start, cpu := time.Now(), cpuSeconds(b)
		stream, err := fetching.host.NewStream(b.Context(), server.ID(), prefix+"/bare")
		if err != nil {
			b.Fatal(err)
		}
		if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, stream, make([]byte, 64*kib)); n != gib {
			b.Fatal(n, err)
		}
		bare.wall += time.Since(start)
		bare.cpu += cpuSeconds(b) - cpu

		start, cpu = time.Now(), cpuSeconds(b)
		fetchMany(b, s, h, gib/mib)
		exchange.wall += time.Since(start)
		exchange.cpu += cpuSeconds(b) - cpu
	}
	n := float64(b.N)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(n*gib/1e6/exchange.wall.Seconds(), "MB/s")
	b.ReportMetric(n*gib/1e6/bare.wall.Seconds(), "bare-MB/s")
	b.ReportMetric(exchange.cpu/n, "cpu-s/GiB")
	b.ReportMetric(bare.cpu/n, "bare-cpu-s/GiB")
	b.ReportMetric(exchange.cpu/bare.cpu, "cpu-ratio")
}

// fetchMany asks for n chunks, 32 at a time, each with its list.
func fetchMany(b *testing.B, s *Session, h *holding, n int) {
	asked := make(chan struct{}, 32)
	c := &counter{asked: asked}
	for i := range n {
		asked <- struct{}{}
		_, err := s.Request(Request{Content: h.encoded.ID, Chunk: i % len(h.nodes), Want: All, List: true, Sink: c})
		if err != nil {
			b.Fatal(err)
		}
	}
	for range cap(asked) {
		asked <- struct{}{}
	}
	if got := c.bytes.Load(); got != int64(n)*mib || c.failed.Load() != nil {
		b.Fatalf("%d bytes, %v", got, c.failed.Load())
	}
}

func cpuSeconds(b *testing.B) float64 {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()).Seconds()
}

// BenchmarkFrame is what a frame costs beside its payload.
func BenchmarkFrame(b *testing.B) {
	var buf [headerSize]byte
	b.ReportAllocs()
	for b.Loop() {
		header{length: content.MaxBlock, kind: kindBlock, index: 7, flags: flagLast, id: 77}.append(buf[:0])
		if _, err := parseHeader(&buf, true); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHaveMap is what the map of a 10 GB content costs when every second
// chunk is here, which is when it is largest.
func BenchmarkHaveMap(b *testing.B) {
	m := newHolding(b, 1, 1).Have()
	for c := uint32(0); c < 10_000; c += 2 {
		m.Add(c)
	}
	encoded, err := encodeHave(m)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeHave(encoded, 10_000); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(encoded)), "map-bytes")
}
