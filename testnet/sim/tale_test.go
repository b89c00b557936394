package sim

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap/zapcore"

	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

func TestMain(m *testing.M) {
	// quic-go would say that a socket in memory has no buffer in the kernel.
	os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
	// Below 3 GiB, whatever garbage there is. 1.3 GB are in use, so the limit decides
	// how often it is collected: at 2.25 GiB that took 163 instead of 138 CPU s, and
	// without collecting before it is near (GOGC=off) 337, as spans fill up with holes.
	if big {
		debug.SetMemoryLimit(21 << 27)
	}
	goleak.VerifyTestMain(m)
}

// big says that the enterprise is to be that of a benchmark.
var big = os.Getenv("P2PNODE_SIM") == "full"

// planned returns what to simulate: 4 sites of 5, or with P2PNODE_SIM=full 50 of
// 20. P2PNODE_SIM_SEED has the seed.
func planned(t *testing.T) Plan {
	access, err := wan.Parse("rate=20mbit buffer=100ms delay=5ms loss=0.1%")
	if err != nil {
		t.Fatal(err)
	}
	p := Plan{Sites: 4, PerSite: 5, Access: access, Seed: 1, Dir: t.TempDir()}
	if big {
		p.Sites, p.PerSite = 50, 20
	}
	if s := os.Getenv("P2PNODE_SIM_SEED"); s != "" {
		if p.Seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// A tale is an enterprise and what a test makes of it.
type tale struct {
	*testing.T
	*Enterprise

	random *rand.Rand
	began  time.Time
	gone   []*Node           // were revoked
	texts  map[string][]byte // of what was published, by name
}

// tell runs a tale in virtual time.
func tell(t *testing.T, story func(*tale)) {
	plan, before := planned(t), used()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		e, err := New(t.Context(), plan)
		if e == nil {
			t.Fatal(err)
		}
		defer func() {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Minute) // goleveldb ends its last goroutine a second after Close
		}()
		if err != nil {
			t.Fatal(err)
		}
		s := &tale{T: t, Enterprise: e, random: rand.New(rand.NewPCG(plan.Seed, 7)), began: began, texts: map[string][]byte{}}
		s.report("joined", "%d nodes on %d sites after %s", plan.Sites*plan.PerSite, plan.Sites, s.since(began))
		story(s)
		s.reportTraffic()
		s.report("files", "%s", filesOf(plan.Dir))
		s.report("all told", "after %s, with %d goroutines", s.since(began), runtime.NumGoroutine())
		if t.Failed() {
			t.Logf("seed %d; the nodes said: %v", plan.Seed, e.Heard.Count(zapcore.WarnLevel))
		}
	})
	t.Logf("%-24s %s", "cost", used().since(before, plan.Sites*plan.PerSite))
}

// reportTraffic says what all lines carried, by class.
func (s *tale) reportTraffic() {
	var up, lan Traffic
	var dropped, lost int64
	for site := range s.Sites {
		t := s.Net.Site(site).Tally()
		for c := range up {
			up[c].Packets, up[c].Bytes = up[c].Packets+t.Up[c].Packets, up[c].Bytes+t.Up[c].Bytes
			lan[c].Packets, lan[c].Bytes = lan[c].Packets+t.LAN[c].Packets, lan[c].Bytes+t.LAN[c].Bytes
		}
		dropped, lost = dropped+t.Dropped, lost+t.Lost
	}
	for c := range up {
		s.report(Class(c).String()+" packets", "between sites %d of %d kB together, on LANs %d of %d kB", up[c].Packets, up[c].Bytes/1000, lan[c].Packets, lan[c].Bytes/1000)
	}
	hub := s.Net.Site(0).Tally()
	s.report("links", "%d packets dropped, %d lost, %d for nobody; %d kB from the issuer's site, %d kB to it", dropped, lost, s.Net.nowhere.Load(), hub.Up.Total()/1000, hub.Down.Total()/1000)
}

