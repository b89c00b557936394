//go:build netns && linux

package wan

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestAccuracy prints what iperf3 and ping measure beside what was asked, of an
// emulator in a process of its own, as a router is. With P2PNODE_WAN=full that is
// the whole table, which takes a machine that does nothing else, and with
// -parallel 2 a quarter of an hour; otherwise one line of it. CI has no iperf3 and doesn't run it.
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
	lines := make([]string, len(cells))
	t.Run("link", func(t *testing.T) {
		for i, c := range cells {
			t.Run(c.settings(), func(t *testing.T) {
				t.Parallel()
				m := c.measure(t)
				c.judge(t, m)
				lines[i] = fmt.Sprintf("| %d | %d | %d | %d | %.2f | %.2f ± %.2f | %.2f | %.1f | %.2f | %.1f | %s |", c.rate, c.delay, c.loss, c.buffer,
					m.rate/1e6, 100*m.loss, 100*m.off, m.idle, m.full, m.cores, m.latest.Seconds()*1000, map[bool]string{true: "**off**"}[t.Failed()])
			})
		}
	})
	t.Logf("\n%s\n%s\n%s",
		"| asked: Mbit/s | delay, ms | loss, % | buffer, ms | iperf3: Mbit/s | loss, % | ping, idle: ms | full: ms | cores | latest, ms | |",
		"|"+strings.Repeat("---|", 11), strings.Join(lines, "\n"))
}

// A cell is a line of the table: Mbit/s, ms, percent, ms.
type cell struct{ rate, delay, loss, buffer int }

func (c cell) settings() string {
	return fmt.Sprintf("rate=%dmbit delay=%dms loss=%d%% buffer=%dms", c.rate, c.delay, c.loss, c.buffer)
}

type measured struct {
	rate       float64 // bit/s on the wire, with what was lost behind the queue
	loss, off  float64 // share of packets, and half its 95 % interval
	idle, full float64 // round trip in ms, medians: on an idle link, on a full one
	cores      float64 // used by the emulator on a full link
	latest     time.Duration
}

// packet is the size of iperf3's packets on the wire: at most some 1 ms each, since
// a queue that is full to less than a packet can't be told from a full one. At 1 ms
// sharp they keep step with the pings, which then find room always or never.
func (c cell) packet() int {
	if c.rate < 10 {
		return 270
	}
	return mtu
}

