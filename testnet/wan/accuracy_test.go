//go:build netns && linux

package wan

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"
)

// TestAccuracy prints what iperf3 and ping measure beside what was asked. With
// P2PNODE_WAN=full that is the whole table, which takes half an hour and a machine
// that does nothing else; otherwise one line of it. CI has no iperf3 and doesn't
// run it.
func TestAccuracy(t *testing.T) {
	cells := []cell{{20, 20, 1, 20}}
	if os.Getenv("P2PNODE_WAN") == "full" {
		cells = nil
		for _, rate := range []int{2, 20, 100} {
			for _, delay := range []int{0, 20, 300} {
				for _, loss := range []int{0, 1, 5} {
					for _, buffer := range []int{20, 500} {
						cells = append(cells, cell{rate, delay, loss, buffer})
					}
				}
			}
		}
	}
	var out bytes.Buffer
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "asked: Mbit/s\tms\tloss\tbuffer ms\tiperf3: Mbit/s\tloss, 95 %\tping, idle: ms\tfull: ms, at most\tcores\tlatest ms\t")
	for _, c := range cells {
		ok := t.Run(c.settings(), func(t *testing.T) {
			m := c.measure(t)
			fmt.Fprintf(w, "%d\t%d\t%d %%\t%d\t%.2f\t%.2f ±%.2f %%\t%.2f\t%.1f\t%.2f\t%.1f\t\n", c.rate, c.delay, c.loss, c.buffer,
				m.rate/1e6, 100*m.loss, 100*m.off, m.idle, m.full, m.cores, m.latest.Seconds()*1000)
			c.judge(t, m)
		})
		if !ok {
			fmt.Fprintln(w, "that is off\t\t\t\t\t\t\t\t\t\t")
		}
	}
	w.Flush()
	t.Logf("\n%s", out.String())
}

// A cell is a line of the table: Mbit/s, ms, percent, ms.
type cell struct{ rate, delay, loss, buffer int }

func (c cell) settings() string {
	return fmt.Sprintf("rate=%dmbit delay=%dms loss=%d%% buffer=%dms", c.rate, c.delay, c.loss, c.buffer)
}

type measured struct {
	rate       float64 // bit/s on the wire, with what was lost behind the queue
	loss, off  float64 // share of packets, and half its 95 % interval
	idle, full float64 // round trip in ms: the mean on an idle link, the most on a full one
	cores      float64 // used by the emulator on a full link
	latest     time.Duration
}

func (c cell) measure(t *testing.T) (m measured) {
	e, near, far := between(t, c.settings(), "rate=unlimited")
	serve(t, far)
	m.idle, _ = ping(t, near, 40)

	// Half of what fits, so that nothing is lost but by chance: 20 s and at least
	// 1,660 packets. iperf3 sends a burst after each time it did not run, for which
	// there has to be room.
	settings := parsed(t, c.settings())
	roomy := settings
	roomy.Buffer = Depth{Time: maxTime}
	set := func(s Settings) {
		if err := e.Set(Forth, s); err != nil {
			t.Fatal(err)
		}
	}
	set(roomy)
	sent, lost, _ := iperf(t, near, float64(c.rate)*1e6/2, 20)
	set(settings)
	m.loss = float64(lost) / float64(sent)
	asked := float64(c.loss) / 100
	m.off = 1.96 * math.Sqrt(max(m.loss*(1-m.loss), asked*(1-asked))/float64(sent))

	// A quarter more than fits.
	var pinging sync.WaitGroup
	defer pinging.Wait()
	before, start := cpu(t), time.Now()
	pinging.Go(func() { _, m.full = ping(t, near, 60) })
	_, _, m.rate = iperf(t, near, float64(c.rate)*1e6*1.25, 10)
	m.cores = (cpu(t) - before).Seconds() / time.Since(start).Seconds()
	m.rate /= 1 - asked
	pinging.Wait()
	m.latest = e.Counts(Forth).Latest
	return m
}

