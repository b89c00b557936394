package foreground

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// window is the part of a call that one playout delay is chosen for.
const window = 5 * time.Second

// heard is what one side of a call has received.
type heard struct {
	delays  []time.Duration
	numbers []uint32 // of the packets that delays belong to
	jitter  jitter
	seen    map[uint32]bool
}

func (h *heard) add(number uint32, took time.Duration) {
	if h.seen == nil {
		h.seen = map[uint32]bool{}
	}
	if h.seen[number] {
		return // a copy
	}
	h.seen[number] = true
	h.delays, h.numbers = append(h.delays, took), append(h.numbers, number)
	h.jitter.add(took)
}

// opinion returns the mean over the windows of a call of so many packets, and that
// of the worst. Where only a sample of what was heard is known, lost is the share
// of the whole that wasn't; otherwise it is negative.
func (h *heard) opinion(sent int, lost float64) (mean, worst float64) {
	const each = int(window / packetTime)
	talks := make([]talk, max(1, (sent+each-1)/each))
	for i, n := range h.numbers {
		if w := int(n) / each; w < len(talks) {
			talks[w].delays = append(talks[w].delays, h.delays[i])
		}
	}
	worst = 5
	for i := range talks {
		talks[i].sent = min(each, sent-i*each)
		if lost >= 0 && lost < 1 {
			talks[i].sent = int(math.Round(float64(len(talks[i].delays)) / (1 - lost)))
		}
		o := talks[i].best()
		mean += o / float64(len(talks))
		worst = min(worst, o)
	}
	return mean, worst
}

// call talks until the time is over, and returns what was heard at this end and at
// the other.
func (c *client) call(ctx context.Context) (Voip, error) {
	conn, err := c.dial(ctx, "udp")
	if err != nil {
		return Voip{}, fmt.Errorf("call %s: %w", c.Server, err)
	}
	defer conn.Close()
	packets := int(c.For / packetTime)
	var (
		mu     sync.Mutex
		down   heard
		up     heard
		upSeen uint32 // packets that the server heard
	)
	listening, over := context.WithCancel(ctx)
	defer over()
	g, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(listening, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })()
	g.Go(func() error {
		return receive(conn, func(p packet) {
			mu.Lock()
			defer mu.Unlock()
			// The server hears of the end late, and talks on.
			if int(p.number) < packets {
				down.add(p.number, time.Since(p.sent))
			}
			if p.heard > upSeen {
				upSeen = p.heard
				up.add(p.last, p.took)
			}
			c.count(func(l *Line) { l.Packets, l.Delay = l.Packets+1, max(l.Delay, time.Since(p.sent)) })
		})
	})
	sent := 0
	g.Go(func() error {
		defer over()
		var err error
		if sent, err = speak(ctx, conn, packets); err != nil {
			return err
		}
		return pause(ctx, c.tail)
	})
	if err := g.Wait(); err != nil {
		return Voip{}, fmt.Errorf("call %s: %w", c.Server, err)
	}
	if len(down.delays) == 0 {
		return Voip{}, fmt.Errorf("call %s: nobody answered; is `testnet foreground serve` running there?", c.Server)
	}
	// Of what the server hears we learn the last packet each time it speaks.
	upLost := share(sent-int(upSeen), sent)
	return Voip{Packets: sent, Down: down.summary(sent, share(sent-len(down.delays), sent), -1), Up: up.summary(sent, upLost, upLost/100)}, nil
}

func (h *heard) summary(sent int, percentLost, sampleLost float64) Heard {
	mean, worst := h.opinion(sent, sampleLost)
	return Heard{
		Median: quantile(h.delays, 0.5), P99: quantile(h.delays, 0.99), Most: quantile(h.delays, 1),
		Jitter: h.jitter.mean, Lost: percentLost, MOS: mean, WorstMOS: worst,
	}
}

// share returns part of all in percent.
func share(part, all int) float64 {
	if all == 0 {
		return 0
	}
	return max(0, 100*float64(part)/float64(all))
}

// speak sends packets, one each packetTime by a schedule that doesn't drift. It
// returns how many it sent.
func speak(ctx context.Context, conn net.Conn, packets int) (sent int, err error) {
	start := time.Now()
	var buf []byte
	for sent < packets {
		buf = packet{number: uint32(sent), sent: time.Now()}.append(buf[:0])
		// A full buffer, or nobody there yet: as good as lost.
		if _, err := conn.Write(buf); errors.Is(err, net.ErrClosed) {
			return sent, err
		}
		sent++
		if err := pause(ctx, time.Until(start.Add(time.Duration(sent)*packetTime))); err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// receive hands on packets until the connection's deadline.
func receive(conn net.Conn, got func(packet)) error {
	buf := make([]byte, 2048)
	for {
		n, err := conn.Read(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			continue // "connection refused" of an earlier packet, say
		}
		if p, err := parsePacket(buf[:n]); err == nil {
			got(p)
		}
	}
}
