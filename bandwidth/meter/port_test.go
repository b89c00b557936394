package meter

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// between runs f with two ports on a wire and a path of either side.
func between(t *testing.T, cfg Config, f func(t *testing.T, w *wire, a, b *Path)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		pa := run(t, w.ends[0], cfg)
		time.Sleep(time.Hour) // so that the clocks differ
		pb := run(t, w.ends[1], cfg)
		k := NewKey()
		f(t, w, open(t, pa, k, Opener, w.ends[1].addrPort()), open(t, pb, k, Accepter, w.ends[0].addrPort()))
	})
}

func probe(t *testing.T, p *Path) {
	t.Helper()
	if err := p.Probe(); err != nil {
		t.Fatal(err)
	}
}

func TestProbeTellsBothWays(t *testing.T) {
	between(t, Config{}, func(t *testing.T, w *wire, a, b *Path) {
		w.ends[0].set(30*time.Millisecond, nil)
		w.ends[1].set(10*time.Millisecond, nil)
		for range 2 {
			probe(t, a)
			probe(t, b)
			time.Sleep(time.Second)
			w.ends[1].set(25*time.Millisecond, nil) // a queue from b to a
		}
		sa, lost := a.Take(nil)
		if len(sa) != 2 || lost != 0 {
			t.Fatalf("a took %v, %d lost", sa, lost)
		}
		if sa[0].RoundTrip != 40*time.Millisecond || sa[1].RoundTrip != 55*time.Millisecond {
			t.Errorf("round trips of a: %v", sa)
		}
		if d := sa[1].There - sa[0].There; d != 0 {
			t.Errorf("the way there changed by %v", d)
		}
		if d := sa[1].Back - sa[0].Back; d != 15*time.Millisecond {
			t.Errorf("the way back changed by %v, want 15ms", d)
		}
		sb, _ := b.Take(nil)
		if len(sb) != 2 || sb[1].There-sb[0].There != 15*time.Millisecond {
			t.Errorf("b took %v", sb)
		}
		if again, _ := a.Take(nil); len(again) != 0 {
			t.Errorf("took %v twice", again)
		}
	})
}

func TestProbesThatAreLostAreCounted(t *testing.T) {
	between(t, Config{}, func(t *testing.T, w *wire, a, _ *Path) {
		rng := rand.New(rand.NewPCG(1, 2))
		var mu sync.Mutex // both ends ask
		wantLost := 0
		lose := func([]byte) bool {
			mu.Lock()
			defer mu.Unlock()
			if rng.IntN(5) > 0 {
				return false
			}
			wantLost++
			return true
		}
		w.ends[0].set(20*time.Millisecond, lose)
		w.ends[1].set(20*time.Millisecond, lose)
		const probes = 2000
		var samples []Sample
		lost := 0
		for range probes {
			probe(t, a)
			time.Sleep(10 * time.Millisecond)
			var l int
			samples, l = a.Take(samples)
			lost += l
		}
		time.Sleep(5 * time.Second)
		samples, l := a.Take(samples)
		lost += l
		mu.Lock()
		defer mu.Unlock()
		if lost != wantLost || len(samples)+lost != probes {
			t.Errorf("%d samples and %d lost of %d, want %d lost", len(samples), lost, probes, wantLost)
		}
	})
}

func TestAnswerThatComesTooLateIsALoss(t *testing.T) {
	between(t, Config{Patience: time.Second}, func(t *testing.T, w *wire, a, _ *Path) {
		w.ends[1].set(1100*time.Millisecond, nil)
		probe(t, a)
		time.Sleep(2 * time.Second)
		if s, lost := a.Take(nil); len(s) != 0 || lost != 1 {
			t.Errorf("took %v, %d lost", s, lost)
		}
	})
}

func TestMoreProbesThanAreRememberedAreLost(t *testing.T) {
	between(t, Config{}, func(t *testing.T, w *wire, a, _ *Path) {
		w.ends[0].set(0, func([]byte) bool { return true })
		for range inFlight + 7 {
			probe(t, a)
		}
		time.Sleep(4 * time.Second)
		if s, lost := a.Take(nil); len(s) != 0 || lost != inFlight+7 {
			t.Errorf("took %d, %d lost, want %d", len(s), lost, inFlight+7)
		}
	})
}

func TestAnswerIsNeverLongerThanItsRequest(t *testing.T) {
	between(t, Config{}, func(t *testing.T, w *wire, a, _ *Path) {
		probe(t, a)
		time.Sleep(time.Second)
		asked, answered := w.ends[0].packets(), w.ends[1].packets()
		if len(asked) != 1 || len(answered) != 1 || len(answered[0]) != len(asked[0]) || len(asked[0]) != PacketSize {
			t.Errorf("asked %x, answered %x", asked, answered)
		}
	})
}

