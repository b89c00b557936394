package chaos

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/p2pnode/p2pnode/node/api"
)

// A Verdict says whether an invariant held.
type Verdict struct {
	Name    string   `json:"name"`
	Pass    bool     `json:"pass"`
	Figure  string   `json:"figure"`
	Against []string `json:"against,omitempty"` // what went against it
}

// Judge says of every invariant whether it held.
func Judge(t Timeline, r Record) []Verdict {
	return []Verdict{
		copies(t, r), kept(r), served(t, r), arrive(t, r), getsEnd(t, r), verbsEnd(t, r),
		crashes(r), obey(r),
		growth(t, r, Memory, "%+d", func(b bounds) int64 { return b.Memory }),
		growth(t, r, "no leak of goroutines", "%+d", func(b bounds) int64 { return int64(b.Goroutines) }),
		growth(t, r, "no leak of descriptors", "%+d", func(b bounds) int64 { return int64(b.Descriptors) }),
		left(r),
	}
}

// Memory is the name of the verdict on a leak of it.
const Memory = "no leak of memory"

// Passed reports whether all invariants held.
func Passed(vs []Verdict) bool {
	return !slices.ContainsFunc(vs, func(v Verdict) bool { return !v.Pass })
}

func verdict(name string, against []string, figure string, args ...any) Verdict {
	return Verdict{Name: name, Pass: len(against) == 0, Figure: fmt.Sprintf(figure, args...), Against: against}
}

func copies(t Timeline, r Record) Verdict {
	var against []string
	var bytes int64
	n := 0
	for _, g := range r.Gets {
		if g.Code != 0 {
			continue
		}
		n++
		bytes += t.Contents[g.Content].Size
		if want := r.Contents[g.Content].Digest; g.Digest != want {
			against = append(against, fmt.Sprintf("%s: sha256 of its copy of %s is %s, want %s", g.at(t), t.Contents[g.Content].Name, g.Digest, want))
		}
	}
	if n == 0 {
		against = append(against, "there was no copy")
	}
	return verdict("every copy is right", against, "%d copies, %d MiB", n, bytes>>20)
}

func (g Get) at(t Timeline) string {
	return fmt.Sprintf("%.1fs %s, get %d of %s, try %d", g.Until.Seconds(), g.Node, g.Want, t.Contents[g.Content].Name, g.Try)
}

func (c Check) at() string { return fmt.Sprintf("%.1fs %s: %s", c.Until.Seconds(), c.Node, c.Verb) }

func kept(r Record) Verdict {
	var against []string
	var read int64
	for _, c := range r.Checks {
		read += c.Read
		if c.Bad > 0 {
			against = append(against, fmt.Sprintf("%s: %d bad", c.at(), c.Bad))
		}
	}
	if read == 0 {
		against = append(against, "nothing was hashed")
	}
	return verdict("all that is kept is right", against, "%d MiB hashed", read>>20)
}

// served looks at what getters say of each other: all are honest here, so what one
// gave never is wrong.
func served(t Timeline, r Record) Verdict {
	var against []string
	var fetched, duplicate int64
	for _, g := range r.Gets {
		fetched += g.Fetched
		duplicate += g.Duplicate
		if g.Corrupt > 0 {
			against = append(against, fmt.Sprintf("%s: %d bytes were wrong", g.at(t), g.Corrupt))
		}
	}
	if fetched == 0 {
		against = append(against, "nothing was fetched")
	}
	return verdict("nothing wrong was served", against, "%d MiB from peers; %d MiB came twice", fetched>>20, duplicate>>20)
}

func arrive(t Timeline, r Record) Verdict {
	var against []string
	for _, m := range r.Missing {
		against = append(against, fmt.Sprintf("%s never had %s (get %d)", m.Node, t.Contents[m.Content].Name, m.Want))
	}
	after := max(0, r.Arrived-r.Healed)
	return verdict("all that is wanted arrives", against, "%d of %d, the last %.1f s after the last fault (bound %v)",
		len(t.Wants)-len(r.Missing), len(t.Wants), after.Seconds(), t.Patience().Round(time.Second))
}

func getsEnd(t Timeline, r Record) Verdict {
	var against []string
	codes := map[int]int{}
	for _, g := range r.Gets {
		codes[g.Code]++
		if why := r.excuse(t, g.Node, "get", g.Code, "", g.From, g.Until); why == "" {
			against = append(against, fmt.Sprintf("%s: ended with %s: %s", g.at(t), codeText(g.Code), g.Said))
		}
	}
	return verdict("gets end well, or with a clear error", against, "%s", counts(codes))
}

func verbsEnd(t Timeline, r Record) Verdict {
	var against []string
	codes := map[int]int{}
	for _, c := range r.Checks {
		codes[c.Code]++
		if why := r.excuse(t, c.Node, c.Verb, c.Code, c.Error, c.From, c.Until); why == "" {
			against = append(against, fmt.Sprintf("%s: ended with %s: %s", c.at(), codeText(c.Code), c.Said))
		}
	}
	return verdict("other verbs do, too", against, "%s", counts(codes))
}

