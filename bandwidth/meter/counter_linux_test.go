package meter

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCounterReadsWhatIsOurs(t *testing.T) {
	hardware := net.HardwareAddr{2, 0xfc, 0, 0, 0, 1}
	for _, c := range []struct {
		what string
		of   Interface
		proc string
		how  string
		want Bytes
	}{
		{"sysfs", Interface{Name: "virtio", Index: 4, hardware: hardware}, "testdata/none", "sysfs statistics", Bytes{547022792, 1601594}},
		{"another network's sysfs, by index", Interface{Name: "virtio", Index: 9, hardware: hardware}, "", "/proc/net/dev", Bytes{7, 8}},
		{"another network's sysfs, by address", Interface{Name: "virtio", Index: 4, hardware: net.HardwareAddr{2, 0, 0, 0, 0, 9}}, "", "/proc/net/dev", Bytes{7, 8}},
		{"no sysfs", Interface{Name: "eth0", Index: 4}, "testdata/proc/net-dev", "/proc/net/dev", Bytes{547022792, 1601594}},
	} {
		t.Run(c.what, func(t *testing.T) {
			if c.proc == "" {
				// Longer than the buffer is at first.
				c.proc = filepath.Join(t.TempDir(), "dev")
				text := strings.Repeat("veth0: 1 0 0 0 0 0 0 0 2 0 0 0 0 0 0 0\n", 1000) + "virtio: 7 0 0 0 0 0 0 0 8 0 0 0 0 0 0 0\n"
				if err := os.WriteFile(c.proc, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			counter, err := openCounter(c.of, "testdata/sysfs", c.proc)
			if err != nil {
				t.Fatal(err)
			}
			defer counter.Close()
			for range 2 {
				if got, err := counter.Read(); err != nil || got != c.want || counter.How() != c.how {
					t.Errorf("%v by %s, %v, want %v by %s", got, counter.How(), err, c.want, c.how)
				}
			}
		})
	}
}

func TestCounterSeesWhatASocketSends(t *testing.T) {
	i, local, err := Toward(netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	counter, err := OpenCounter(i)
	if err != nil {
		t.Fatal(err)
	}
	defer counter.Close()
	before, err := counter.Read()
	if err != nil {
		t.Fatal(err)
	}
	to, err := net.ListenUDP("udp4", &net.UDPAddr{IP: local.AsSlice()})
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	const packets, size = 20, 1000
	for range packets {
		if _, err := to.WriteTo(make([]byte, size), to.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	after, err := counter.Read()
	if err != nil {
		t.Fatal(err)
	}
	if d := after.Since(before); d.Out < packets*size || d.In < packets*size {
		t.Errorf("sent %d bytes, counted %v", packets*size, d)
	}
}
