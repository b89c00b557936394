package site

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BenchmarkIdle tells what a settled site costs each of its nodes that does nothing:
// processor time, and what it sends and receives, with the headers of IP and TCP. For
// the latter the machine's loopback must carry nothing else:
//
//	unshare -n sh -c 'ip link set lo up; go test -run - -bench Idle -benchtime 20x ./discovery/site'
//
// An iteration is a second.
func BenchmarkIdle(b *testing.B) {
	for _, n := range []int{5, 50} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			o := newOffice(b, "tcp")
			var all []*place
			for i := range n {
				all = append(all, o.open("here"))
				for range min(i, 8) {
					o.connect(all[i], all[rand.IntN(i)])
				}
			}
			until(b, "all agree", func() bool { return agree(all...) })
			time.Sleep(3 * settle)
			cpu, carried := spent(b), loopback(b)
			b.ResetTimer()
			time.Sleep(time.Duration(b.N) * time.Second)
			b.StopTimer()
			links := 0
			for _, p := range all {
				links += len(p.Network().Peers())
			}
			each := float64(n * b.N)
			b.ReportMetric(float64((spent(b)-cpu).Microseconds())/each, "us-cpu/s/node")
			b.ReportMetric(float64(loopback(b)-carried)/each, "B-sent/s/node")
			b.ReportMetric(float64(links)/float64(n), "conns/node")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// spent returns the processor time of this process.
func spent(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// loopback returns the bytes that the loopback interface has carried.
func loopback(b *testing.B) (n int64) {
	text, err := os.ReadFile("/proc/self/net/dev")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if name, counts, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && name == "lo" {
			_, err = fmt.Sscan(counts, &n)
		}
	}
	if err != nil {
		b.Fatal(err)
	}
	return n
}
