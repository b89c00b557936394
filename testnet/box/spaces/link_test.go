//go:build netns && linux

package spaces

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/box/boxtest"
	"github.com/p2pnode/p2pnode/testnet/scenario"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

// A bulk transfer over a link gets what the link has, and what the link has
// counted is what the machines' interfaces have: no packet is too large for it,
// and none appears or goes between them.
func TestNetBulkTransferGetsAndCountsAll(t *testing.T) {
	const (
		size  = 30_000_000
		rate  = 100 * bandwidth.MbitPerSecond
		tries = 8 // the rate is the link's; how busy the machine is isn't
	)
	plan := box.Plan{Branches: 1, Peers: 1, Down: wan.Settings{Rate: rate}, Up: wan.Settings{Rate: rate}}
	e := made(t, plan, t.TempDir())
	defer closed(t, e)
	to := box.Endpoint(box.Branch(0), 1)
	best := 0.0
	for range tries {
		a, err := boxtest.Send(t.Context(), e, box.Publisher, to, size)
		if err != nil {
			t.Fatal(err)
		}
		got := float64(a.Bytes) * 8 / a.Elapsed.Seconds() / float64(rate)
		best = max(best, got)
		t.Logf("%.1f%% of the link's rate", 100*got)
		if a.Bytes != size {
			t.Fatalf("%d bytes arrived of %d", a.Bytes, size)
		}
		if got > 0.966 {
			t.Errorf("%.1f%% of the link's rate is more than fits beside headers", 100*got)
		}
		if best >= 0.94 {
			break
		}
	}
	host, late := e.byName[to].host, int64(0)
	for d, field := range []int{box.Up: sentField, box.Down: receivedField} {
		counts := settled(t, e.Link(box.Branch(0)), box.Direction(d))
		c := counts.Classes[1].Count // foreground
		carried := c.Delivered
		if box.Direction(d) == box.Up {
			carried = c.Offered
		}
		if counts.Missed+counts.Refused > 0 || counts.Classes[0].Offered.Packets+counts.Classes[2].Offered.Packets > 0 {
			t.Errorf("%d: %+v", d, counts)
		}
		late += counts.Late
		// Beside them there are packets that don't leave the LAN: ARP, IGMP.
		got := interfaceCounts(t, host, field)
		packets, bytes := got.Packets-carried.Packets, got.Bytes-carried.Bytes
		if packets < 0 || packets > 40 || bytes < 28*packets || bytes > 60*packets {
			t.Errorf("%d: the link carried %+v, the machine's interface %+v", d, carried, got)
		}
	}
	switch {
	case best >= 0.94:
	case late > 0:
		t.Logf("%d packets were late: this machine is too busy to show the rate", late)
	default:
		t.Errorf("%.1f%% of the link's rate at best, want 94%%", 100*best)
	}
}

// Fields of a line in /proc/net/dev, and what comes before an IP packet there.
const (
	receivedField = 0
	sentField     = 8
	ethernet      = 14
)

func interfaceCounts(t *testing.T, h *host, field int) wan.Tally {
	t.Helper()
	text, err := scenario.Command(t.Context(), h.space, "cat", "/proc/net/dev").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		name, figures, _ := strings.Cut(line, ":")
		if strings.TrimSpace(name) != h.port.Device() {
			continue
		}
		f := strings.Fields(figures)
		bytes, err1 := strconv.ParseInt(f[field], 10, 64)
		packets, err2 := strconv.ParseInt(f[field+1], 10, 64)
		if err1 != nil || err2 != nil {
			t.Fatal(line)
		}
		return wan.Tally{Packets: packets, Bytes: bytes - ethernet*packets}
	}
	t.Fatalf("no %s in\n%s", h.port.Device(), text)
	return wan.Tally{}
}

// settled returns the counts of a link once nothing is under way on it.
func settled(t *testing.T, l box.Link, d box.Direction) wan.Counts {
	t.Helper()
	for {
		counts, err := l.Counts(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		var under int64
		for _, c := range counts.Classes {
			under += c.Offered.Packets - c.Delivered.Packets - c.Full.Packets - c.Lost.Packets - c.Out.Packets
		}
		if under == 0 {
			return counts
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func closed(t *testing.T, e *Enterprise) {
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}