// What a stranger on the path can do with the packets that it sees.
func TestStrangerGetsNothing(t *testing.T) {
	for _, c := range []struct {
		name  string
		forge func(request []byte) []byte
	}{
		{"repeats a request", func(b []byte) []byte { return b }},
		{"numbers it anew", func(b []byte) []byte { b[10]++; return b }},
		{"changes the code", func(b []byte) []byte { b[PacketSize-1]++; return b }},
		{"names another session", func(b []byte) []byte { b[3]++; return b }},
		{"cuts it", func(b []byte) []byte { return b[:PacketSize-1] }},
		{"lengthens it", func(b []byte) []byte { return append(b, 0) }},
		{"sends nothing", func([]byte) []byte { return nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			between(t, Config{}, func(t *testing.T, w *wire, a, b *Path) {
				probe(t, a)
				time.Sleep(time.Second)
				w.ends[1].inject(c.forge(slices.Clone(w.ends[0].packets()[0])), w.ends[0].addr)
				time.Sleep(time.Second)
				if n := len(w.ends[1].packets()); n != 1 {
					t.Errorf("answered %d times", n)
				}
				if n := b.port.Dropped(); n != 1 {
					t.Errorf("dropped %d, want 1", n)
				}
			})
		})
	}
}

func TestRequestFromAnotherAddressIsNotAnswered(t *testing.T) {
	between(t, Config{}, func(t *testing.T, w *wire, a, b *Path) {
		w.ends[0].set(0, func([]byte) bool { return true })
		probe(t, a)
		request := w.ends[0].packets()[0]
		w.ends[1].inject(request, &net.UDPAddr{IP: net.IPv4(10, 0, 0, 9), Port: 4001})
		time.Sleep(time.Second)
		if n := len(w.ends[1].packets()); n != 0 {
			t.Fatalf("answered another address")
		}
		// It didn't use up the number, and the port is free to change.
		w.ends[1].inject(request, &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1})
		time.Sleep(time.Second)
		if n := len(w.ends[1].packets()); n != 1 {
			t.Errorf("answered %d times, want 1", n)
		}
	})
}

// A request that is turned back to its sender must not pass for the peer's.
func TestPacketsThatAreTurnedBackAreDropped(t *testing.T) {
	between(t, Config{}, func(t *testing.T, w *wire, a, _ *Path) {
		probe(t, a)
		time.Sleep(time.Second)
		w.ends[0].inject(w.ends[0].packets()[0], w.ends[1].addr)
		w.ends[1].inject(w.ends[1].packets()[0], w.ends[0].addr)
		time.Sleep(time.Second)
		if len(w.ends[0].packets()) != 1 || len(w.ends[1].packets()) != 1 {
			t.Error("answered a packet that was turned back")
		}
		if s, _ := a.Take(nil); len(s) != 1 {
			t.Errorf("took %v", s)
		}
	})
}

func TestForgedOrRepeatedAnswerIsNoSample(t *testing.T) {
	for name, forge := range map[string]func(b []byte) []byte{
		"repeated": func(b []byte) []byte { return b },
		"number":   func(b []byte) []byte { b[10]++; return b },
	} {
		t.Run(name, func(t *testing.T) {
			between(t, Config{}, func(t *testing.T, w *wire, a, b *Path) {
				probe(t, a)
				time.Sleep(time.Second)
				a.Take(nil)
				w.ends[0].set(0, func([]byte) bool { return true })
				probe(t, a) // waits, so that the number is one that is asked for
				w.ends[0].inject(forge(slices.Clone(w.ends[1].packets()[0])), w.ends[1].addr)
				time.Sleep(time.Second)
				if s, _ := a.Take(nil); len(s) != 0 {
					t.Errorf("took %v", s)
				}
			})
		})
	}
}

func TestHoldLongerThanTheRoundTripIsALie(t *testing.T) {
	between(t, Config{}, func(t *testing.T, w *wire, a, b *Path) {
		w.ends[0].set(0, func([]byte) bool { return true })
		for _, hold := range []time.Duration{time.Second + time.Microsecond, time.Second} {
			probe(t, a)
			time.Sleep(time.Second)
			w.ends[0].inject(b.reply.sign(nil, packet{kind: answers, number: a.newest, hold: hold}), w.ends[1].addr)
		}
		time.Sleep(time.Second)
		if s, _ := a.Take(nil); len(s) != 1 || s[0].RoundTrip != 0 || s[0].Hold != time.Second {
			t.Errorf("took %v, want the one that is possible", s)
		}
	})
}

