package flow

import (
	"bytes"
	"flag"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/content"
)

var update = flag.Bool("update", false, "write what the core does into testdata")

// TestScripts replays testdata/*.txt: each line is an event, and what the core
// does about it follows, indented. Lines with # are comments. The first line says
// what the content is, all blocks having 64 KiB:
//
//	content 4 chunks of 16 blocks, here 0:1111111111111110 1
//
// (the blocks that are here, of chunks partly or wholly here). Events start with
// the time:
//
//	0s join a lan                 wan, lan; "at x" (its site), "banned 1h" or "last" may follow
//	0s have a 0-3 7               all it has; "none"
//	0s list a 3                   answers its request for chunk 3; "bad" may follow
//	0s blocks a 3 0-3 9           arrive and are right; "corrupt", "duplicate"
//	0s arrive a 3 0-3             arrive, and wait for a verdict
//	0s judge a 3 0-3              as blocks, of those
//	0s chunk a 3                  list, all blocks asked for, end
//	0s end a 3 sent               refused, busy, gone, cancelled
//	0s leave a
//	0s prefer 3 0-2               a reader waits for these; "by 2 3 0-2": another one
//	0s seated                     somebody shares out what comes from other sites
//	0s unseated                   nobody does
//	0s crewed carrier found       this node is a carrier; somebody has found a source
//	0s granted 3 5 taken 7        the answer to a proposal
//	0s freed 7                    others don't bring it any more
//	0s revoked 3                  somebody else brings it
//	5s tick                       ticks every 100 ms from the last event to then
//
// A content "shared" at the end of its line is one whose flow has a plan.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := replay(t, string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("the core does something else (-file +core):\n%s", diff)
			}
		})
	}
}

// A script is one being replayed.
type script struct {
	core     *core
	blocks   int
	now      time.Time
	sources  map[string]sourceID
	links    map[string]bandwidth.Link
	requests map[string]ask // "a 3": what was asked of a last
	out      bytes.Buffer
}

func replay(t *testing.T, text string) string {
	t.Helper()
	s := &script{now: epoch, sources: map[string]sourceID{}, links: map[string]bandwidth.Link{}, requests: map[string]ask{}}
	for n, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		switch {
		case strings.HasPrefix(line, "\t"): // what was expected
		case line == "" || line[0] == '#':
			fmt.Fprintln(&s.out, line)
		default:
			fmt.Fprintln(&s.out, line)
			if err := s.run(strings.Fields(line)); err != nil {
				t.Fatalf("line %d: %q: %v", n+1, line, err)
			}
		}
	}
	return s.out.String()
}

func (s *script) run(f []string) error {
	if f[0] == "content" {
		return s.begin(f)
	}
	d, err := time.ParseDuration(f[0])
	if err != nil || s.core == nil {
		return fmt.Errorf("no time, or no content yet: %v", err)
	}
	at := epoch.Add(d)
	if at.Before(s.now) {
		return fmt.Errorf("time goes back")
	}
	if f[1] == "tick" {
		for s.now.Before(at) {
			s.now = s.now.Add(100 * time.Millisecond)
			s.step(fmt.Sprintf("%v ", s.now.Sub(epoch)), tick{})
		}
		return nil
	}
	s.now = at
	if ev := planned(f[1:]); ev != nil {
		s.step("", ev)
		return nil
	}
	if f[1] == "prefer" {
		ev := prefer{Reader: 1}
		if f = f[2:]; len(f) > 1 && f[0] == "by" {
			if ev.Reader, err = strconv.ParseUint(f[1], 10, 64); err != nil {
				return err
			}
			f = f[2:]
		}
		ev.Chunks = numbers(f)
		s.step("", ev)
		return nil
	}
	name := f[2]
	id := s.sources[name]
	switch verb, args := f[1], f[3:]; verb {
	case "join":
		s.sources[name] = sourceID(len(s.sources) + 1)
		for s.core.byID[s.sources[name]] != nil || id != 0 && s.sources[name] <= id {
			s.sources[name] += 100
		}
		ev := joined{Source: s.sources[name], Peer: peer.ID(name), Link: bandwidth.LAN}
		if args[0] == "wan" {
			ev.Link = bandwidth.WAN
		}
		s.links[name] = ev.Link
		ev.Last = slices.Contains(args, "last")
		if at := slices.Index(args, "at"); at >= 0 {
			ev.Site = args[at+1]
			args = slices.Delete(args, at, at+2)
		}
		if len(args) == 3 {
			d, err := time.ParseDuration(args[2])
			if err != nil {
				return err
			}
			ev.Banned = s.now.Add(d)
		}
		s.step("", ev)
	case "leave":
		s.step("", left{id})
	case "have":
		m := roaring.New()
		for _, i := range numbers(args) {
			m.Add(uint32(i))
		}
		s.step("", have{id, m})
	default:
		return s.answer(verb, name, args)
	}
	return nil
}

