package play

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"time"

	"github.com/p2pnode/p2pnode/testnet/box"
)

// Load implements Hands: `testnet foreground serve` on the machine of server, which
// goes on until Close, and `testnet foreground run` on that of client.
func (t *Tools) Load(ctx context.Context, server, client box.Node, kind string, length time.Duration) (Felt, error) {
	addr, err := t.serve(ctx, server)
	if err != nil {
		return Felt{}, err
	}
	text, err := tool(ctx, client, "foreground", "run", "--json", "--server", addr, "--for", length.String(), "--"+kind)
	if err != nil {
		return Felt{}, err
	}
	return parseFelt(text)
}

// starts is how long a server of the load generator may take until it listens.
const starts = 30 * time.Second

// serve starts the load generator's server on a machine unless it runs, and returns
// its address.
func (t *Tools) serve(ctx context.Context, n box.Node) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	addr := netip.AddrPortFrom(t.addrs[n.Name()], box.ForegroundPort).String()
	if t.servers[n.Name()] != nil {
		return addr, nil
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx)) // it outlives this load
	cmd := n.Tool(serving, "foreground", "serve", "--listen", addr)
	if err := t.listening(ctx, cmd, stop); err != nil {
		return "", fmt.Errorf("%s: testnet foreground serve: %w", n.Name(), err)
	}
	t.servers[n.Name()] = stop
	return addr, nil
}

// listening starts a server and returns once it listens, which its first line says. One
// that doesn't in time is stopped.
func (t *Tools) listening(ctx context.Context, cmd *exec.Cmd, stop func()) error {
	var said bytes.Buffer // to be read once it ended
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		stop()
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, starts)
	defer cancel()
	defer context.AfterFunc(ctx, stop)()
	if _, err = bufio.NewReader(out).ReadString('\n'); err == nil {
		t.ended.Go(func() { _ = cmd.Wait() }) // it is ended by Close
		return nil
	}
	stop()
	_ = cmd.Wait() // what it wrote says more
	return fmt.Errorf("it ended before it listened: %w\n%s", errors.Join(err, ctx.Err()), &said)
}

// parseFelt reads what a run of the load generator wrote: its last line is the summary.
func parseFelt(text string) (Felt, error) {
	text = strings.TrimSpace(text)
	last := text[strings.LastIndexByte(text, '\n')+1:]
	var s struct {
		Type string `json:"type"`
		Bulk struct {
			Rate float64 `json:"bits_per_second"`
		} `json:"bulk"`
		Web struct {
			Pages  int           `json:"pages"`
			Median time.Duration `json:"median_ns"`
		} `json:"web"`
		Voip struct {
			Down struct {
				P99  time.Duration `json:"delay_p99_ns"`
				Lost float64       `json:"lost_percent"`
				MOS  float64       `json:"mos"`
			} `json:"down"`
		} `json:"voip"`
	}
	if err := json.Unmarshal([]byte(last), &s); err != nil || s.Type != "summary" {
		return Felt{}, fmt.Errorf("foreground traffic: its last line is no summary: %q", last)
	}
	return Felt{Rate: s.Bulk.Rate, Page: s.Web.Median, Pages: s.Web.Pages, Delay: s.Voip.Down.P99, Lost: s.Voip.Down.Lost, MOS: s.Voip.Down.MOS}, nil
}