func TestAnswersHaveALimit(t *testing.T) {
	between(t, Config{PathRate: 50}, func(t *testing.T, w *wire, a, _ *Path) {
		for range 1000 {
			probe(t, a)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		// 50 in the second, and the burst of 5.
		if n := len(w.ends[1].packets()); n < 50 || n > 56 {
			t.Errorf("answered %d of 1000 in a second, want about 55", n)
		}
	})
}

func TestClosedPathIsSilent(t *testing.T) {
	between(t, Config{}, func(t *testing.T, w *wire, a, b *Path) {
		b.Close()
		probe(t, a)
		time.Sleep(time.Second)
		if n := len(w.ends[1].packets()); n != 0 {
			t.Errorf("answered %d times", n)
		}
		a.Close()
		if len(a.port.sessions) != 0 || len(b.port.sessions) != 0 {
			t.Error("a session is left")
		}
	})
}

func TestRunClosesTheSocketOnce(t *testing.T) {
	for name, end := range map[string]func(cancel func(), e *end){
		"when it is told to end": func(cancel func(), _ *end) { cancel() },
		"when the socket fails":  func(_ func(), e *end) { e.fails <- errors.New("no network") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newWire().ends[0]
				p, err := NewPort(e, Config{})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				done := make(chan error, 1)
				go func() { done <- p.Run(ctx) }()
				synctest.Wait()
				end(cancel, e)
				err = <-done
				cancel()
				synctest.Wait()
				if told := name == "when it is told to end"; told != (err == nil) {
					t.Errorf("Run: %v", err)
				}
				if e.closed != 1 {
					t.Errorf("closed %d times", e.closed)
				}
			})
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	p, err := NewPort(newWire().ends[0], Config{Paths: 2})
	if err != nil {
		t.Fatal(err)
	}
	peer := netip.MustParseAddrPort("10.0.0.2:4001")
	k := NewKey()
	open(t, p, k, Opener, peer)
	for name, f := range map[string]func() error{
		"the same key":    func() error { _, err := p.Open(k, Accepter, peer); return err },
		"no side":         func() error { _, err := p.Open(NewKey(), 0, peer); return err },
		"no address":      func() error { _, err := p.Open(NewKey(), Opener, netip.AddrPort{}); return err },
		"a bound below 0": func() error { _, err := NewPort(nil, Config{Rate: -1}); return err },
	} {
		if f() == nil {
			t.Errorf("%s passed", name)
		}
	}
	open(t, p, NewKey(), Opener, peer)
	if _, err := p.Open(NewKey(), Opener, peer); !errors.Is(err, ErrFull) {
		t.Errorf("a third path: %v", err)
	}
}

// loopback returns a path between two real sockets.
func loopback(t testing.TB) *Path {
	t.Helper()
	listen := func() *net.UDPConn {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	ca, cb := listen(), listen()
	to, from := cb.LocalAddr().(*net.UDPAddr).AddrPort(), ca.LocalAddr().(*net.UDPAddr).AddrPort()
	cfg := Config{Rate: 1e9, PathRate: 1e9}
	pa, pb := run(t, ca, cfg), run(t, cb, cfg)
	k := NewKey()
	open(t, pb, k, Accepter, from)
	return open(t, pa, k, Opener, to)
}

func TestProbeOverLoopback(t *testing.T) {
	a := loopback(t)
	probe(t, a)
	var samples []Sample
	for len(samples) == 0 {
		var lost int
		if samples, lost = a.Take(samples); lost > 0 {
			t.Fatal("lost on loopback")
		}
		time.Sleep(time.Millisecond)
	}
	s := samples[0]
	if s.RoundTrip < 0 || s.Hold < 0 || s.There+s.Back > s.RoundTrip+2*time.Microsecond || s.There+s.Back < s.RoundTrip-2*time.Microsecond {
		t.Errorf("the ways don't add up: %+v", s)
	}
}

// Both ends: what a probe costs an asker and an answerer together.
func BenchmarkProbe(b *testing.B) {
	a := loopback(b)
	var samples []Sample
	for b.Loop() {
		if err := a.Probe(); err != nil {
			b.Fatal(err)
		}
		lost := 0
		for samples = samples[:0]; len(samples) == 0; runtime.Gosched() {
			if samples, lost = a.Take(samples); lost > 0 {
				b.Fatal("lost on loopback")
			}
		}
	}
}
