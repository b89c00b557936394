package store

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/p2pnode/p2pnode/content/store/disk"
	"github.com/p2pnode/p2pnode/content/store/disk/disktest"
)

// Power is lost before every operation of a life of a store that changes
// something, and what is left is opened (G28).
const (
	powerOps   = 1000 // at least, for each kind of system
	powerTries = 20   // states that each may leave
)

// powerEnv is set to other numbers: "operations tries seed".
const powerEnv = "STORE_TEST_POWER"

// A plan is how large a test is.
type plan struct {
	ops, tries int
	seed       uint64
	enough     int  // problems, to stop
	full       bool // leave nothing out
}

func powerPlan(t *testing.T) plan {
	p := plan{powerOps, powerTries, rand.Uint64(), 3, false}
	if testing.Short() || raceEnabled {
		p.tries = 2
	}
	if s := os.Getenv(powerEnv); s != "" {
		p.full = true
		if _, err := fmt.Sscan(s, &p.ops, &p.tries, &p.seed); err != nil {
			t.Fatalf("%s=%q: want operations, tries and seed: %v", powerEnv, s, err)
		}
	}
	return p
}

func TestPowerLoss(t *testing.T) {
	t.Parallel()
	p := powerPlan(t)
	start := time.Now()
	var states int
	for _, semantics := range []disktest.Semantics{disktest.POSIX, disktest.Windows} {
		n, problems := losePower(t, semantics, p, nil, asItIs)
		states += n
		for _, problem := range problems {
			t.Errorf("%v, seed %d: %s", semantics, p.seed, problem)
		}
	}
	t.Logf("%d crash states in %v, seed %d", states, time.Since(start).Round(time.Millisecond), p.seed)
	if want := 2 * p.ops * p.tries; states < want && !t.Failed() {
		t.Errorf("%d crash states, want at least %d", states, want)
	}
}

// asItIs returns what a crash left as it is.
func asItIs(d *disktest.FS) disk.FS { return d }

// losePower lives a life of a store on a file system, which between may change,
// and looks at every state in which a crash may leave it, by way of opened.
func losePower(t testing.TB, semantics disktest.Semantics, p plan, between func(disk.FS) disk.FS, opened func(*disktest.FS) disk.FS) (states int, problems []string) {
	t.Helper()
	// What a crash leaves is often what another left, and is looked at once for what
	// was promised.
	type look struct {
		promises *promises
		sum      uint64
		more     bool
	}
	type moment struct {
		image    *disktest.Image
		promises *promises
		op       disktest.Op
		n        int
		story    string
	}
	var (
		moments = make(chan moment, 64)
		looking sync.WaitGroup
		mu      sync.Mutex
		count   atomic.Int64
		seen    sync.Map // of look
		stop    atomic.Bool
	)
	report := func(problem string) {
		mu.Lock()
		defer mu.Unlock()
		if problems = append(problems, problem); len(problems) >= p.enough {
			stop.Store(true)
		}
	}
	for range runtime.GOMAXPROCS(0) {
		looking.Go(func() {
			for m := range moments {
				for try := 0; try < p.tries && !stop.Load(); try++ {
					keep := disktest.Some
					if try < 2 {
						keep = []disktest.Keep{disktest.None, disktest.All}[try]
					}
					r := rand.New(rand.NewPCG(p.seed, uint64(m.n*p.tries+try)))
					count.Add(1)
					var crashed *disktest.FS
					more := try%10 == 2
					if try == 2 {
						crashed = m.image.Kill() // and power is lost later
					} else {
						crashed = m.image.Crash(keep, r)
						if _, was := seen.LoadOrStore(look{m.promises, crashed.Sum(), more}, nil); was {
							continue
						}
					}
					if err := m.promises.check(crashed, opened(crashed), r, more); err != nil {
						report(fmt.Sprintf("crash %d.%d before %v: %v\n%s", m.n, try, m.op, err, m.story))
					}
				}
			}
		})
	}
	w := newWorld(t, semantics, p.seed, between)
	n := 0
	w.model.Watch(func(op disktest.Op, image *disktest.Image) {
		if stop.Load() {
			return
		}
		w.did("    " + op.String())
		moments <- moment{image, w.promises.Load(), op, n, w.story()}
		n++
	})
	var err error
	err = w.open()
	for step := 0; err == nil && n < p.ops && !stop.Load(); step++ {
		if step < len(usualLife) { // so that each has what most mistakes are about
			err = w.actBy(usualLife[step])
		} else {
			err = w.actAtRandom()
		}
	}
	if err == nil && !stop.Load() {
		err = w.s.Close()
	}
	if err != nil {
		report(fmt.Sprintf("alive: %v\n%s", err, w.story()))
	}
	w.model.Watch(nil)
	close(moments)
	looking.Wait()
	return int(count.Load()), problems
}
