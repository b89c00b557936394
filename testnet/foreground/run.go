package foreground

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// A Kind is something that users do.
type Kind string

// Kinds.
const (
	KindBulk Kind = "bulk"
	KindWeb  Kind = "web"
	KindVoip Kind = "voip"
)

// Kinds lists every Kind.
var Kinds = []Kind{KindBulk, KindWeb, KindVoip}

// Config says what users do.
type Config struct {
	Server string // HOST:PORT
	Kinds  []Kind // each once
	For    time.Duration
	Seed   uint64 // of sizes and pauses
}

// Every is how often Run reports.
const Every = 250 * time.Millisecond

// A Line is what a kind did since the line before.
type Line struct {
	Type    string        `json:"type"` // "status"
	Kind    Kind          `json:"kind"`
	At      time.Duration `json:"at_ns"` // since the beginning
	Bytes   int64         `json:"bytes,omitempty"`
	Pages   int           `json:"pages,omitempty"`        // that were there
	Packets int           `json:"packets,omitempty"`      // that were heard
	Delay   time.Duration `json:"delay_max_ns,omitempty"` // the most of them
}

// A Summary is what users felt, of each kind that they did.
type Summary struct {
	Type string        `json:"type"` // "summary"
	For  time.Duration `json:"for_ns"`
	Seed uint64        `json:"seed"`
	Bulk *Bulk         `json:"bulk,omitempty"`
	Web  *Web          `json:"web,omitempty"`
	Voip *Voip         `json:"voip,omitempty"`
}

// Bulk is what a download got.
type Bulk struct {
	Bytes int64   `json:"bytes"`
	Rate  float64 `json:"bits_per_second"` // over the whole time
}

// Web is how long pages took.
type Web struct {
	Pages  int           `json:"pages"`
	Median time.Duration `json:"median_ns"`
	Mean   time.Duration `json:"mean_ns"`
	P95    time.Duration `json:"p95_ns"`
}

// Voip is a call: what was heard at this end (Down) and at the other (Up), of so
// many packets each way.
type Voip struct {
	Packets int   `json:"packets"`
	Down    Heard `json:"down"`
	Up      Heard `json:"up"` // of the packets that the other end could tell us of
}

// Heard is what one end of a call heard.
type Heard struct {
	Median   time.Duration `json:"delay_median_ns"` // one way
	P99      time.Duration `json:"delay_p99_ns"`
	Most     time.Duration `json:"delay_max_ns"`
	Jitter   time.Duration `json:"jitter_ns"` // RFC 3550, at the end
	Lost     float64       `json:"lost_percent"`
	MOS      float64       `json:"mos"`       // 1 to 4.5, mean over 5 s each
	WorstMOS float64       `json:"mos_worst"` // of these
}

// String says it for people.
func (h Heard) String() string {
	return fmt.Sprintf("delay %v median, %v p99; jitter %v; %.2f %% lost; MOS %.2f, at worst %.2f",
		h.Median.Round(100*time.Microsecond), h.P99.Round(100*time.Microsecond), h.Jitter.Round(100*time.Microsecond), h.Lost, h.MOS, h.WorstMOS)
}

func (cfg Config) check() error {
	if len(cfg.Kinds) == 0 {
		return errors.New("nothing to do: want at least one of bulk, web, voip")
	}
	for i, k := range cfg.Kinds {
		if !slices.Contains(Kinds, k) || slices.Contains(cfg.Kinds[:i], k) {
			return fmt.Errorf("%q: want bulk, web, voip, each once", k)
		}
	}
	if cfg.For < packetTime {
		return fmt.Errorf("for %v: want %v or more", cfg.For, packetTime)
	}
	return nil
}

// A client is one run.
type client struct {
	Config
	dial func(ctx context.Context, network string) (net.Conn, error)
	tail time.Duration // how long a call listens for what is still under way when it is over

	count func(func(*Line)) // into the line of the kind
}

