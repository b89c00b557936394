package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/node/trust"
)

func TestEveryCodeHasAnExitCode(t *testing.T) {
	for _, c := range api.Codes() {
		if code := exits[c]; code == 0 || code == 2 {
			t.Errorf("%s: exit code %d", c, code)
		}
	}
}

// A hint can be pasted: it names the folder that the failed command was about.
func TestHintsNameTheFolder(t *testing.T) {
	const hint = "Start it: p2pnode run"
	for data, want := range map[string]string{
		"":      hint,
		"/x":    "Start it: p2pnode --data /x run",
		"/a b":  `Start it: p2pnode --data "/a b" run`,
		"/a$b'": `Start it: p2pnode --data "/a$b'" run`,
	} {
		if got := (&app{chosen: data}).next(hint); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := (&app{chosen: "/x"}).next("See: p2pnode get --help"); strings.Contains(got, "/x") {
		t.Errorf("help needs no folder: %q", got)
	}
}

func TestDataFolderFollowsTheSystem(t *testing.T) {
	env := func(vars map[string]string) func(string) (string, bool) {
		return func(k string) (string, bool) { v, ok := vars[k]; return v, ok }
	}
	got, err := dataFolder(env(map[string]string{"XDG_STATE_HOME": "/xdg"}))
	if err != nil || !filepath.IsAbs(got) {
		t.Fatalf("%q %v", got, err)
	}
	if os.Geteuid() != 0 && filepath.Separator == '/' && !strings.Contains(got, "p2pnode") {
		t.Errorf("%q", got)
	}
}

func TestFlagsComeFromTheEnvironment(t *testing.T) {
	vars := map[string]string{"P2PNODE_SITE": "berlin", "P2PNODE_LISTEN": "/ip4/127.0.0.1/tcp/1 /ip4/127.0.0.1/tcp/2", "P2PNODE_LOG_LEVEL": "warn", "P2PNODE_HELP": "true", "P2PNODE_JOIN_FILE": "other", "P2PNODE_CONFIG": "none"}
	env := func(k string) (string, bool) { v, ok := vars[k]; return v, ok }
	a := &app{env: env}
	c := a.runCommand()
	if err := c.ParseFlags([]string{"--log-level", "debug", "--join", "token"}); err != nil {
		t.Fatal(err)
	}
	if err := fromEnvironment(c.LocalNonPersistentFlags(), env, "join", "join-file"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"join": "token", "join-file": ""} {
		if got := c.Flags().Lookup(name).Value.String(); got != want {
			t.Errorf("--%s is %q, want %q", name, got, want)
		}
	}
	s, err := a.resolve(c.Flags())
	if err != nil {
		t.Fatal(err)
	}
	if s.node.Site != "berlin" || len(s.node.Listen) != 2 || s.logLevel != "debug" {
		t.Errorf("%+v", s)
	}
}

// A folder that has joined must recognise a token of its enterprise.
func TestTokenTellsItsEnterprise(t *testing.T) {
	id, err := trust.Init(t.TempDir(), "hq", "hq")
	if err != nil {
		t.Fatal(err)
	}
	defer id.Close()
	tok, err := id.Invite(trust.InviteOptions{Site: "hq", Bootstrap: []string{"/ip4/127.0.0.1/tcp/1/p2p/" + id.Credential().Peer.String()}})
	if err != nil {
		t.Fatal(err)
	}
	if invitedTo(tok) != id.Enterprise() {
		t.Errorf("%s, want %s", invitedTo(tok), id.Enterprise())
	}
}

func TestMeterWritesOverItsLineAndErasesIt(t *testing.T) {
	var screen bytes.Buffer
	m := &meter{w: &screen, mode: "live", width: func() int { return 12 }, stop: func() {}}
	m.show("a longer line than fits", nil)
	m.show("short", nil)
	m.Close()
	want := "\ra longer li" + "\rshort      \b\b\b\b\b\b" + "\r     \r"
	if got := screen.String(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestMeterOfLinesKeepsItsInterval(t *testing.T) {
	var out bytes.Buffer
	m := &meter{w: &out, mode: "line", every: time.Hour, stop: func() {}}
	m.show("one", nil)
	m.show("two", nil)
	m.Close()
	if out.String() != "one\n" {
		t.Errorf("%q", out.String())
	}
}

func TestMeterIsSilentWhereNobodyLooks(t *testing.T) {
	var out, answer bytes.Buffer
	a := &app{out: &answer, err: &out, env: func(string) (string, bool) { return "", false }, progress: "auto"}
	for _, quiet := range []bool{true, false} {
		m, err := a.meter(quiet)
		if err != nil {
			t.Fatal(err)
		}
		m.show("text", api.Progress{})
		m.Close()
	}
	if out.Len()+answer.Len() > 0 {
		t.Errorf("%q %q", out.String(), answer.String())
	}
}

func TestFlowTextSaysWhatGoesOn(t *testing.T) {
	for want, s := range map[string]api.FlowStatus{
		"pos 7.2  34 %  500/1431 MiB  9.6 MB/s  lan 2 wan 1  ETA 0:14": {Name: "pos", Version: "7.2", Phase: api.Fetching, Done: 500 << 20, Total: 1431 << 20, Rate: 8 * 9_600_000, Sources: api.ByLink{LAN: 2, WAN: 1}, Left: api.Seconds(14 * time.Second)},
		"bafyreib2…itae  looking for it  0:03  lan 0 wan 0":            {Phase: api.Finding, Elapsed: api.Seconds(3 * time.Second)},
		"pos 7.2  50 %  1/2 B  waiting: no-source":                     {Name: "pos", Version: "7.2", Phase: api.Waiting, Reason: "no-source", Done: 1, Total: 2},
		"pos 7.2  50 %  1/2 B  waiting: nobody has it":                 {Name: "pos", Version: "7.2", Phase: api.Waiting, Reason: "no-source", Detail: "nobody has it", Done: 1, Total: 2},
		"pos 7.2  50 %  1/2 B  waiting for disk: /d: full":             {Name: "pos", Version: "7.2", Phase: api.Waiting, Reason: api.ForDisk, Detail: "/d: full", Done: 1, Total: 2},
		"pos 7.2  100 %  2/2 B  writing":                               {Name: "pos", Version: "7.2", Phase: api.Writing, Done: 2, Total: 2},
	} {
		if got := flowText(fakeID, s); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// What a get waits for is told once, with what to do, and so is its end.
func TestWaitingForDiskIsToldOnce(t *testing.T) {
	a := &app{chosen: "/d"}
	full := api.FlowStatus{Phase: api.Waiting, Reason: api.ForDisk, Detail: "full", Next: "Make room: p2pnode content ls"}
	var n diskNotice
	for i, step := range []struct {
		s    api.FlowStatus
		want string
	}{
		{api.FlowStatus{Phase: api.Fetching}, ""},
		{full, "p2pnode: waiting for disk: full\nMake room: p2pnode --data /d content ls"},
		{full, ""},
		{api.FlowStatus{Phase: api.Fetching}, "p2pnode: the disk takes writes again"},
		{api.FlowStatus{Phase: api.Waiting, Reason: "no-source"}, ""},
	} {
		if got := n.news(a, step.s); got != step.want {
			t.Errorf("%d: %q, want %q", i, got, step.want)
		}
	}
	var screen bytes.Buffer
	m := &meter{w: &screen, mode: "live", width: func() int { return 12 }, stop: func() {}}
	m.show("short", nil)
	m.say(&screen, "told")
	if want := "\rshort\r     \rtold\n"; screen.String() != want {
		t.Errorf("%q, want %q", screen.String(), want)
	}
}

// The demo believes its own hashes, not what nodes say of theirs.
func TestDemoFindsAWrongCopy(t *testing.T) {
	dir := t.TempDir()
	sample := filepath.Join(dir, "sample")
	if err := writeSample(sample, 1000, 1); err != nil {
		t.Fatal(err)
	}
	for wrong, verified := range map[string]int{"": 5, "branch-b-2": 4} {
		var out bytes.Buffer
		a := &app{out: &out, err: new(bytes.Buffer), env: os.LookupEnv, progress: "auto"}
		net := newFakeNet(wrong)
		show := newBoard(a, net.Sites())
		res, err := distribute(t.Context(), net, sample, filepath.Join(dir, "copies"+wrong), show)
		show.Close()
		if err != nil {
			t.Fatal(err)
		}
		if res.Verified != verified || res.Copies != 5 || res.Delivered != 5000 || res.From.WAN != 5000 {
			t.Errorf("%q wrong: %+v", wrong, res)
		}
		if err := res.write(&out, net.Sites()); err != nil {
			t.Fatal(err)
		}
		text := regexp.MustCompile(`\d:\d\d`).ReplaceAllString(out.String(), "0:00")
		for _, line := range []string{
			"[0:00] branch-a  2/2 nodes have it   over the WAN 2.0 KiB   from the own site 0 B   (and the publisher)\n",
			"[0:00] branch-b  3/3 nodes have it   over the WAN 2.9 KiB   from the own site 0 B\n",
			"The WAN carried 4.9 KiB of content (0 B on the wire) for 4.9 KiB delivered: 0 % came from the own site; 0 B wasted.\n",
			"One copy for each site without it would have been 1000 B",
		} {
			if !strings.Contains(text, line) {
				t.Errorf("no %q in\n%s", line, text)
			}
		}
	}
}

// The line's limit holds over any time longer than its burst's, and what
// crossed is counted.
func TestWANLineHoldsItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWANLine(8_000_000) // a megabyte a second
		began := time.Now()
		for range 10 {
			w.Sent(30_000, nil)
		}
		// 300 kB, of which one burst goes at once.
		if took, least := time.Since(began), 260*time.Millisecond; took < least || took > 300*time.Millisecond {
			t.Errorf("took %v, want %v", took, least)
		}
		if n := w.sent.Load(); n != 300_000 {
			t.Errorf("counted %d", n)
		}
		done := make(chan struct{})
		close(done)
		began = time.Now()
		w.Sent(100_000_000, done)
		if took := time.Since(began); took > 0 {
			t.Errorf("a closed connection waits %v", took)
		}
	})
}

func TestLogIsJSONWhereNobodyLooks(t *testing.T) {
	var out bytes.Buffer
	log, err := newLogger(&out, "info", "auto")
	if err != nil {
		t.Fatal(err)
	}
	log.Debug("not this")
	log.Info("this")
	var line struct{ Level, Msg string }
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line.Msg != "this" {
		t.Errorf("%v in %q", err, out.String())
	}
	for _, bad := range [][2]string{{"loud", "auto"}, {"fatal", "auto"}, {"info", "xml"}} {
		if _, err := newLogger(&out, bad[0], bad[1]); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}

func TestFailureOfASignalIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errSignal)
	a := &app{begun: true}
	if e := a.failure(ctx, a.pingCommand(), context.Canceled); e.Code != api.Interrupted {
		t.Errorf("%+v", e)
	}
}