func (c cell) measure(t *testing.T) (m measured) {
	e, near, far := apart(t, c.settings())
	serve(t, far)
	m.idle = median(t, ping(t.Context(), near, 40))

	// Half of what fits for 20 s, so that nothing is lost but by chance. iperf3 sends
	// a burst after each time it did not run, for which there has to be room.
	settings := parsed(t, c.settings())
	roomy := settings
	roomy.Buffer = Depth{Time: maxTime}
	set := func(s Settings) {
		if err := e.Set(t.Context(), Forth, s); err != nil {
			t.Fatal(err)
		}
	}
	set(roomy)
	sent, lost, _ := c.iperf(t, near, 0.5, 20, nil)
	set(settings)
	m.loss = float64(lost) / float64(sent)
	asked := float64(c.loss) / 100
	m.off = 1.96 * math.Sqrt(max(m.loss*(1-m.loss), asked*(1-asked))/float64(sent))

	// A quarter more than fits. Pings begin when the queue is full.
	var times []float64
	before, start := e.cpu(t), time.Now()
	_, _, m.rate = c.iperf(t, near, 1.25, 10, func(ctx context.Context) {
		e.full(ctx)
		times = ping(ctx, near, 60)
	})
	m.cores = (e.cpu(t) - before).Seconds() / time.Since(start).Seconds()
	m.rate /= 1 - asked
	m.full = median(t, times)
	state, err := e.State(t.Context(), Forth)
	if err != nil {
		t.Fatal(err)
	}
	m.latest = state.Counts.Latest
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
	// Between two of iperf3's packets the queue has room for up to two of them.
	packet := float64(c.packet()) * 8 / float64(c.rate) / 1000
	if most := float64(c.delay + c.buffer); m.full > most+1 || m.full < most-1-2*packet {
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

// iperf sends packets at a share of the link's rate. It returns how many were sent
// and lost, and the bits per second that the server saw on the wire once the link
// was full: from the third second on. Meanwhile it runs beside, if there is one.
func (c cell) iperf(t *testing.T, space string, share float64, seconds int, beside func(context.Context)) (sent, lost int, rate float64) {
	t.Helper()
	payload := c.packet() - headers
	bitsPerSecond := float64(c.rate) * 1e6 * share * float64(payload) / float64(c.packet())
	attempt := func() ([]byte, error) {
		ctx, stop := context.WithCancel(t.Context())
		var all sync.WaitGroup
		defer all.Wait()
		defer stop()
		if beside != nil {
			all.Go(func() { beside(ctx) })
		}
		return exec.Command("ip", "netns", "exec", space, "iperf3", "-c", farAddr, "-u", "-J", "-f", "k", "--get-server-output",
			"-l", strconv.Itoa(payload), "-b", strconv.Itoa(int(bitsPerSecond)), "-t", strconv.Itoa(seconds)).Output()
	}
	// Its own conversation crosses the same link: what loses one packet in four may
	// lose that.
	var out []byte
	var err error
	for range 5 {
		out, err = attempt()
		if err == nil && len(perSecond.FindAllIndex(bytes.ReplaceAll(out, []byte(`\n`), []byte("\n")), -1)) >= seconds {
			break
		}
	}
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
	return report.End.Sum.Packets, report.End.Sum.Lost, sum / float64(seconds-1-first) * float64(c.packet()) / float64(payload)
}

// perSecond matches the lines of iperf3 for a second each, and not its sum.
var perSecond = regexp.MustCompile(`sec +[0-9.]+ [KM]?Bytes +([0-9.]+) Kbits/sec .*\) +\n`)

var pingTime = regexp.MustCompile(`time=([0-9.]+) ms`)

// ping returns the round trips in ms, of 20 a second.
func ping(ctx context.Context, space string, count int) (times []float64) {
	// It fails when some are lost; what counts is what it prints.
	out, _ := exec.CommandContext(ctx, "ip", "netns", "exec", space, "ping", "-i", "0.05", "-W", "3", "-c", strconv.Itoa(count), farAddr).Output()
	for _, m := range pingTime.FindAllSubmatch(out, -1) {
		ms, _ := strconv.ParseFloat(string(m[1]), 64)
		times = append(times, ms)
	}
	return times
}

func median(t *testing.T, all []float64) float64 {
	t.Helper()
	if len(all) < 8 { // most find no room in a full queue
		t.Errorf("only %d pings came back", len(all))
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// An emulator in a process of its own.
type remote struct {
	*Control
	pid int
}

const (
	remoteEnv    = "P2PNODE_WAN_REMOTE" // near space, far space, control socket; then settings
	remoteDevice = "wan0"
)

// apart returns an emulator between two new namespaces, as between does, in a
// process that runs nothing else.
func apart(t *testing.T, forth string) (e remote, near, far string) {
	t.Helper()
	near, far = newSpace(t), newSpace(t)
	socket := filepath.Join(t.TempDir(), "s")
	cmd := exec.Command(os.Args[0], "-test.run", "^TestRemote$")
	cmd.Env = append(os.Environ(), remoteEnv+"="+strings.Join([]string{near, far, socket, forth}, " "))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // what it said tells
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	e = remote{NewControl(socket), cmd.Process.Pid}
	for _, err := e.State(t.Context(), Forth); err != nil; _, err = e.State(t.Context(), Forth) {
		select {
		case <-ended:
			t.Fatalf("the emulator ended: %s", said.String())
		case <-time.After(10 * time.Millisecond):
		}
	}
	ip(t, "-n", near, "addr", "add", nearAddr, "peer", farAddr, "dev", remoteDevice)
	ip(t, "-n", far, "addr", "add", farAddr, "peer", nearAddr, "dev", remoteDevice)
	return e, near, far
}

// TestRemote is that process.
func TestRemote(t *testing.T) {
	words := strings.SplitN(os.Getenv(remoteEnv), " ", 4)
	if len(words) < 4 {
		return // this is the test run itself, with nothing to do here
	}
	if err := RealTime(); err != nil {
		t.Fatal(err)
	}
	e, err := New(Config{
		Ends:     [2]End{{Space: words[0], Device: remoteDevice}, {Space: words[1], Device: remoteDevice}},
		Settings: [2]Settings{parsed(t, words[3]), {}},
		Seed:     seedOf(words[3]),
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := listenControl(words[2])
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = http.Serve(l, control(e)) }()
	if err := e.Run(context.Background()); err != nil { // until it is killed
		t.Fatal(err)
	}
}

// full waits until the queue has no room for a packet.
func (r remote) full(ctx context.Context) {
	dropped := func() (n int64) {
		state, _ := r.State(ctx, Forth)
		for _, c := range state.Counts.Classes {
			n += c.Full.Packets
		}
		return n
	}
	for before := dropped(); dropped() == before && ctx.Err() == nil; {
		time.Sleep(10 * time.Millisecond)
	}
}

// seedOf makes links lose each their own packets.
func seedOf(settings string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(settings)) // never fails
	return h.Sum64()
}

// cpu returns what the process used, user and system, to 10 ms.
func (r remote) cpu(t *testing.T) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var ticks int
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
