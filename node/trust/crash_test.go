package trust

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/zap"
)

// A story is a node that remembers more and more, on a disk that may end it. What
// it was told is safe must be there afterwards, in either copy alone.
type story struct {
	d *memDisk
	v *memory
	l *ledger
	// told is what was acknowledged, tried what may have happened as well.
	told, tried progress
	// Mistakes: to use before it is on disk; to believe a second sync.
	early, retries bool
}

// progress is how far each of the things got that may not go back.
type progress struct{ sequence, floor, list, deeds uint64 }

func (p progress) within(least, most progress) bool {
	return least.sequence <= p.sequence && p.sequence <= most.sequence &&
		least.floor <= p.floor && p.floor <= most.floor &&
		least.list <= p.list && p.list <= most.list &&
		least.deeds <= p.deeds && p.deeds <= most.deeds
}

// newStory begins with an enterprise's first state, all of it safe.
func newStory(t testing.TB) *story {
	t.Helper()
	d := newMemDisk()
	v := withLedger(t, d)
	check(t, v.commit(func(next *state) error {
		next.Marks = []mark{{Kind: releaseMark, Name: "app", Sequence: 1}}
		next.Lists = [][]byte{{0}}
		return nil
	}))
	d = d.clone()
	s := &story{d: d}
	s.told.sequence = 1
	check(t, s.open())
	return s
}

// open starts the node on the disk.
func (s *story) open() (err error) {
	s.told.deeds = 0
	s.v, s.l, err = openAll(s.d, &s.told.deeds)
	s.tried = s.told
	return err
}

func openAll(d *memDisk, deeds *uint64) (*memory, *ledger, error) {
	v, err := openMemory(folder{d, "/trust"}, zap.NewNop())
	if err != nil {
		return nil, nil, err
	}
	l, err := openLedger(v, func(e entry) { *deeds = uint64(e.At) })
	return v, l, err
}

// reached reads how far a disk got, as a node that starts on it would.
func reached(d *memDisk) (p progress, err error) {
	v, l, err := openAll(d, &p.deeds)
	if err != nil {
		return p, err
	}
	s := v.get()
	p.sequence, p.floor, p.list = s.Marks[0].Sequence, uint64(s.Floor), uint64(s.Lists[0][0])
	return p, l.close()
}

// steps are what the node learns; each returns an error or is acknowledged.
func (s *story) steps() []func() error {
	number := func(told, tried *uint64, write func(uint64) error) error {
		n := *tried + 1
		*tried = n
		if s.early {
			*told = n
		}
		err := write(n)
		if err == nil {
			*told = n
		}
		return err
	}
	release := func() error {
		return number(&s.told.sequence, &s.tried.sequence, func(n uint64) error {
			m, err := newMarks(s.v, s.v.get().Marks)
			if err != nil {
				return err
			}
			return m.accept(mark{Kind: releaseMark, Name: "app", Sequence: n})
		})
	}
	beacon := func() error {
		return number(&s.told.floor, &s.tried.floor, func(n uint64) error {
			return s.v.commit(func(next *state) error { next.Floor = int64(n); return nil })
		})
	}
	list := func() error {
		return number(&s.told.list, &s.tried.list, func(n uint64) error {
			return s.v.commit(func(next *state) error { next.Lists = [][]byte{{byte(n)}}; return nil })
		})
	}
	invite := func() error {
		return number(&s.told.deeds, &s.tried.deeds, func(n uint64) error {
			return s.l.append(entry{Deed: invited, At: int64(n), Site: strings.Repeat("x", 40)})
		})
	}
	return []func() error{release, invite, beacon, list, invite, release}
}

// holds reports what is wrong with a disk as a power cut left it: whatever one
// copy of each thing becomes, the node starts with all that was acknowledged and
// nothing that was never tried, and both copies are whole again.
func (s *story) holds(image *memDisk) error {
	for _, gone := range [][]string{nil, {slotNames[0]}, {slotNames[1]}, {ledgerNames[0]}, {ledgerNames[1]}, {slotNames[1], ledgerNames[0]}} {
		d := image.clone()
		if err := (folder{d, "/trust"}).remove(gone...); err != nil {
			return err
		}
		p, err := reached(d)
		if err != nil {
			return fmt.Errorf("without %v: %w", gone, err)
		}
		if !p.within(s.told, s.tried) {
			return fmt.Errorf("without %v: at %+v, acknowledged %+v, tried %+v", gone, p, s.told, s.tried)
		}
		for _, pair := range [][2]string{slotNames, ledgerNames} {
			a, aerr := d.read("/trust/" + pair[0])
			b, berr := d.read("/trust/" + pair[1])
			if aerr != nil || berr != nil || !slices.Equal(a, b) {
				return fmt.Errorf("without %v: %s is not mended", gone, pair[0])
			}
		}
	}
	return nil
}

