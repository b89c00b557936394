package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/p2pnode/p2pnode/content/store/disk"
	"github.com/p2pnode/p2pnode/content/store/disk/disktest"
)

// The nth operation of a life fails, for all n; what the store has then counts only
// if it is right, and once nothing fails any more it is well again (G30, G31).

// A faultKind is how operations fail.
type faultKind struct {
	name  string
	err   error
	hits  func(disktest.Kind) bool
	on    bool // and all those after it, to the end
	short bool // a write takes some of its bytes
	drop  bool // what a failed sync leaves unwritten is read no more
}

func changes(k disktest.Kind) bool { return k.Changes() }
func takes(k disktest.Kind) bool {
	return k == disktest.Write || k == disktest.Create || k == disktest.Mkdir
}

var faultKinds = []faultKind{
	{name: "EIO once", err: syscall.EIO, hits: func(disktest.Kind) bool { return true }},
	{name: "EIO from then on", err: syscall.EIO, hits: func(disktest.Kind) bool { return true }, on: true},
	{name: "EIO of a sync", err: syscall.EIO, hits: func(k disktest.Kind) bool { return k == disktest.Sync }},
	{name: "EIO of a sync, and bytes gone", err: syscall.EIO, hits: func(k disktest.Kind) bool { return k == disktest.Sync }, drop: true},
	{name: "EIO of all syncs", err: syscall.EIO, hits: func(k disktest.Kind) bool { return k == disktest.Sync || k == disktest.SyncFolder }, on: true},
	{name: "ENOSPC once", err: syscall.ENOSPC, hits: takes},
	{name: "ENOSPC from then on", err: syscall.ENOSPC, hits: takes, on: true},
	{name: "ENOSPC after some bytes", err: syscall.ENOSPC, hits: takes, short: true},
	{name: "EROFS from then on", err: syscall.EROFS, hits: changes, on: true},
}

// usualLife is all that a store can do, once or twice, with some contents.
var usualLife = strings.Fields("begin0 lists0 write0 flush0 write0 release0 publish1 pin1 kill0 " +
	"begin2 fill2 flush2 rot1 verify1 fill1 flush1 reopen0 rot2 write0 verify2 begin3 flush0 remove1 fill0 flush0 " +
	"publish2 abort0 begin1 write1 flush1 publish1 release1 kill0 write2 flush2 reopen0")

// live lives that life, whatever fails. A store that doesn't open is opened again
// until tries are over.
func (w *world) live() {
	if w.s == nil && w.open() != nil && w.open() != nil {
		w.s = nil
		return
	}
	for _, step := range usualLife {
		if err := w.actBy(step); err != nil {
			w.did("     " + err.Error())
		}
		if w.s != nil && !w.s.closed {
			continue
		}
		w.model.Kill()
		err := w.open()
		if err != nil {
			err = w.open() // the fault may have been of one operation
		}
		if err != nil {
			w.s = nil
			return
		}
	}
}

// faulty lives a life in which the nth operation fails, and returns what is wrong
// after it, and whether any failed.
func faulty(t testing.TB, kind faultKind, n int, seed uint64, between func(disk.FS) disk.FS) (hit bool, err error) {
	w := newWorld(t, disktest.POSIX, seed, between)
	w.faulty = true
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, w.story())
		} else if err != nil {
			err = fmt.Errorf("%w\n%s", err, w.story())
		}
	}()
	if kind.drop {
		w.model.DropUnsynced(rand.New(rand.NewPCG(seed, uint64(n))))
	}
	var failed atomic.Bool
	count := 0
	w.model.Fault(func(op disktest.Op) error {
		if !kind.hits(op.Kind) {
			return nil
		}
		count++
		if count != n && !(kind.on && count > n) {
			return nil
		}
		if failed.CompareAndSwap(false, true) {
			w.did("     fails: " + op.String())
		}
		if kind.short && op.Kind == disktest.Write {
			return &disktest.Short{Bytes: op.Size / 2, Err: kind.err}
		}
		return kind.err
	})
	w.live()
	// Power is lost while it fails; and else it works again.
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	promised := *w.promises.Load()
	image, seen := w.model.Image(), make(map[uint64]bool)
	for range 5 {
		crashed := image.Crash(disktest.Some, r)
		sum := crashed.Sum()
		if seen[sum] {
			continue // as before
		}
		seen[sum] = true
		if err := promised.check(crashed, crashed, r, true); err != nil {
			return true, fmt.Errorf("crash while it fails: %w", err)
		}
		if !kind.hits(disktest.Sync) || kind.on {
			break
		}
	}
	w.model.Fault(nil)
	if w.s == nil {
		w.model.Kill()
		if err := w.open(); err != nil {
			return true, err
		}
	}
	return failed.Load(), w.recover(kind)
}

