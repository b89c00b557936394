package play

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/p2pnode/p2pnode/testnet/box"
)

func TestFeltIsReadFromTheLastLine(t *testing.T) {
	f, err := parseFelt(`{"type":"status","kind":"voip","at_ns":250000000}
{"type":"summary","for_ns":1000000000,"bulk":{"bytes":1,"bits_per_second":8e6},"web":{"pages":3,"median_ns":200000000},"voip":{"packets":50,"down":{"delay_p99_ns":30000000,"lost_percent":1.5,"mos":4.1}}}
`)
	want := Felt{Rate: 8e6, Page: 200 * time.Millisecond, Pages: 3, Delay: 30 * time.Millisecond, Lost: 1.5, MOS: 4.1}
	if err != nil || f != want {
		t.Errorf("%+v, %v; want %+v", f, err, want)
	}
	for _, bad := range []string{"", "x", `{"type":"status"}`, `{"type":"summary"`} {
		if _, err := parseFelt(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

// A server that ends, or says nothing, holds nobody up, and what it said is told.
func TestServersThatDoNotListenAreToldAndEnded(t *testing.T) {
	for how, want := range map[string]string{"dying": "the port is taken", "mute": context.Canceled.Error()} {
		ctx, cancel := context.WithCancel(t.Context())
		if how == "mute" {
			cancel()
		}
		serving, stop := context.WithCancel(t.Context())
		cmd := exec.CommandContext(serving, os.Args[0], how)
		err := NewTools(box.Plan{Branches: 1, Peers: 1}).listening(ctx, cmd, stop)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", how, err, want)
		}
		if cmd.ProcessState == nil {
			t.Errorf("%s: it still runs", how)
		}
		cancel()
	}
}