// cutEverywhere plays a story with a power cut at each of its operations, in every
// state that it could leave, and again at each operation of the start behind it.
// It returns how many states were seen and what was wrong with them.
// With a mistake planted, the first wrong state is enough.
func cutEverywhere(s *story, twice, mistake bool) (states int, wrong []string) {
	note := func(op, path string, err error) {
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("cut before %s %s: %v", op, path, err))
		}
	}
	turn := 0
	s.d.before = func(op, path string) error {
		if mistake && len(wrong) > 0 {
			return nil
		}
		states += s.d.cuts(128, func(image *memDisk) {
			note(op, path, s.holds(image))
			if turn++; !twice || turn%8 != 0 {
				return
			}
			again := image.clone()
			again.before = func(op2, path2 string) error {
				if len(again.pending) > 0 {
					states += again.cuts(8, func(second *memDisk) { note(op+", then "+op2, path2, s.holds(second)) })
				}
				return nil
			}
			_, err := reached(again)
			note(op, path, err)
		})
		return nil
	}
	for i, step := range s.steps() {
		if err := step(); err != nil {
			wrong = append(wrong, fmt.Sprintf("step %d: %v", i, err))
		}
	}
	return states, wrong
}

// R12, R30: the power may go at any moment.
func TestPowerCuts(t *testing.T) {
	t.Parallel()
	states, wrong := cutEverywhere(newStory(t), true, false)
	if len(wrong) > 0 {
		t.Errorf("%d of %d states are wrong; the first: %s", len(wrong), states, wrong[0])
	}
	if states < 900 {
		t.Errorf("only %d states were tried", states)
	}
	t.Logf("%d states", states)
}

// Each of these mistakes has to show in TestPowerCuts or TestDiskErrors, or they
// don't hold what they say.
func TestMistakesAreCaught(t *testing.T) {
	t.Parallel()
	deaf := func(op, path string) func(*story) {
		return func(s *story) {
			s.d.deaf = func(o, p string) bool { return o == op && strings.HasSuffix(p, path) }
		}
	}
	for name, plant := range map[string]func(*story){
		"the first slot's fsync is left out":     deaf("sync", "state.a.new"),
		"the second slot's fsync is left out":    deaf("sync", "state.b.new"),
		"the folder's fsync is left out":         deaf("syncdir", "trust"),
		"the second slot is not written":         deaf("rename", "state.b"),
		"the ledger's second copy is not synced": deaf("sync", "ledger.b"),
		"it is used before it is on disk":        func(s *story) { s.early = true },
	} {
		s := newStory(t)
		plant(s)
		if states, wrong := cutEverywhere(s, false, true); len(wrong) == 0 {
			t.Errorf("%s: not seen in %d states", name, states)
		} else {
			t.Logf("%s: %d of %d states, as %s", name, len(wrong), states, wrong[0])
		}
	}
	if runs, wrong := failEverywhere(t, func(s *story) { s.d.careless = true }); len(wrong) == 0 {
		t.Errorf("a failed fsync is taken for a good one: not seen in %d runs", runs)
	}
	if runs, wrong := failEverywhere(t, func(s *story) { s.retries = true }); len(wrong) == 0 {
		t.Errorf("a failed fsync is tried again: not seen in %d runs", runs)
	}
}

// failEverywhere plays a story once for each of its operations and each of a few
// ways in which that may fail: once, or from then on for the rest of a step.
func failEverywhere(t testing.TB, plant func(*story)) (runs int, wrong []string) {
	t.Helper()
	for _, fault := range []error{syscall.EIO, syscall.ENOSPC} {
		for _, lasting := range []bool{false, true} {
			for n, hit := 1, true; hit; n++ {
				s := newStory(t)
				plant(s)
				runs++
				var problem error
				hit, problem = s.failAt(n, fault, lasting)
				if problem != nil {
					wrong = append(wrong, fmt.Sprintf("%v at operation %d (lasting: %t): %v", fault, n, lasting, problem))
				}
			}
		}
	}
	return runs, wrong
}

