//go:build netns && linux

package foreground_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/p2pnode/p2pnode/testnet/foreground"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

// Who asks for the tag netns has to be root: this test doesn't skip. Its namespaces
// have names that testnet/scenario knows, and removes if a killed process leaves
// them behind.

// A branch with a deep modem, 20 Mbit/s and 200 ms of buffer each way.
const (
	deepModem  = "rate=20mbit delay=10ms buffer=200ms"
	branchAddr = "10.77.0.1"
	centreAddr = "10.77.0.2"
)

// TestNetUsersOfADeepModem measures the measure: users whose lot is known feel it.
// With P2PNODE_FOREGROUND=full it is the table of README.md.
func TestNetUsersOfADeepModem(t *testing.T) {
	branch := newLink(t)
	length := 8 * time.Second
	if os.Getenv("P2PNODE_FOREGROUND") == "full" {
		length = 30 * time.Second
	}
	play := func(kinds ...foreground.Kind) foreground.Summary {
		t.Helper()
		return branch.play(t, length, kinds)
	}
	bulk := play(foreground.KindBulk)
	web := play(foreground.KindWeb)
	call := play(foreground.KindVoip)
	webBeside := play(foreground.KindBulk, foreground.KindWeb)
	callBeside := play(foreground.KindBulk, foreground.KindVoip)

	var out bytes.Buffer
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tbulk Mbit/s\tpages\tmedian\tp95\tdelay p50\tp99\tjitter\tlost\tMOS\t")
	row(w, "bulk", bulk)
	row(w, "web", web)
	row(w, "voip", call)
	row(w, "bulk+web", webBeside)
	row(w, "bulk+voip", callBeside)
	w.Flush()
	t.Logf("%v each\n%s", length, out.String())

	// 1448 of 1500 bytes are payload, 96.5 %; a part of a short run is slow start.
	if share := bulk.Bulk.Rate / 20e6; share < 0.9 || share > 0.966 {
		t.Errorf("a download alone gets %.1f %% of the link, want 90 to 96.5", 100*share)
	}
	if c := call.Voip; c.Down.MOS < 4.2 || c.Up.MOS < 4.2 {
		t.Errorf("a call alone: down %v; up %v; want a MOS of 4.2", c.Down, c.Up)
	}
	// Before CUBIC takes less, the buffer was full once: 210 ms for whoever comes then.
	// What else the machine does makes delays longer, and so isn't judged.
	alone, beside := call.Voip.Down, callBeside.Voip.Down
	if beside.Most < 200*time.Millisecond || beside.MOS > alone.MOS-0.05 {
		t.Errorf("a call beside a download: %v, %v at most; alone: %v; want 200 ms at most, or more, and a worse MOS", beside, beside.Most, alone)
	}
	if up := callBeside.Voip.Up; up.MOS < 4.2 {
		t.Errorf("nothing but acknowledgements goes up, and of the call was heard there: %v", up)
	}
	d := foreground.Compare(web, webBeside)
	if d.Page == nil || *d.Page < 1.5 {
		t.Errorf("pages beside a download: %+v; alone: %+v; want half again the time", webBeside.Web, web.Web)
	}
}

func row(w *tabwriter.Writer, name string, s foreground.Summary) {
	cells := slices.Repeat([]string{""}, 9)
	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f ms", d.Seconds()*1000) }
	if s.Bulk != nil {
		cells[0] = fmt.Sprintf("%.2f", s.Bulk.Rate/1e6)
	}
	if p := s.Web; p != nil {
		copy(cells[1:], []string{fmt.Sprint(p.Pages), ms(p.Median), ms(p.P95)})
	}
	if s.Voip != nil {
		h := s.Voip.Down
		copy(cells[4:], []string{ms(h.Median), ms(h.P99), ms(h.Jitter), fmt.Sprintf("%.2f %%", h.Lost), fmt.Sprintf("%.2f", h.MOS)})
	}
	fmt.Fprintf(w, "%s\t%s\t\n", name, strings.Join(cells, "\t"))
}

// A link has the branch at one end and the data centre at the other, where users'
// server runs. Users are processes of their own, as people start them.
type link struct{ tool, branch string }

func newLink(t *testing.T) link {
	t.Helper()
	l := link{filepath.Join(t.TempDir(), "testnet"), fmt.Sprintf("p2pnode-%d-users-1", os.Getpid())}
	centre := fmt.Sprintf("p2pnode-%d-users-2", os.Getpid())
	command(t, "go", "build", "-o", l.tool, "..")
	for _, space := range []string{l.branch, centre} {
		command(t, "ip", "netns", "add", space)
		t.Cleanup(func() { command(t, "ip", "netns", "del", space) })
	}
	settings, err := wan.Parse(deepModem)
	if err != nil {
		t.Fatal(err)
	}
	e, err := wan.New(wan.Config{
		Ends:     [2]wan.End{{Space: l.branch, Device: "wan0"}, {Space: centre, Device: "wan0"}},
		Settings: [2]wan.Settings{settings, settings},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, e.Close()); err != nil {
			t.Error(err)
		}
	})
	command(t, "ip", "-n", l.branch, "addr", "add", branchAddr, "peer", centreAddr, "dev", "wan0")
	command(t, "ip", "-n", centre, "addr", "add", centreAddr, "peer", branchAddr, "dev", "wan0")
	l.serve(t, centre)
	return l
}

// serve starts the server, which ends with the test.
func (l link) serve(t *testing.T, space string) {
	t.Helper()
	cmd := exec.Command("ip", "netns", "exec", space, l.tool, "foreground", "serve", "--listen", centreAddr+":4799")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || !strings.Contains(line, "listening") {
		t.Fatalf("the server says %q, %v", line, err)
	}
}

func (l link) play(t *testing.T, length time.Duration, kinds []foreground.Kind) foreground.Summary {
	t.Helper()
	args := []string{"netns", "exec", l.branch, l.tool, "foreground", "run", "--json", "--server", centreAddr + ":4799", "--for", length.String()}
	for _, k := range kinds {
		args = append(args, "--"+string(k))
	}
	lines := strings.Split(strings.TrimSpace(command(t, "ip", args...)), "\n")
	var s foreground.Summary
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &s); err != nil || s.Type != "summary" {
		t.Fatalf("the last line is no summary: %s", lines[len(lines)-1])
	}
	return s
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	var said bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, said.String())
	}
	return string(out)
}
