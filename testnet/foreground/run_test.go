package foreground

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// slow passes on up to 32 KiB, as io.Copy does, each 10 ms: 26 Mbit/s, and time goes
// on.
type slow struct{ net.Conn }

func (s slow) Write(b []byte) (int, error) {
	sent := 0
	for sent < len(b) {
		time.Sleep(10 * time.Millisecond)
		n, err := s.Conn.Write(b[sent:min(len(b), sent+32<<10)])
		sent += n
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// A lab is a server at the end of pipes. Every packet of a call takes delay, and of
// those of the server each one in 10 is lost.
type lab struct {
	delay   time.Duration
	serving errgroup.Group
	ctx     context.Context
}

func (l *lab) dial(_ context.Context, network string) (net.Conn, error) {
	here, there := net.Pipe()
	if network == "tcp" {
		l.serving.Go(func() error { attend(l.ctx, slow{there}); return nil })
		return here, nil
	}
	r := &ring{at: time.Now()}
	l.serving.Go(func() error {
		defer there.Close()
		stop := context.AfterFunc(l.ctx, func() { _ = there.SetDeadline(time.Unix(1, 0)) })
		defer stop()
		return receive(there, func(p packet) {
			p.sent = p.sent.Add(-l.delay)
			r.hear(p)
		})
	})
	l.serving.Go(func() error {
		n := 0
		r.talk(l.ctx, func(b []byte) {
			if n++; n%10 == 5 {
				return
			}
			p, err := parsePacket(b)
			if err != nil {
				panic(err) // our own
			}
			p.sent = p.sent.Add(-l.delay)
			_, _ = there.Write(p.append(nil))
		})
		return nil
	})
	return here, nil
}

// All kinds at once, for a minute of virtual time: each tells what the lab did to it.
func TestUsersTellWhatTheyFelt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		l := &lab{delay: 30 * time.Millisecond, ctx: ctx}
		var lines []Line
		s, err := run(ctx, Config{Kinds: Kinds, For: time.Minute, Seed: 1}, 2*time.Second, l.dial, func(l Line) { lines = append(lines, l) })
		stop()
		if werr := l.serving.Wait(); err != nil || werr != nil {
			t.Fatal(err, werr)
		}
		if s.Bulk.Rate < 26e6 || s.Bulk.Rate > 26.5e6 {
			t.Errorf("bulk got %.1f Mbit/s, want 26.2", s.Bulk.Rate/1e6)
		}
		if s.Web.Pages < 30 || s.Web.Median < 20*time.Millisecond || s.Web.Median > time.Second || s.Web.P95 < s.Web.Median {
			t.Errorf("web: %+v", s.Web)
		}
		v := s.Voip
		if v.Packets != 3000 || v.Down.Median != 30*time.Millisecond || v.Up.Most != 30*time.Millisecond || v.Down.Jitter != 0 {
			t.Errorf("voip: %+v", v)
		}
		if v.Up.Lost != 0 || v.Down.Lost < 9 || v.Down.Lost > 11 {
			t.Errorf("lost %.1f %% up and %.1f %% down, want 0 and 10", v.Up.Lost, v.Down.Lost)
		}
		if v.Down.MOS > 3.5 || v.Down.WorstMOS > v.Down.MOS {
			t.Errorf("with a tenth lost the call is still %.2f, at worst %.2f", v.Down.MOS, v.Down.WorstMOS)
		}
		var bytes int64
		for _, l := range lines {
			if l.Kind == KindBulk {
				bytes += l.Bytes
			}
		}
		if len(lines) < 3*200 || bytes > s.Bulk.Bytes || bytes < s.Bulk.Bytes*99/100 {
			t.Errorf("%d lines say %d bytes, the summary %d", len(lines), bytes, s.Bulk.Bytes)
		}
	})
}

// Whoever stops it in the middle gets no figures, and nothing stays behind.
func TestRunEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
		defer stop()
		l := &lab{ctx: ctx}
		start := time.Now()
		_, err := run(ctx, Config{Kinds: Kinds, For: time.Hour, Seed: 1}, 0, l.dial, nil)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 11*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		_ = l.serving.Wait()
	})
}

// Over real sockets, for a few packets.
func TestServerAnswers(t *testing.T) {
	s, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	dial := func(ctx context.Context, network string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, s.Addr())
	}
	sum, err := run(ctx, Config{Kinds: []Kind{KindVoip}, For: 100 * time.Millisecond, Seed: 1}, 100*time.Millisecond, dial, nil)
	if err != nil {
		t.Fatal(err)
	}
	if sum.Voip.Packets != 5 {
		t.Errorf("%+v", sum.Voip)
	}
	// A download goes on until it is told to stop: here, after its first bytes.
	bulk, enough := context.WithCancel(ctx)
	c := &client{Config: Config{Server: s.Addr(), For: time.Hour}, dial: dial, count: func(func(*Line)) { enough() }}
	if n, err := c.download(bulk); n == 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d bytes, %v", n, err)
	}
	c.count = func(func(*Line)) {}
	if err := c.load(ctx, page{document: 100_000, objects: []int{1, 0, 20_000}}); err != nil {
		t.Error(err)
	}
}

// A server that was closed under it ends, and doesn't ask a dead socket for ever.
func TestServeEndsWhenItIsClosed(t *testing.T) {
	s, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v, want %v", err, net.ErrClosed)
	}
}

// Nor does it wait for a download that nobody would end.
func TestServeEndsBesideADownloadWhenItCanAcceptNoMore(t *testing.T) {
	s, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(t.Context()) }()
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(verbBulk + "\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := s.tcp.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-served; !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v, want %v", err, net.ErrClosed)
	}
}

// On a link that is bad enough not even the first page is there in time: that is what
// users felt, and no error.
func TestAFirstPageThatHaltsIsOneInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var serving sync.WaitGroup
		defer serving.Wait()
		dial := func(context.Context, string) (net.Conn, error) {
			here, there := net.Pipe()
			serving.Go(func() {
				defer there.Close()
				buf := make([]byte, maxLine)
				_, _ = there.Read(buf)
				_, _ = there.Write(buf[:10])
				_, _ = there.Read(buf) // until the other end hangs up
			})
			return here, nil
		}
		s, err := run(t.Context(), Config{Kinds: []Kind{KindWeb}, For: time.Second, Seed: 1}, 0, dial, nil)
		if err != nil || s.Web.Pages != 1 || s.Web.Median != pageTimeout {
			t.Errorf("%v, %+v: want one page after %v", err, s.Web, pageTimeout)
		}
	})
}

func TestRunSaysWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{For: time.Second}, "nothing to do"},
		{Config{Kinds: []Kind{"fax"}, For: time.Second}, "want bulk, web, voip"},
		{Config{Kinds: []Kind{KindWeb, KindWeb}, For: time.Second}, "each once"},
		{Config{Kinds: Kinds}, "or more"},
	} {
		if _, err := Run(t.Context(), c.cfg, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.cfg, err, c.want)
		}
	}
	// Nobody listens on a port that was just given back.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, k := range []Kind{KindBulk, KindWeb} {
		if _, err := Run(t.Context(), Config{Server: addr, Kinds: []Kind{k}, For: time.Second}, nil); err == nil {
			t.Errorf("%s: nobody is there, and it passes", k)
		}
	}
}