// failAt plays the story with a fault at the n-th operation; hit is false if there
// is no such operation.
func (s *story) failAt(n int, fault error, lasting bool) (hit bool, problem error) {
	count, active, lost := 0, false, false
	s.d.before = func(op, path string) error {
		count++
		if count == n {
			hit, active = true, true
		}
		if !active || fault == syscall.ENOSPC && op != "write" && op != "create" && op != "sync" {
			return nil
		}
		active = lasting
		// A sync that fails means that the disk lost something, unless it was of the
		// files for others to see.
		lost = lost || op == "sync" || op == "syncdir"
		return fault
	}
	for i, step := range s.steps() {
		refused := s.v.broken() != nil || s.l.failed != nil
		err := step()
		switch {
		case err == nil && refused && (s.v.broken() != nil):
			return hit, fmt.Errorf("step %d: accepted after the disk lost something", i)
		case err != nil && !hit:
			return hit, fmt.Errorf("step %d: %w", i, err)
		case err != nil && !errors.Is(err, fault) && !errors.Is(err, ErrStateFailed):
			return hit, fmt.Errorf("step %d: %w", i, err)
		}
		active = false // the disk has room again, or answers again
		if s.retries && s.v.broken() != nil {
			s.v.failed, s.l.failed = nil, nil // the mistake: as if trying again told anything
			if s.syncAgain() == nil {
				s.told = s.tried
			}
		}
	}
	if lost && !s.d.careless && !s.retries && s.v.broken() == nil && s.l.failed == nil {
		return hit, errors.New("the disk lost something, and new things are accepted")
	}
	if !lost && (s.v.broken() != nil || s.l.failed != nil && !lasting) {
		return hit, errors.New("a fault that passed needs a restart")
	}
	s.d.before = nil
	s.d.cuts(64, func(image *memDisk) {
		if err := s.holds(image); err != nil && problem == nil {
			problem = err
		}
	})
	return hit, problem
}

// syncAgain does what a program does that believes a second sync.
func (s *story) syncAgain() error {
	for _, name := range slotNames {
		f, err := s.d.open("/trust/" + name)
		if err == nil {
			err = f.Sync()
		}
		if err != nil {
			return err
		}
	}
	return s.d.syncDir("/trust")
}

// R31, R33: a disk that fails or is full. What passed is forgotten; what may have
// lost something is not trusted until the node starts again.
func TestDiskErrors(t *testing.T) {
	t.Parallel()
	runs, wrong := failEverywhere(t, func(*story) {})
	if len(wrong) > 0 {
		t.Errorf("%d of %d runs are wrong; the first: %s", len(wrong), runs, wrong[0])
	}
	t.Logf("%d runs", runs)
}

// A fault while a node starts keeps it from starting, or does no harm.
func TestDiskErrorsAtStart(t *testing.T) {
	t.Parallel()
	runs := 0
	for _, hurt := range []string{"", slotNames[0], slotNames[1], ledgerNames[0], ledgerNames[1]} {
		for _, fault := range []error{syscall.EIO, syscall.ENOSPC} {
			for n, hit := 1, true; hit; n++ {
				s := newStory(t)
				for _, step := range s.steps() {
					check(t, step())
				}
				if hurt != "" {
					check(t, s.v.dir.write(hurt, []byte("damaged")))
				}
				count := 0
				hit = false
				d := s.d.clone()
				d.before = func(op, path string) error {
					if count++; count == n {
						hit = true
						return fault
					}
					return nil
				}
				p, err := reached(d)
				runs++
				if err == nil && p != s.told {
					t.Fatalf("%v at operation %d, %q damaged: at %+v, want %+v", fault, n, hurt, p, s.told)
				}
				d.before = nil
				d.cuts(64, func(image *memDisk) {
					p, err := reached(image) // a second start mends what the first did not
					if err != nil || p != s.told {
						t.Fatalf("%v at operation %d, %q damaged: then at %+v, %v, want %+v", fault, n, hurt, p, err, s.told)
					}
					check(t, s.holds(image))
				})
			}
		}
	}
	t.Logf("%d runs", runs)
}