func (c cell) judge(t *testing.T, m measured) {
	if asked := float64(c.rate) * 1e6; math.Abs(m.rate-asked) > 0.03*asked {
		t.Errorf("%.2f Mbit/s", m.rate/1e6)
	}
	// 54 intervals of 95 % would miss their loss three times; of 99.99 % hardly.
	if math.Abs(m.loss-float64(c.loss)/100) > 2*m.off {
		t.Errorf("loss of %.2f %% ± %.2f", 100*m.loss, 100*m.off)
	}
	// A ping is 84 bytes, and takes its time at the rate.
	if own := 84 * 8 / float64(c.rate) / 1000; math.Abs(m.idle-float64(c.delay)-own) > 1 {
		t.Errorf("%.2f ms on an idle link", m.idle)
	}
	// The queue is full to less than a packet.
	packet := mtu * 8 / float64(c.rate) / 1000
	if most := float64(c.delay + c.buffer); m.full > most+1 || m.full < most-1-packet {
		t.Errorf("%.2f ms on a full link", m.full)
	}
	if m.cores > 0.5 {
		t.Errorf("took %.2f cores", m.cores)
	}
}

// serve starts iperf3's server, which ends with the test.
func serve(t *testing.T, space string) {
	t.Helper()
	cmd := exec.Command("ip", "netns", "exec", space, "iperf3", "-s", "-f", "k", "--forceflush")
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
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.Contains(lines.Text(), "Server listening") {
			return
		}
	}
	t.Fatal("iperf3's server does not listen; apt-get install iperf3 iputils-ping")
}

// iperf sends packets of 1500 bytes at a rate on the wire. It returns how many of
// them were sent and lost, and the bits per second that the server saw on the wire
// once the link was full: from the third second on.
func iperf(t *testing.T, space string, bitsPerSecond float64, seconds int) (sent, lost int, rate float64) {
	t.Helper()
	const payload = mtu - headers
	out, err := exec.Command("ip", "netns", "exec", space, "iperf3", "-c", farAddr, "-u", "-J", "-f", "k", "--get-server-output",
		"-l", strconv.Itoa(payload), "-b", strconv.Itoa(int(bitsPerSecond*payload/mtu)), "-t", strconv.Itoa(seconds)).Output()
	if err != nil {
		t.Fatalf("iperf3: %v: %s", err, out)
	}
	var report struct {
		End struct {
			Sum struct {
				Packets int `json:"packets"`
				Lost    int `json:"lost_packets"`
			} `json:"sum"`
		} `json:"end"`
		Server string `json:"server_output_text"`
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("iperf3: %v: %s", err, out)
	}
	var sum float64
	intervals := perSecond.FindAllStringSubmatch(report.Server, -1)
	if len(intervals) < seconds || report.End.Sum.Packets == 0 {
		t.Fatalf("iperf3 measured too little: %s", out)
	}
	const first = 2
	for _, interval := range intervals[first : seconds-1] {
		kbit, _ := strconv.ParseFloat(interval[1], 64)
		sum += kbit * 1000
	}
	return report.End.Sum.Packets, report.End.Sum.Lost, sum / float64(seconds-1-first) * mtu / payload
}

// perSecond matches the lines of iperf3 for a second each, and not its sum.
var perSecond = regexp.MustCompile(`sec +[0-9.]+ [KM]?Bytes +([0-9.]+) Kbits/sec .*\) +\n`)

var pingTimes = regexp.MustCompile(`= [0-9.]+/([0-9.]+)/([0-9.]+)/`)

// ping returns the mean and the longest round trip in ms.
func ping(t *testing.T, space string, count int) (mean, most float64) {
	t.Helper()
	// It fails when some are lost; what counts is what it prints.
	out, _ := exec.Command("ip", "netns", "exec", space, "ping", "-q", "-i", "0.1", "-W", "3", "-c", strconv.Itoa(count), farAddr).CombinedOutput()
	m := pingTimes.FindSubmatch(out)
	if m == nil {
		t.Errorf("ping: %s", out)
		return 0, 0
	}
	mean, _ = strconv.ParseFloat(string(m[1]), 64)
	most, _ = strconv.ParseFloat(string(m[2]), 64)
	return mean, most
}

// cpu returns what this process used, without its children: the emulator is all
// that does anything in it while iperf3 runs.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