// Run lets users do what cfg says, tells report (which may be nil) of it each Every,
// kind by kind, and returns what they felt. It fails if there is no server; what a
// bad link does to them is what it is there to tell.
func Run(ctx context.Context, cfg Config, report func(Line)) (Summary, error) {
	if err := cfg.check(); err != nil {
		return Summary{}, fmt.Errorf("play foreground traffic: %w", err)
	}
	const tail = 2 * time.Second
	return run(ctx, cfg, tail, func(ctx context.Context, network string) (net.Conn, error) {
		return (&net.Dialer{Timeout: pageTimeout}).DialContext(ctx, network, cfg.Server)
	}, report)
}

func run(ctx context.Context, cfg Config, tail time.Duration, dial func(context.Context, string) (net.Conn, error), report func(Line)) (Summary, error) {
	s := Summary{Type: "summary", For: cfg.For, Seed: cfg.Seed}
	var told tally
	done, stop := context.WithCancel(ctx)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	for _, kind := range cfg.Kinds {
		c := &client{cfg, dial, tail, func(f func(*Line)) { told.add(kind, f) }}
		g.Go(func() error {
			if err := c.play(ctx, kind, &s); err != nil {
				return fmt.Errorf("play foreground traffic: %s: %w", kind, err)
			}
			return nil
		})
	}
	var reporting sync.WaitGroup
	reporting.Go(func() { told.report(done, cfg.Kinds, report) })
	err := g.Wait()
	stop()
	reporting.Wait()
	return s, err
}

// play does one kind. Each has a field of the summary of its own.
func (c *client) play(ctx context.Context, kind Kind, s *Summary) error {
	switch kind {
	case KindBulk:
		bytes, err := c.download(ctx)
		s.Bulk = &Bulk{bytes, float64(bytes) * 8 / c.For.Seconds()}
		return err
	case KindWeb:
		times, err := c.browse(ctx)
		var sum time.Duration
		for _, t := range times {
			sum += t
		}
		s.Web = &Web{len(times), quantile(times, 0.5), sum / time.Duration(max(1, len(times))), quantile(times, 0.95)}
		return err
	default:
		v, err := c.call(ctx)
		s.Voip = &v
		return err
	}
}

// A tally has what happened since the last report.
type tally struct {
	mu    sync.Mutex
	lines map[Kind]*Line
}

func (t *tally) add(kind Kind, f func(*Line)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(t.line(kind))
}

func (t *tally) line(kind Kind) *Line {
	if t.lines == nil {
		t.lines = map[Kind]*Line{}
	}
	if t.lines[kind] == nil {
		t.lines[kind] = &Line{}
	}
	return t.lines[kind]
}

func (t *tally) report(ctx context.Context, kinds []Kind, report func(Line)) {
	start := time.Now()
	for n := 1; ; n++ {
		if pause(ctx, time.Until(start.Add(time.Duration(n)*Every))) != nil {
			return
		}
		for _, k := range kinds {
			t.mu.Lock()
			l := *t.line(k)
			*t.line(k) = Line{}
			t.mu.Unlock()
			l.Type, l.Kind, l.At = "status", k, time.Duration(n)*Every
			if report != nil {
				report(l)
			}
		}
	}
}

// String says it for people, a line for each kind.
func (s Summary) String() string {
	var b strings.Builder
	if s.Bulk != nil {
		fmt.Fprintf(&b, "bulk  %.2f Mbit/s, %.1f MB in %v\n", s.Bulk.Rate/1e6, float64(s.Bulk.Bytes)/1e6, s.For)
	}
	if s.Web != nil {
		fmt.Fprintf(&b, "web   %d pages, %v median, %v mean, %v p95\n", s.Web.Pages, s.Web.Median.Round(time.Millisecond), s.Web.Mean.Round(time.Millisecond), s.Web.P95.Round(time.Millisecond))
	}
	if s.Voip != nil {
		fmt.Fprintf(&b, "voip  down: %v\n      up: %v\n", s.Voip.Down, s.Voip.Up)
	}
	return b.String()
}
