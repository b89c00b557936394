package chaos

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p2pnode/p2pnode/testnet/box"
)

// seed of the runs in these tests.
const seed = 7

func plan(t *testing.T, d time.Duration) Timeline {
	t.Helper()
	timeline, err := Make(box.Plan{Branches: 2, Peers: 3, Disk: 1 << 30, Seed: seed}, d)
	if err != nil {
		t.Fatal(err)
	}
	return timeline
}

// runFake runs a timeline over a box that does something wrong.
func runFake(t *testing.T, ctx context.Context, timeline Timeline, w wrong) (*fakeBox, Record, error) {
	t.Helper()
	b := newFakeBox(timeline.Box, w)
	var said []string
	rec, err := Run(ctx, b, b, timeline, func(_ time.Duration, text string) { said = append(said, text) })
	if t.Failed() {
		t.Logf("%v\n%s", timeline, strings.Join(said, "\n"))
	}
	return b, rec, err
}

func TestInvariantsHoldOfAnEnterpriseThatWorks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		timeline := plan(t, 5*time.Minute)
		b, rec, err := runFake(t, t.Context(), timeline, wrong{})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range Judge(timeline, rec) {
			if !v.Pass {
				t.Errorf("%+v", v)
			}
		}
		if len(rec.Gets) < len(timeline.Wants) {
			t.Errorf("%d gets of %d wants", len(rec.Gets), len(timeline.Wants))
		}
		for i, f := range timeline.Faults {
			if rec.Faults[i].Until == 0 {
				t.Errorf("#%d %v was never over", f.Number, f)
			}
		}
		whole(t, b)
	})
}

// whole fails the test unless nothing is broken in a box.
func whole(t *testing.T, b *fakeBox) {
	t.Helper()
	for _, n := range b.nodes {
		if !n.up || n.frozen || n.out || n.filled || n.site != n.place.Site {
			t.Errorf("%+v: want it up, plugged and at its site", *n)
		}
	}
	for site, l := range b.links {
		if up, down := Links(b.plan, site); l.set[0].String() != up.String() || l.set[1].String() != down.String() {
			t.Errorf("%s: link is %v, want %v and %v", site, l.set, up, down)
		}
	}
}

// Each thing that goes wrong breaks its own invariants and no others.
func TestInvariantsBreak(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		wrong wrong
		want  []string
	}{
		"digest":      {wrong{digest: true}, []string{"every copy is right"}},
		"corrupt":     {wrong{corrupt: true}, []string{"nothing wrong was served"}},
		"bad":         {wrong{bad: true}, []string{"all that is kept is right"}},
		"unread":      {wrong{unread: true}, []string{"all that is kept is right"}},
		"verb":        {wrong{verb: true}, []string{"other verbs do, too"}},
		"hang":        {wrong{hang: true}, []string{"gets end well, or with a clear error"}},
		"code":        {wrong{code: true}, []string{"gets end well, or with a clear error"}},
		"crash":       {wrong{crash: true}, []string{"no process crashes"}},
		"scrolled":    {wrong{scrolled: true}, []string{"no process crashes"}},
		"unfetched":   {wrong{unfetched: true}, []string{"nothing wrong was served"}},
		"gone":        {wrong{gone: true}, []string{"no process crashes", "nodes start and end when told"}},
		"panics":      {wrong{panics: true}, []string{"no process crashes"}},
		"start":       {wrong{start: true}, []string{"nodes start and end when told"}},
		"goroutines":  {wrong{goroutines: true}, []string{"no leak of goroutines"}},
		"descriptors": {wrong{descriptors: true}, []string{"no leak of descriptors"}},
		"memory":      {wrong{memory: true}, []string{"no leak of memory"}},
		"left":        {wrong{left: true}, []string{"nothing is left behind"}},
		"lost":        {wrong{lost: true}, []string{"all that is wanted arrives", "gets end well, or with a clear error"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				timeline := plan(t, time.Minute)
				_, rec, err := runFake(t, t.Context(), timeline, c.wrong)
				if err != nil {
					t.Fatal(err)
				}
				var failed []string
				for _, v := range Judge(timeline, rec) {
					if !v.Pass {
						failed = append(failed, v.Name)
						if len(v.Against) == 0 {
							t.Errorf("%s fails, and says nothing against it", v.Name)
						}
					}
				}
				if got, want := strings.Join(failed, "; "), strings.Join(c.want, "; "); got != want {
					t.Errorf("broken: %s; want %s", got, want)
				}
			})
		})
	}
}

// What never comes is waited for as long as the links may need, and no longer.
func TestRunEndsWhereNothingArrives(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		timeline := plan(t, time.Minute)
		begun := time.Now()
		b, _, err := runFake(t, ctx, timeline, wrong{never: true})
		if !errors.Is(err, errPatience) || time.Since(begun) > timeline.warming()+time.Second {
			t.Errorf("after %v: %v; want %v after %v", time.Since(begun), err, errPatience, timeline.warming())
		}
		whole(t, b)
	})
}

// Who interrupts a run finds the box as it was before the faults, whenever that is.
func TestInterruptHeals(t *testing.T) {
	t.Parallel()
	over := false
	for after := 5 * time.Second; !over; after += 7 * time.Second {
		synctest.Test(t, func(t *testing.T) {
			stop := errors.New("stop")
			ctx, cancel := context.WithTimeoutCause(t.Context(), after, stop)
			defer cancel()
			b, _, err := runFake(t, ctx, plan(t, time.Minute), wrong{})
			if over = err == nil; !over && !errors.Is(err, stop) {
				t.Errorf("after %v: %v, want %v", after, err, stop)
			}
			if !over && after > 10*time.Minute {
				t.Fatal("it doesn't end")
			}
			whole(t, b)
		})
	}
}