func (s *tale) since(t time.Time) time.Duration { return time.Since(t).Round(time.Millisecond) }

func (s *tale) report(what, format string, args ...any) {
	s.Helper()
	s.Logf("%-24s "+format, append([]any{what}, args...)...)
}

// until waits for what has to come within a time, and returns when it did.
func (s *tale) until(limit time.Duration, what string, ok func() bool) time.Duration {
	s.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > limit {
			s.Fatalf("seed %d: not so after %s: %s", s.Seed, limit, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
	return s.since(began)
}

// peers returns whom a node is connected to, by name.
func (s *tale) peers(n *Node) []string {
	ps, err := n.API().Peers(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	var names []string
	for _, p := range ps {
		names = append(names, p.Name)
	}
	return names
}

// draw returns a member that is no delegate, at none of some sites.
func (s *tale) draw(except ...int) *Node {
	for {
		n := s.Node(s.random.IntN(s.Sites), 1+s.random.IntN(s.PerSite-1))
		if !slices.Contains(except, n.Site) && !slices.Contains(s.gone, n) {
			return n
		}
	}
}

// drawSite returns a site other than some.
func (s *tale) drawSite(except ...int) int { return s.draw(except...).Site }

// publish has the issuer publish random bytes under a name.
func (s *tale) publish(name string, size int) (id string) {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(s.random.Uint32())
	}
	file := filepath.Join(s.Dir, name)
	if err := os.WriteFile(file, b, 0o600); err != nil {
		s.Fatal(err)
	}
	added, err := s.Issuer().API().Add(s.Context(), api.AddRequest{Paths: []string{file}, Name: name, Version: "1"}, nil)
	if err != nil {
		s.Fatal(err)
	}
	s.texts[name] = b
	return added.Content
}

// get brings a content to a node, and returns how long that took. What came is what
// was published, or it is an error.
func (s *tale) get(n *Node, name string) (time.Duration, error) {
	took, _, err := s.bring(n, name)
	return took, err
}

// bring is get for who wants to know what was fetched from where.
func (s *tale) bring(n *Node, name string) (time.Duration, api.GetResult, error) {
	began, out := time.Now(), filepath.Join(n.Dir, name)
	got, err := n.API().Get(s.Context(), api.GetRequest{Ref: name, Output: out, Link: true}, nil)
	if err != nil {
		return 0, got, err
	}
	took := time.Since(began)
	b, err := os.ReadFile(out)
	if err == nil && !bytes.Equal(b, s.texts[name]) {
		err = fmt.Errorf("%s has %d bytes as %s that aren't those published", n.Name, len(b), name)
	}
	return took, got, err
}

// A spread is how long something took to come to many.
type spread []time.Duration

func (d spread) at(share float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[min(int(share*float64(len(d))), len(d)-1)].Round(time.Millisecond)
}

func (d spread) String() string {
	return "p50 " + d.at(0.5).String() + ", p99 " + d.at(0.99).String() + ", last " + d.at(1).String()
}

// heard returns when nodes took a newer revocation list since a time, each the
// last time.
func (s *tale) heard(since time.Time) map[string]time.Duration {
	took := make(map[string]time.Duration)
	for _, l := range s.Heard.Find("a newer revocation list came", since) {
		took[l.Node] = max(took[l.Node], l.At.Sub(since))
	}
	return took
}

// enforced waits until every one of some nodes has the newest list.
func (s *tale) enforced(limit time.Duration, since time.Time, by []*Node) spread {
	s.Helper()
	var took spread
	s.until(limit, "all who can be reached know of the revocation", func() bool {
		heard := s.heard(since)
		took = took[:0]
		for _, n := range by {
			if d, ok := heard[n.Name]; ok {
				took = append(took, d)
			}
		}
		return len(took) == len(by)
	})
	return took
}

// members returns all members but those for which not is true.
func (s *tale) members(not func(*Node) bool) []*Node {
	return slices.DeleteFunc(s.All(), func(n *Node) bool { return slices.Contains(s.gone, n) || not(n) })
}