// planned reads what a plan says; nil if it is something else.
func planned(f []string) event {
	switch f[0] {
	case "seated":
		return seated{}
	case "unseated":
		return unseated{}
	case "crewed":
		return crewed{Carrier: slices.Contains(f, "carrier"), Found: slices.Contains(f, "found")}
	case "freed":
		return freed{numbers(f[1:])}
	case "revoked":
		return revoked{numbers(f[1:])}
	case "granted", "taken":
		at := slices.Index(f, "taken")
		if at < 0 {
			at = len(f)
		}
		return answered{numbers(f[:at]), numbers(f[at:])}
	}
	return nil
}

// answer plays what comes for a request.
func (s *script) answer(verb, name string, args []string) error {
	chunk, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	a, ok := s.requests[name+" "+args[0]]
	if !ok {
		return fmt.Errorf("%s was not asked for chunk %d", name, chunk)
	}
	args = args[1:]
	switch verb {
	case "list":
		s.step("", list{a.Source, a.Request, chunk, uint8(s.blocks), len(args) > 0})
	case "blocks", "arrive", "judge":
		verdict := Verified
		switch last := args[len(args)-1]; last {
		case "corrupt":
			verdict, args = Corrupt, args[:len(args)-1]
		case "duplicate":
			verdict, args = Duplicate, args[:len(args)-1]
		}
		for _, b := range numbers(args) {
			if verb != "judge" {
				s.step("", arrived{a.Source, a.Request, chunk, uint8(b), simBlock})
			}
			if verb != "arrive" {
				s.step("", judged{a.Source, peer.ID(name), s.links[name], chunk, uint8(b), simBlock, verdict})
			}
		}
	case "chunk":
		if a.List {
			s.step("", list{Source: a.Source, Request: a.Request, Chunk: chunk, Blocks: uint8(s.blocks)})
		}
		for b := range s.blocks {
			if a.Want>>b&1 != 0 {
				s.step("", arrived{a.Source, a.Request, chunk, uint8(b), simBlock})
				s.step("", judged{a.Source, peer.ID(name), s.links[name], chunk, uint8(b), simBlock, Verified})
			}
		}
		s.step("", ended{a.Source, a.Request, Sent})
	case "end":
		o, ok := map[string]Outcome{"sent": Sent, "refused": Refused, "busy": Busy, "gone": Gone, "cancelled": Cancelled}[args[0]]
		if !ok {
			return fmt.Errorf("no such outcome")
		}
		s.step("", ended{a.Source, a.Request, o})
	default:
		return fmt.Errorf("no such event")
	}
	return nil
}

