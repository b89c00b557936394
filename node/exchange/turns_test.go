package exchange

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libp2p/go-libp2p/core/peer"
)

var update = flag.Bool("update", false, "write what turns does into testdata")

// TestTurns replays testdata/turns/*.txt: each line is an event, and what turns does
// about it follows, indented. Lines with # are comments. The first line says how many
// slots there are:
//
//	slots 2
//
// Events start with the time; a peer is a letter, and a number stands for another
// stream of it:
//
//	0ms want a b2
//	5ms wrote a 64            KiB; "whole" may follow: a chunk ended
//	9ms rest a
//	9ms leave a
//	9ms look                  whether time has changed something; when to look again
func TestTurns(t *testing.T) {
	files, err := filepath.Glob("testdata/turns/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := replayTurns(t, string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("turns does something else (-file +turns):\n%s", diff)
			}
		})
	}
}

var epoch = time.Unix(0, 0)

type turnsScript struct {
	turns *turns
	seats map[string]*seat
	aside map[string]bool
	out   bytes.Buffer
}

func replayTurns(t *testing.T, text string) string {
	t.Helper()
	s := &turnsScript{seats: map[string]*seat{}, aside: map[string]bool{}}
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

func (s *turnsScript) run(f []string) error {
	if f[0] == "slots" {
		n, err := strconv.Atoi(f[1])
		s.turns = newTurns(n)
		return err
	}
	d, err := time.ParseDuration(f[0])
	if err != nil {
		return err
	}
	now := epoch.Add(d)
	switch verb, args := f[1], f[2:]; verb {
	case "want":
		for _, name := range args {
			s.turns.want(s.seat(name))
		}
	case "wrote":
		kib, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		goOn := s.turns.wrote(now, s.seat(args[0]), kib<<10, len(args) == 3)
		fmt.Fprintf(&s.out, "\t%s %s\n", args[0], map[bool]string{true: "goes on", false: "waits"}[goOn])
	case "rest":
		s.turns.rest(s.seat(args[0]))
	case "leave":
		s.turns.leave(s.seat(args[0]))
		delete(s.seats, args[0])
	case "look":
	default:
		return fmt.Errorf("no event %s", verb)
	}
	for _, got := range s.turns.next(now, nil) {
		fmt.Fprintf(&s.out, "\tturn of %s\n", s.name(got))
	}
	for _, name := range s.names() {
		if aside := s.seats[name].aside; aside != s.aside[name] {
			s.aside[name] = aside
			fmt.Fprintf(&s.out, "\t%s %s\n", name, map[bool]string{true: "is beside", false: "counts again"}[aside])
		}
	}
	if f[1] == "look" {
		if at := s.turns.due(now); at.IsZero() {
			fmt.Fprintln(&s.out, "\tnobody waits")
		} else {
			fmt.Fprintf(&s.out, "\tlook again at %v\n", at.Sub(epoch))
		}
	}
	return nil
}

func (s *turnsScript) seat(name string) *seat {
	if s.seats[name] == nil {
		s.seats[name] = s.turns.enter(peer.ID(name[:1]))
	}
	return s.seats[name]
}

func (s *turnsScript) name(of *seat) string {
	for name, seat := range s.seats {
		if seat == of {
			return name
		}
	}
	return "?"
}

func (s *turnsScript) names() []string {
	var names []string
	for name := range s.seats {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Whatever peers ask for, in chunks of whatever size and in as many streams, those
// that want all the time are sent the same number of bytes, but for what a turn
// brings.
func TestTurnsAreShared(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		slots := 1 + rng.IntN(4)
		peers := slots + 1 + rng.IntN(20)
		tn := newTurns(slots)
		now := epoch
		chunk, left := map[*seat]int{}, map[*seat]int{}
		most := 0
		for p := range peers {
			size := 64 << 10 << rng.IntN(8)
			most = max(most, size)
			for range 1 + rng.IntN(3) {
				s := tn.enter(peer.ID(strconv.Itoa(p)))
				chunk[s], left[s] = size, size
				tn.want(s)
			}
		}
		for range 20000 {
			tn.next(now, nil)
			if len(tn.serving) != slots {
				t.Fatalf("seed %d: %d have their turn, of %d peers and %d slots", seed, len(tn.serving), peers, slots)
			}
			now = now.Add(time.Microsecond)
			s := tn.serving[rng.IntN(slots)]
			n := min(left[s], 64<<10)
			whole := n == left[s]
			if left[s] -= n; whole {
				left[s] = chunk[s]
			}
			tn.wrote(now, s, n, whole)
		}
		least, greatest := int64(1<<62), int64(0)
		for _, a := range tn.accounts {
			least, greatest = min(least, a.sent), max(greatest, a.sent)
		}
		if greatest-least > 2*int64(most) {
			t.Errorf("seed %d: %d peers, %d slots: one has been sent %d, another %d, in turns of %d", seed, peers, slots, greatest, least, most)
		}
	}
}