// recover does what Run does, and checks that all is well.
func (w *world) recover(kind faultKind) error {
	promised := w.promises.Load()
	if kind.err == syscall.ENOSPC {
		for _, c := range w.s.List() {
			if err := c.failure(); err != nil {
				return fmt.Errorf("a full disk ended a content: %w", err)
			}
		}
	}
	for _, sample := range w.samples { // what counts is right at any time
		if c, ok := w.s.Get(sample.ID); ok && !slices.ContainsFunc(promised.of, rotten) {
			if err := rightBytes(c, sample); err != nil {
				return err
			}
		}
	}
	w.s.mendAll(context.Background())
	for i := range w.samples {
		if err := promised.checkContent(w.s, i); err != nil {
			return fmt.Errorf("mended, content %d: %w", i, err)
		}
		if err := promised.finish(w.s, i); err != nil {
			return fmt.Errorf("mended, go on with content %d: %w", i, err)
		}
	}
	for _, c := range w.s.List() {
		w.s.tell(c.id, "", c.Flush(context.Background()))
	}
	if trouble := w.s.Trouble(); len(trouble) > 0 {
		return fmt.Errorf("mended, and in trouble: %v", trouble)
	}
	if err := promised.checkFolders(w.model); err != nil {
		return fmt.Errorf("mended: %w", err)
	}
	after := *promised
	after.of = slices.Clone(after.of)
	for i := range after.of {
		after.of[i] = after.of[i].clone()
		after.of[i].here, after.of[i].gone, after.of[i].complete = true, false, true
		clear(after.of[i].rotten)
	}
	r := rand.New(rand.NewPCG(1, 1))
	crashed := w.model.Image().Crash(disktest.None, r)
	if err := after.check(crashed, crashed, r, false); err != nil {
		return fmt.Errorf("mended, and crashed: %w", err)
	}
	return w.s.Close()
}

func rotten(p promise) bool {
	return slices.ContainsFunc(p.rotten, func(m uint64) bool { return m != 0 })
}

func TestFaults(t *testing.T) {
	t.Parallel()
	p := powerPlan(t)
	start := time.Now()
	var all int
	for _, kind := range faultKinds {
		n, problems := sweep(t, kind, p, nil)
		for _, problem := range problems {
			t.Errorf("%s, seed %d: %s", kind.name, p.seed, problem)
		}
		t.Logf("%s: %d lives", kind.name, n)
		all += n
	}
	t.Logf("%d lives in %v, seed %d", all, time.Since(start).Round(time.Millisecond), p.seed)
}

// sweep has one operation fail after the other.
func sweep(t testing.TB, kind faultKind, p plan, between func(disk.FS) disk.FS) (n int, problems []string) {
	var (
		mu   sync.Mutex
		next atomic.Int64
		last atomic.Bool
		work sync.WaitGroup
	)
	step := int64(1)
	switch {
	case testing.Short() || raceEnabled:
		step = 11
	case kind.on && !p.full: // one more or less before the end is no other life
		step = 3
	}
	for range runtime.GOMAXPROCS(0) {
		work.Go(func() {
			for !last.Load() {
				at := int(next.Add(step))
				hit, err := faulty(t, kind, at, p.seed, between)
				mu.Lock()
				if n++; err != nil {
					problems = append(problems, fmt.Sprintf("%d: %v", at, err))
				}
				if !hit || len(problems) >= p.enough {
					last.Store(true)
				}
				mu.Unlock()
			}
		})
	}
	work.Wait()
	return n, problems
}
