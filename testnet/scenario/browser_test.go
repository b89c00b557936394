//go:build browser

package scenario

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	ma "github.com/multiformats/go-multiaddr"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/node"
	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/node/trust"
)

// A publisher's bytes go out at this rate, so that there is time to look at a
// content while it comes: 100 MiB in 8 s.
const publisherRate = 12 * mib

var localAddr = []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/tcp/0")}

// firstByteGoal is for a content that is at the site.
const firstByteGoal = 300 * time.Millisecond

// A slowLine lets so many bytes a second out.
type slowLine struct {
	mu   sync.Mutex
	next time.Time
}

func (l *slowLine) Sent(n int, done <-chan struct{}) {
	l.mu.Lock()
	if now := time.Now(); l.next.Before(now) {
		l.next = now
	}
	l.next = l.next.Add(time.Duration(n) * time.Second / publisherRate)
	wait := time.Until(l.next)
	l.mu.Unlock()
	select {
	case <-time.After(wait):
	case <-done:
	}
}

func (l *slowLine) Received(int, <-chan struct{}) {}

// gatewayAt starts a slow publisher in this process, and a node of its own process
// with a gateway, which knows the publisher. It returns where the gateway is.
func gatewayAt(t *testing.T, ctx context.Context, l *Lab) (publisher api.Node, member *Node, url string) {
	t.Helper()
	line := &slowLine{}
	n, err := node.New(node.Config{
		Data: filepath.Join(l.Dir, "publisher"), Site: "hq", Name: "publisher", Listen: localAddr, MDNS: []string{"off"}, API: node.APIOff,
		Line: func(trust.Credential) trust.Line { return line },
	}, zap.NewNop())
	must(t, err)
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- n.Run(running) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	<-n.Ready()
	inv, err := n.API().Invite(ctx, api.InviteRequest{Site: "hq", Name: "till"})
	must(t, err)
	member = l.Node("till", nil, append(loopback(t), "--gateway", "127.0.0.1:0")...)
	must(t, member.Start(ctx, "--join", inv.Token))
	_, err = member.Tell(ctx, "wait", "--peers", "1", "--timeout", "20s")
	must(t, err)
	var st api.Status
	must(t, member.Read(ctx, &st, "status"))
	if st.Gateway == "" {
		t.Fatalf("no gateway: %+v", st)
	}
	return n.API(), member, "http://" + st.Gateway
}

// tool returns where a program is that these tests can't do without: who asks for
// the tag browser has it.
func tool(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatalf("none of %v is installed", names)
	return ""
}

// curl -C - goes on where it was cut off, and what it has then is what was
// published, to the last bit.
func TestBrowserCurlResumesWhileItDownloads(t *testing.T) {
	l, curl := lab(t), tool(t, "curl")
	ctx := within(t, 3*time.Minute)
	publisher, member, url := gatewayAt(t, ctx, l)
	path := sample(t, l, 100*mib)
	added, err := publisher.Add(ctx, api.AddRequest{Paths: []string{path}, Name: "image"}, nil)
	must(t, err)
	out := filepath.Join(l.Dir, "out.bin")

	run := func(code int, args ...string) string {
		t.Helper()
		text, err := Command(ctx, nil, append([]string{curl, "-sS", "--noproxy", "*", "-w", "%{time_starttransfer} %{http_code}"}, args...)...).CombinedOutput()
		var exit *exec.ExitError
		if got := 0; err == nil && code != got || errors.As(err, &exit) && exit.ExitCode() != code {
			t.Fatalf("curl %v: %v, want exit %d\n%s", args, err, code, text)
		}
		return string(text)
	}
	said := run(28, "--max-time", "2", "-o", out, url+"/content/"+added.Content) // 28: it took too long
	info, err := os.Stat(out)
	must(t, err)
	if info.Size() == 0 || info.Size() >= 100*mib {
		t.Fatalf("cut off with %d bytes", info.Size())
	}
	fields := strings.Fields(said[strings.LastIndexByte(strings.TrimSpace(said), '\n')+1:])
	first, err := strconv.ParseFloat(fields[len(fields)-2], 64)
	must(t, err)
	report(t, "curl: first byte", time.Duration(first*float64(time.Second)))
	if here, err := member.Here(ctx, added.Content); err != nil || here >= 100*mib {
		t.Fatalf("%d bytes are here (%v): nothing was shown", here, err)
	}
	if said := run(0, "-L", "-C", "-", "-o", out, url+"/content/image"); !strings.HasSuffix(said, " 206") {
		t.Errorf("it wasn't resumed: %s", said)
	}
	must(t, Command(ctx, nil, "cmp", out, path).Run())
	t.Logf("cut off at %d bytes, resumed, equal", info.Size())
}

