package meter

import (
	"bytes"
	"testing"
	"time"
)

func TestPacketComesBack(t *testing.T) {
	for _, want := range []packet{
		{kind: asks, number: 1},
		{
			kind: answers, session: [sessionSize]byte{1, 2, 3, 4, 5, 6}, number: 1<<32 - 1,
			arrived: 123456789 * time.Microsecond, hold: maxHold * time.Microsecond,
		},
		{kind: answers, arrived: (1<<48 - 1) * time.Microsecond, hold: 0x12345 * time.Microsecond},
	} {
		b := append(want.append(nil), make([]byte, macSize)...)
		if got, ok := readPacket(b); !ok || got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func TestWindowTakesANumberOnce(t *testing.T) {
	var w window
	for _, c := range []struct {
		n    uint32
		want bool
	}{
		{0, false}, {1, true}, {1, false}, {3, true}, {2, true}, {2, false},
		{66, true}, {3, false}, {2, false}, {4, true}, {4, false}, {65, true},
		{500, true}, {437, true}, {436, false}, {66, false}, {1<<32 - 1, true}, {499, false},
	} {
		if got := w.fresh(c.n); got != c.want {
			t.Errorf("%d: %t", c.n, got)
		}
	}
}

func FuzzPacket(f *testing.F) {
	k := Key{1}
	s, err := newSigner(k, Opener)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s.sign(nil, packet{kind: asks, number: 1}))
	f.Add(s.sign(nil, packet{kind: answers, number: 7, arrived: time.Second, hold: time.Millisecond}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok := readPacket(b)
		if !ok {
			return
		}
		if again := p.append(nil); !bytes.Equal(again, b[:signed]) {
			t.Errorf("%x was read as %+v, which is written as %x", b, p, again)
		}
		if s.verified(b) && !bytes.Equal(s.sign(nil, p), b) {
			t.Errorf("%x passes for a packet that was signed", b)
		}
	})
}

func BenchmarkAnswer(b *testing.B) {
	w := newWire()
	k := NewKey()
	asker, _ := NewPort(w.ends[0], Config{})
	port, _ := NewPort(w.ends[1], Config{Rate: 1e9, PathRate: 1e9})
	ask := open(b, asker, k, Opener, w.ends[1].addrPort()).ask
	open(b, port, k, Accepter, w.ends[0].addrPort())
	var request, reply [PacketSize]byte
	b.ReportAllocs()
	for n := uint32(1); b.Loop(); n++ {
		if _, ok := port.receive(reply[:0], ask.sign(request[:0], packet{kind: asks, number: n}), w.ends[0].addr, port.clock()); !ok {
			b.Fatal("not answered")
		}
	}
}