func codeText(code int) string {
	if code == hung {
		return "nothing, it hung"
	}
	return fmt.Sprintf("exit %d", code)
}

func counts(codes map[int]int) string {
	var parts []string
	for _, c := range slices.Sorted(maps.Keys(codes)) {
		text := fmt.Sprintf("%d exit %d", codes[c], c)
		switch c {
		case 0:
			text = fmt.Sprintf("%d done", codes[c])
		case hung:
			text = fmt.Sprintf("%d hung", codes[c])
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

// The exit codes that have an excuse (cmd/p2pnode/README.md).
const (
	exitPartly      = 3
	exitNotRunning  = 10
	exitNotFound    = 11
	exitTimeout     = 14
	exitNoSpace     = 15
	exitInterrupted = 130
)

const (
	// A fault counts as the cause of what ends so long after it: peers that were away
	// are looked for, and those that were slow are given up on, within a minute.
	aftermath = time.Minute
	// A process that is killed ends a moment before that is written down.
	instant = 2 * time.Second
)

// excuse returns what makes it right that a verb on a node ended with a code; empty
// if nothing does.
func (r Record) excuse(t Timeline, node, verb string, code int, word api.Code, from, until time.Duration) string {
	here := func(slot string) bool {
		return r.during(t, from-instant, until+instant, func(f Fault) bool { return f.Who == node && f.Kind.slot() == slot })
	}
	crashed := slices.ContainsFunc(r.Crashes, func(c Crash) bool { return c.Node == node && c.At >= from && c.At <= until+instant })
	switch {
	case code == 0:
		return "done"
	case (code == exitNotRunning || code == exitInterrupted) && (here("process") || crashed):
		return "its node was down"
	case code == exitNoSpace && here("disk"):
		return "its disk was full"
	case verb == "get" && (code == exitNotFound || code == exitTimeout):
		if r.during(t, from-aftermath, until, func(Fault) bool { return true }) {
			return "the network was bad"
		}
	case strings.HasPrefix(verb, "content") && code == exitNotFound:
		return "it wasn't there"
	case strings.HasPrefix(verb, "content rm") && word == api.Busy:
		return "it was in use"
	case strings.HasPrefix(verb, "cache gc") && code == exitPartly:
		return "some of it was in use"
	}
	return ""
}

// during reports whether one of the faults lasted at some time between.
func (r Record) during(t Timeline, from, until time.Duration, is func(Fault) bool) bool {
	for i, f := range t.Faults {
		d := r.Faults[i]
		begun, over := d.From > 0, d.Until
		if over == 0 {
			over = until
		}
		if begun && d.From <= until && over >= from && is(f) {
			return true
		}
	}
	return false
}

func crashes(r Record) Verdict {
	var against []string
	for _, c := range r.Crashes {
		against = append(against, fmt.Sprintf("%.1fs %s; its log ends:\n%s", c.At.Seconds(), c.Node, c.Log))
	}
	return verdict("no process crashes", against, "%d", len(r.Crashes))
}

func obey(r Record) Verdict {
	var against []string
	for _, x := range r.Refused {
		against = append(against, fmt.Sprintf("%.1fs %s: %s: %s", x.At.Seconds(), x.Node, x.What, x.Said))
	}
	return verdict("nodes start and end when told", against, "%d did not", len(r.Refused))
}

// growth judges one of the bounds, and tells of the node that is nearest to it.
func growth(t Timeline, r Record, name, format string, of func(bounds) int64) Verdict {
	var against []string
	worst, figure := int64(math.MinInt64), "nothing was measured"
	for _, node := range slices.Sorted(maps.Keys(r.Usage)) {
		g := r.Usage[node]
		by, most := of(g.more()), of(t.bounds(g))
		if by-most > worst {
			worst, figure = by-most, fmt.Sprintf(format+" of "+format+" allowed (%s)", by, most, node)
		}
		if by > most {
			against = append(against, fmt.Sprintf("%s: "+format+"; before %+v, after %+v", node, by, g.Before, g.After))
		}
	}
	if len(r.Usage) == 0 {
		against = append(against, figure)
	}
	return verdict(name, against, "%s", figure)
}

func left(r Record) Verdict {
	var against []string
	for _, node := range slices.Sorted(maps.Keys(r.Left)) {
		for _, path := range r.Left[node] {
			against = append(against, node+": "+path)
		}
	}
	return verdict("nothing is left behind", against, "%d files", len(against))
}

// Table writes verdicts for people.
func Table(w io.Writer, vs []Verdict) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, v := range vs {
		word := "PASS"
		if !v.Pass {
			word = "FAIL"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", word, v.Name, v.Figure)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, v := range vs {
		for i, a := range v.Against {
			if i == 20 {
				fmt.Fprintf(w, "  %s: and %d more\n", v.Name, len(v.Against)-i)
				break
			}
			fmt.Fprintf(w, "  %s: %s\n", v.Name, strings.ReplaceAll(strings.TrimSpace(a), "\n", "\n    "))
		}
	}
	return nil
}