// report says how long something took, and fails the test where that is far from
// the goal: this machine may have other things to do.
func report(t *testing.T, what string, took time.Duration) {
	t.Helper()
	t.Logf("%s after %v (goal %v)", what, took.Round(time.Millisecond), firstByteGoal)
	if took > 10*firstByteGoal {
		t.Errorf("%s after %v", what, took)
	}
}

// wav writes a file of sound: a tone that rises, 16-bit stereo, so many seconds.
// Every player plays it, and 44,100 frames a second make it as large as a film.
func wav(path string, seconds int) (size int64, err error) {
	const rate, frame = 44_100, 4
	b := make([]byte, 44, 44+seconds*rate*frame)
	data := uint32(seconds * rate * frame)
	copy(b, "RIFF....WAVEfmt ")
	binary.LittleEndian.PutUint32(b[4:], 36+data)
	binary.LittleEndian.PutUint32(b[16:], 16)
	binary.LittleEndian.PutUint16(b[20:], 1) // PCM
	binary.LittleEndian.PutUint16(b[22:], 2)
	binary.LittleEndian.PutUint32(b[24:], rate)
	binary.LittleEndian.PutUint32(b[28:], rate*frame)
	binary.LittleEndian.PutUint16(b[32:], frame)
	binary.LittleEndian.PutUint16(b[34:], 16)
	copy(b[36:], "data")
	binary.LittleEndian.PutUint32(b[40:], data)
	for i := range seconds * rate {
		at := float64(i) / rate
		v := uint16(int16(8000 * math.Sin(at*at*3)))
		b = binary.LittleEndian.AppendUint16(b, v)
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	return int64(len(b)), os.WriteFile(path, b, 0o644)
}

// seconds is how long the sound is that is played.
const seconds = 600

// video finds what plays on a page that Chromium makes of a film or a sound.
const video = `document.querySelector("video, audio")`

// A shown file is one that plays: when its first byte was here, of which Chromium
// waited so long for the server, and when it played.
type shown struct{ first, waited, plays time.Duration }

// skip goes to the end of what plays, and returns when it plays there.
func skip(t *testing.T, tab context.Context) time.Duration {
	t.Helper()
	began := time.Now()
	length, err := chromedp.Run(tab, chromedp.Evaluate[float64](`(() => { const v = `+video+`; v.currentTime = v.duration - 20; return v.duration })()`))
	must(t, err)
	if length != seconds {
		t.Errorf("it is %v s long", length)
	}
	_, err = chromedp.Run(tab, chromedp.Poll[bool](fmt.Sprintf(`%s.currentTime > %d.3 && !%[1]s.paused`, video, seconds-20)))
	must(t, err)
	return time.Since(began).Round(time.Millisecond)
}

// play leads Chromium to a file.
func play(t *testing.T, tab context.Context, url string) (s shown) {
	t.Helper()
	began := time.Now()
	must(t, chromedp.Do(tab, chromedp.Navigate(url)))
	times, err := chromedp.Run(tab, chromedp.Evaluate[[]float64](`(() => {
		const n = performance.getEntriesByType("navigation")[0]
		return [n.responseStart, n.responseStart - n.requestStart]
	})()`))
	must(t, err)
	ms := func(n float64) time.Duration {
		return time.Duration(n * float64(time.Millisecond)).Round(time.Millisecond)
	}
	s.first, s.waited = ms(times[0]), ms(times[1])
	_, err = chromedp.Run(tab, chromedp.Poll[bool](`(() => { const v = `+video+`; if (v && v.paused) v.play(); return !!v && v.currentTime > 0.3 })()`))
	must(t, err)
	s.plays = time.Since(began).Round(time.Millisecond)
	return s
}

// Chromium plays what comes, skips to the end of what hasn't come, and plays on.
func TestBrowserPlaysAndSeeksWhileItDownloads(t *testing.T) {
	l, chromium := lab(t), tool(t, "chromium", "chromium-browser", "google-chrome")
	ctx := within(t, 3*time.Minute)
	publisher, member, url := gatewayAt(t, ctx, l)
	folder := filepath.Join(l.Dir, "film")
	must(t, os.Mkdir(folder, 0o755))
	size, err := wav(filepath.Join(folder, "tone.wav"), seconds) // 106 MB
	must(t, err)
	must(t, os.WriteFile(filepath.Join(folder, "evil.html"), []byte(`<script>document.title = "it ran"</script><title>it didn't</title>`), 0o644))
	added, err := publisher.Add(ctx, api.AddRequest{Paths: []string{folder}, Name: "film"}, nil)
	must(t, err)

	actx, stop := chromedp.NewExecAllocator(ctx, chromedp.ExecPath(chromium), chromedp.Headless,
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.WindowSize(1100, 700), chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("autoplay-policy", "no-user-gesture-required"), chromedp.Flag("mute-audio", true), chromedp.Flag("disable-quic", true),
		chromedp.Flag("no-proxy-server", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))
	defer stop()
	tab, closeTab := chromedp.NewContext(actx)
	defer closeTab()
	must(t, chromedp.Do(tab, chromedp.Navigate("about:blank"))) // it starts
	console := make(chan string, 100)
	go func() {
		defer close(console)
		for m, err := range chromedp.Console(tab) {
			if err != nil {
				return
			}
			if m.Type == "error" || m.IsException() {
				select {
				case console <- m.String():
				default:
				}
			}
		}
	}()

	// From the list of the folder, as a person comes.
	must(t, chromedp.Do(tab, chromedp.Navigate(url+"/content/"+added.Content+"/"), chromedp.WaitVisible(chromedp.CSS("table a"))))
	links, err := chromedp.Run(tab, chromedp.Evaluate[int](`document.querySelectorAll("td a").length`))
	must(t, err)
	if links != 2 {
		t.Errorf("%d links in the list", links)
	}
	// What of it is Chromium's own is seen at a server that has the file: the second
	// time, as the first one starts what plays it.
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		http.ServeFile(w, r, filepath.Join(folder, "tone.wav"))
	}))
	t.Cleanup(plain.Close)
	play(t, tab, plain.URL+"/once")
	own := play(t, tab, plain.URL+"/again")
	ownSkip := skip(t, tab)
	shown := play(t, tab, url+"/content/"+added.Content+"/tone.wav")
	report(t, "Chromium: first byte", shown.first)
	t.Logf("the gateway took %v of it; it plays after %v", shown.waited, shown.plays)
	t.Logf("of a plain HTTP server: first byte after %v, of which it took %v; it plays after %v", own.first, own.waited, own.plays)

	here, err := member.Here(ctx, added.Content)
	must(t, err)
	took := skip(t, tab)
	after, err := member.Here(ctx, added.Content)
	must(t, err)
	t.Logf("a skip to the end, with %d of %d bytes here, plays on after %v (of a plain HTTP server: %v), with %d bytes here", here, size, took, ownSkip, after)
	if here >= size/2 || after >= size {
		t.Errorf("%d bytes were here before the skip and %d after it, of %d: nothing was shown", here, after, size)
	}
	broken, err := chromedp.Run(tab, chromedp.Evaluate[string](`(`+video+`.error || {message: ""}).message`))
	must(t, err)
	if broken != "" {
		t.Errorf("the player says: %s", broken)
	}

	// A page of a content is shown, and doesn't run.
	must(t, chromedp.Do(tab, chromedp.Navigate(url+"/content/"+added.Content+"/evil.html")))
	title, err := chromedp.Run(tab, chromedp.Title())
	must(t, err)
	if title != "it didn't" {
		t.Errorf("the page's title is %q", title)
	}
	closeTab()
	for m := range console {
		if !strings.Contains(m, "favicon.ico") && !strings.Contains(m, "Blocked script execution") {
			t.Errorf("console: %s", m)
		}
	}
}
