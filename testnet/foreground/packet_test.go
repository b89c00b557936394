package foreground

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

func TestPacketComesBackAsItWas(t *testing.T) {
	p := packet{number: 7, sent: time.Unix(12, 34), heard: 5, last: 6, took: 78 * time.Millisecond}
	b := p.append([]byte("x"))[1:]
	if len(b) != packetSize {
		t.Fatalf("%d bytes, want %d", len(b), packetSize)
	}
	if got, err := parsePacket(b); err != nil || got != p {
		t.Errorf("%+v, %v; want %+v", got, err, p)
	}
}

func FuzzPacket(f *testing.F) {
	f.Add(packet{number: 1, sent: time.Unix(1, 2), heard: 3}.append(nil))
	f.Add([]byte("p2pv"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parsePacket(b)
		if err != nil {
			return
		}
		// What stands behind the header says nothing.
		if got := p.append(nil); !bytes.Equal(got[:32], b[:32]) {
			t.Errorf("%x was read as %x", b[:32], got[:32])
		}
	})
}

func FuzzAsked(f *testing.F) {
	for _, line := range []string{"bulk\n", "object 0\n", "object 12345\n", "object -1\n", "object\n", "object 99999999999999999999\n", "get /\n"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		n, ok := parseAsked(line)
		if ok && (n < 0 || n > maxObject && line != "bulk\n" && line != "bulk") {
			t.Errorf("%q asks for %d bytes", line, n)
		}
	})
}

// The same seed asks for the same pages, another for others; they are about as large
// as the package says.
func TestPagesFollowFromTheSeed(t *testing.T) {
	pages := func(seed uint64) (out []page) {
		rng := rand.New(rand.NewPCG(seed, 2))
		for range 1000 {
			out = append(out, plan(rng))
		}
		return out
	}
	a := pages(1)
	if !reflect.DeepEqual(a, pages(1)) || reflect.DeepEqual(a, pages(2)) {
		t.Error("pages don't follow from the seed")
	}
	var sum int
	for _, p := range a {
		sum += p.document
		for _, o := range p.objects {
			sum += o
		}
		if len(p.objects) < 6 || len(p.objects) > 20 || p.read < 300*time.Millisecond || p.read > 1500*time.Millisecond {
			t.Errorf("%+v", p)
		}
	}
	if mean := sum / len(a); mean < 250_000 || mean > 350_000 {
		t.Errorf("pages have %d bytes on average, want some 300 kB", mean)
	}
}

func TestCompare(t *testing.T) {
	const ms = time.Millisecond
	alone := Summary{Bulk: &Bulk{Rate: 20e6}, Web: &Web{Median: 200 * ms}, Voip: &Voip{
		Down: Heard{P99: 22 * ms, MOS: 4.4}, Up: Heard{P99: 21 * ms, MOS: 4.4, Lost: 0.5}}}
	with := Summary{Bulk: &Bulk{Rate: 5e6}, Web: &Web{Median: 300 * ms}, Voip: &Voip{
		Down: Heard{P99: 220 * ms, MOS: 4.0}, Up: Heard{P99: 22 * ms, MOS: 3.9, Lost: 2.5}}}
	d := Compare(alone, with)
	if *d.Kept != 25 || *d.Page != 1.5 || *d.Delay != 198*ms || *d.Lost != 2 || *d.MOS < 0.499 || *d.MOS > 0.501 {
		t.Errorf("kept %v, page %v, delay %v, lost %v, MOS %v", *d.Kept, *d.Page, *d.Delay, *d.Lost, *d.MOS)
	}
	if d := Compare(alone, Summary{}); d != (Difference{}) {
		t.Errorf("nothing to compare with: %+v", d)
	}
}