func (s *script) begin(f []string) error {
	if len(f) < 6 {
		return fmt.Errorf("want: content N chunks of B blocks")
	}
	n, _ := strconv.Atoi(f[1])
	s.blocks, _ = strconv.Atoi(f[4])
	if n <= 0 || s.blocks <= 0 {
		return fmt.Errorf("no numbers")
	}
	chunks := make([]content.Chunk, n)
	for i := range chunks {
		chunks[i].Size = uint32(s.blocks) * simBlock
	}
	shares := f[len(f)-1] == "shared"
	if shares {
		f = f[:len(f)-1]
	}
	s.core = newCore(rules{content: content.ID{1}, seed: 1, flying: DefaultFlying, banFor: DefaultBanFor, rank: simpleRank, shares: shares}, chunks)
	for _, h := range f[min(7, len(f)):] {
		chunk, mask, _ := strings.Cut(h, ":")
		i, err := strconv.Atoi(chunk)
		if err != nil {
			return err
		}
		var verified uint64
		for b, c := range mask {
			if c == '1' {
				verified |= 1 << b
			}
		}
		if mask == "" {
			verified = allBlocks(uint8(s.blocks))
		}
		s.core.resume(i, uint8(s.blocks), verified, uint32(s.blocks-bits.OnesCount64(verified))*simBlock)
	}
	return nil
}

// numbers reads "0-3 7".
func numbers(args []string) []int {
	var out []int
	for _, a := range args {
		first, last, ranged := strings.Cut(a, "-")
		i, err := strconv.Atoi(first)
		if err != nil {
			continue // "none"
		}
		j := i
		if ranged {
			j, _ = strconv.Atoi(last)
		}
		for ; i <= j; i++ {
			out = append(out, i)
		}
	}
	return out
}

// step gives the core an event, and prints what it does.
func (s *script) step(prefix string, ev event) {
	s.core.step(s.now, ev)
	fx := s.core.ready(s.now)
	asks := fx.asks
	for _, d := range fx.decisions {
		fmt.Fprintf(&s.out, "\t%s%s", prefix, d.Verb)
		if d.Peer != "" {
			fmt.Fprintf(&s.out, " %s", string(d.Peer))
		}
		if d.Chunk != NoChunk {
			fmt.Fprintf(&s.out, " %d", d.Chunk)
		}
		fmt.Fprintf(&s.out, ": %s", d.Reason)
		if d.Verb == Ask {
			a := asks[0]
			asks = asks[1:]
			s.requests[fmt.Sprintf("%s %d", string(d.Peer), a.Chunk)] = a
			if a.List {
				fmt.Fprint(&s.out, ", list and all")
			} else {
				fmt.Fprintf(&s.out, ", blocks %s", ranges(a.Want))
			}
		}
		fmt.Fprintln(&s.out)
	}
	for _, b := range fx.bans {
		fmt.Fprintf(&s.out, "\t%s%s is banned for %v\n", prefix, string(b.Peer), b.Until.Sub(s.now))
	}
	for what, chunks := range map[string][]int{"releases": fx.released, "brings": fx.took} {
		if len(chunks) > 0 {
			fmt.Fprintf(&s.out, "\t%s%s %v\n", prefix, what, chunks)
		}
	}
	if p := fx.proposal; p != nil {
		insists := ""
		if p.insist {
			insists = ", and insists"
		}
		fmt.Fprintf(&s.out, "\t%sproposes %d of %v%s\n", prefix, p.n, p.chunks, insists)
	}
	if fx.need {
		fmt.Fprintf(&s.out, "\t%sneeds sources\n", prefix)
	}
	if fx.done {
		fmt.Fprintf(&s.out, "\t%sdone\n", prefix)
	}
}

// ranges writes a mask as numbers reads it.
func ranges(mask uint64) string {
	var parts []string
	for i := 0; i < 64; i++ {
		if mask>>i&1 == 0 {
			continue
		}
		j := i
		for j < 63 && mask>>(j+1)&1 == 1 {
			j++
		}
		if i == j {
			parts = append(parts, fmt.Sprint(i))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", i, j))
		}
		i = j
	}
	return strings.Join(parts, " ")
}
