package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// A platter is a disk of a size, of which others have used some, and the store
// what its contents have.
type platter struct {
	size   int64
	others atomic.Int64
	store  atomic.Pointer[store.Store]
}

func (p *platter) space(string) (free, total uint64, err error) {
	left := p.size - p.others.Load()
	if s := p.store.Load(); s != nil {
		for _, c := range s.List() {
			left -= c.Occupies()
		}
	}
	return uint64(max(0, left)), uint64(p.size), nil
}

// onPlatter opens a store on a disk of a size, whose blocks have one byte.
func onPlatter(t *testing.T, size int64, cfg store.Config) (*store.Store, *platter) {
	p := &platter{size: size}
	cfg.Space, cfg.BlockSize = p.space, 1
	s := open(t, cfg)
	p.store.Store(s)
	t.Cleanup(func() { s.Close() })
	return s, p
}

func held(s *store.Store, samples ...*storetest.Sample) (ids []bool) {
	for _, x := range samples {
		_, ok := s.Get(x.ID)
		ids = append(ids, ok)
	}
	return ids
}

// samples returns contents that cost so much each where a block has one byte.
func samples(t *testing.T, n int, cost int64) (out []*storetest.Sample) {
	for i := range n {
		out = append(out, storetest.File(t, uint64(i+1), cost-8, storetest.Small))
	}
	return out
}

// age makes contents last used one after the other, long ago.
func age(t *testing.T, s *store.Store, all ...*storetest.Sample) {
	t.Helper()
	for i, x := range all {
		c, ok := s.Get(x.ID)
		if !ok {
			t.Fatal("not here")
		}
		c.SetLastUsed(time.Now().Add(-1000 * time.Hour).Add(time.Duration(i) * time.Hour))
	}
}

func TestReserveEvictsWhatIsWorthLeast(t *testing.T) {
	x := samples(t, 4, 100_000)
	var gone []content.ID
	s, _ := onPlatter(t, 1<<30, store.Config{Quota: 300_000, Floor: store.NoFloor, Hooks: store.Hooks{
		Evicted: func(c *store.Content) { gone = append(gone, c.ID()) },
	}})
	for _, sample := range x[:3] {
		fetch(t, s, sample)
	}
	age(t, s, x[:3]...)
	oldest, _ := s.Get(x[0].ID)
	if err := oldest.Pin(true); err != nil {
		t.Fatal(err)
	}
	_, room, err := s.Receive(x[3].Encoded)
	if err != nil {
		t.Fatal(err)
	}
	if got := held(s, x...); !got[0] || got[1] || !got[2] || !got[3] {
		t.Errorf("here: %v", got)
	}
	if len(gone) != 1 || gone[0] != x[1].ID || s.Stats().Evicted.Load() != 1 || s.Stats().EvictedBytes.Load() != 100_000 {
		t.Errorf("told of %v, counted %d", gone, s.Stats().Evicted.Load())
	}
	fetch(t, s, x[3])
	room.Release()
	right(t, oldest, x[0])
	if sp, err := s.Space(); err != nil || sp.Used != 300_000 || sp.Reserved != 0 {
		t.Errorf("%+v, %v", sp, err)
	}
}

// What doesn't fit is refused before anything is written or evicted, with what
// stands in the way.
func TestReserveRefusesBeforeTheFirstByte(t *testing.T) {
	x := samples(t, 5, 100_000)
	for _, test := range []struct {
		name string
		cfg  store.Config
		size int64
		want []string
	}{
		{"quota", store.Config{Quota: 450_000, Floor: store.NoFloor}, 1 << 30, []string{"of the quota of 439 KiB are used", "raise the quota"}},
		{"share", store.Config{QuotaShare: 0.45, Floor: store.NoFloor}, 1_000_000, []string{"of the quota of 439 KiB are used"}},
		{"floor", store.Config{Floor: 100_000}, 550_000, []string{"146 KiB free, of which 98 KiB are kept free", "free some"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.cfg.Dir = t.TempDir()
			test.cfg.Hooks.Wish = func(id content.ID) store.Wish {
				if id == x[3].ID {
					return store.Wish{Wanted: 1}
				}
				return store.Wish{}
			}
			s, _ := onPlatter(t, test.size, test.cfg)
			for _, sample := range x[:4] {
				fetch(t, s, sample)
			}
			age(t, s, x[:4]...)
			pinned, _ := s.Get(x[0].ID)
			if err := pinned.Pin(true); err != nil {
				t.Fatal(err)
			}
			read, _ := s.Get(x[1].ID)
			release := read.Hold()
			defer release()
			coming, _ := s.Get(x[2].ID)
			under, err := coming.Reserve() // nothing is missing of it; it is under way all the same
			if err != nil {
				t.Fatal(err)
			}
			defer under.Release()
			_, _, err = s.Receive(x[4].Encoded)
			if !errors.Is(err, content.ErrNoSpace) {
				t.Fatalf("refused: %v", err)
			}
			for _, word := range append(test.want, "98 KiB needed", "0 B can be evicted",
				"1 pinned (98 KiB)", "1 on their way here (98 KiB)", "1 being read (98 KiB)", "1 the last copies that the site wants (98 KiB)", "content unpin") {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("no %q in %v", word, err)
				}
			}
			entries, _ := os.ReadDir(filepath.Join(test.cfg.Dir, "content"))
			if len(entries) != 4 {
				t.Errorf("%d folders after the refusal", len(entries))
			}
			if _, err := s.Reserve(100_000); !errors.Is(err, content.ErrNoSpace) {
				t.Errorf("room for a stage: %v", err)
			}
		})
	}
}

func TestIdlePartialContentsReserveNothing(t *testing.T) {
	x := samples(t, 3, 100_000)
	s, _ := onPlatter(t, 1<<30, store.Config{Quota: 150_000, Floor: store.NoFloor})
	if _, err := s.Begin(x[0].Encoded); err != nil {
		t.Fatal(err)
	}
	_, room, err := s.Receive(x[1].Encoded)
	if err != nil {
		t.Fatalf("one that nobody brings is in the way: %v", err)
	}
	if _, _, err := s.Receive(x[2].Encoded); !errors.Is(err, content.ErrNoSpace) {
		t.Errorf("two at once in the room of one and a half: %v", err)
	}
	// Who brings what others bring already needs no more room.
	_, again, err := s.Receive(x[1].Encoded)
	if err != nil {
		t.Errorf("the same once more: %v", err)
	}
	if sp, _ := s.Space(); sp.Reserved != 100_000 {
		t.Errorf("%d reserved", sp.Reserved)
	}
	room.Release()
	room.Release()
	if _, _, err := s.Receive(x[2].Encoded); !errors.Is(err, content.ErrNoSpace) {
		t.Errorf("beside what the second still brings: %v", err)
	}
	again.Release()
	if _, _, err := s.Receive(x[2].Encoded); err != nil {
		t.Errorf("after both are released: %v", err)
	}
}

func TestStagedBytesAreReserved(t *testing.T) {
	s, p := onPlatter(t, 1_000_000, store.Config{Quota: 500_000, Floor: store.NoFloor})
	room, err := s.Reserve(400_000)
	if err != nil {
		t.Fatal(err)
	}
	// What is written takes from the disk what it takes from the reservation.
	p.others.Store(400_000)
	room.Wrote(400_000)
	if sp, _ := s.Space(); sp.Reserved != 0 || sp.Free != 600_000 {
		t.Errorf("%+v", sp)
	}
	if _, err := s.Reserve(100_001); !errors.Is(err, content.ErrNoSpace) {
		t.Errorf("beyond the quota, which has staged bytes too: %v", err)
	}
	if err := room.More(100_001); !errors.Is(err, content.ErrNoSpace) {
		t.Errorf("more, beyond the quota: %v", err)
	}
	if err := room.More(100_000); err != nil {
		t.Error(err)
	}
	if sp, _ := s.Space(); sp.Reserved != 100_000 {
		t.Errorf("%d reserved", sp.Reserved)
	}
	room.Release()
	if sp, _ := s.Space(); sp.Reserved != 0 {
		t.Errorf("%d reserved in the end", sp.Reserved)
	}
}

// Reservations are decided one after the other: what two ask for at once is not
// given twice.
func TestReservationsAtOnce(t *testing.T) {
	const fits = 5
	x := samples(t, 12, 20_000)
	s, _ := onPlatter(t, 1<<30, store.Config{Quota: fits * 20_000, Floor: store.NoFloor})
	var got atomic.Int64
	var all sync.WaitGroup
	for _, sample := range x {
		all.Go(func() {
			_, _, err := s.Receive(sample.Encoded)
			if err == nil {
				got.Add(1)
			} else if !errors.Is(err, content.ErrNoSpace) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got.Load() != fits {
		t.Errorf("%d got room, there is some for %d", got.Load(), fits)
	}
}

// Contents come, go and are read at once; what is read while it goes ends with
// not found, and nothing waits for ever.
func TestEvictionWhileInUse(t *testing.T) {
	x := samples(t, 8, 60_000)
	s, _ := onPlatter(t, 1<<30, store.Config{Quota: 200_000, Floor: store.NoFloor})
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for n := range 12 {
				sample := x[(i*3+n)%len(x)]
				c, room, err := s.Receive(sample.Encoded)
				if err != nil {
					if !errors.Is(err, content.ErrNoSpace) {
						t.Error(err)
					}
					continue
				}
				for _, r := range sample.Refs() {
					if err := c.SetBlocks(r.Chunk, sample.Nodes[r.Chunk]); err != nil {
						t.Error(err)
					}
					if _, err := c.WriteBlock(r.Chunk, r.Block, sample.Block(r.Chunk, r.Block)); err != nil {
						t.Error(err)
					}
				}
				if !c.Complete() {
					t.Error("not complete")
				}
				room.Release()
				c.SetLastUsed(time.Now().Add(-time.Hour))
				if err := c.Flush(t.Context()); err != nil && !errors.Is(err, content.ErrNotFound) {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if sp, _ := s.Space(); sp.Used > sp.Quota || sp.Reserved != 0 {
		t.Errorf("%+v", sp)
	}
}

// The floor holds while blocks come in, whoever fills the disk: first other
// contents go, then the writing ends, and it goes on when there is room.
func TestFloorHoldsWhileWriting(t *testing.T) {
	x := samples(t, 2, 400_000)
	s, p := onPlatter(t, 1_000_000, store.Config{Quota: store.NoLimit, Floor: 100_000})
	fetch(t, s, x[0])
	age(t, s, x[0])
	c, room, err := s.Receive(x[1].Encoded)
	if err != nil {
		t.Fatal(err)
	}
	defer room.Release()
	refs := x[1].Refs()
	write := func() (full bool) {
		for _, r := range refs {
			err := c.SetBlocks(r.Chunk, x[1].Nodes[r.Chunk])
			if err == nil {
				_, err = c.WriteBlock(r.Chunk, r.Block, x[1].Block(r.Chunk, r.Block))
			}
			if errors.Is(err, content.ErrNoSpace) {
				return true
			}
			if err != nil {
				t.Fatal(err)
			}
			if free, _, _ := p.space(""); r != refs[0] && free < 100_000 {
				t.Fatalf("%d bytes left of the disk", free)
			}
		}
		return false
	}
	p.others.Store(700_000)
	s.LookAgain()
	if !write() {
		t.Error("written below the floor")
	}
	if got := held(s, x...); got[0] || !got[1] {
		t.Errorf("here: %v", got)
	}
	if n := c.Progress(); n < 150_000 {
		t.Errorf("only %d bytes came in", n)
	}
	p.others.Store(0)
	if write() || !c.Complete() {
		t.Error("not taken up again when there was room")
	}
	right(t, c, x[1])
}

func TestRunKeepsTheLimits(t *testing.T) {
	x := samples(t, 3, 100_000)
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		p := &platter{size: 1_000_000}
		s, err := store.Open(store.Config{Dir: dir, Quota: store.NoLimit, Floor: 100_000, Space: p.space, BlockSize: 1}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		p.store.Store(s)
		go s.Run(t.Context())
		for _, sample := range x {
			fetch(t, s, sample)
		}
		age(t, s, x...)
		c, _ := s.Get(x[1].ID)
		if err := c.Pin(true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := held(s, x...); !got[0] || !got[1] || !got[2] {
			t.Fatalf("evicted without need: %v", got)
		}
		p.others.Store(650_000) // 50,000 left, 50,000 too few
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := held(s, x...); got[0] || !got[1] || !got[2] {
			t.Errorf("after others took the room of one: %v", got)
		}
		p.others.Store(950_000)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := held(s, x...); !got[1] || got[2] {
			t.Errorf("after others took all: %v", got)
		}
		if err := s.Room(0); !errors.Is(err, content.ErrNoSpace) || !strings.Contains(err.Error(), "1 pinned") {
			t.Errorf("with less than the floor and only a pinned content: %v", err)
		}
	})
}

// Files that somebody has clones of give nothing back: what goes in vain is no
// reason for the next to go.
func TestEvictionInVainIsNotRepeated(t *testing.T) {
	x := samples(t, 3, 100_000)
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var free atomic.Uint64
		free.Store(1 << 20)
		s, err := store.Open(store.Config{Dir: dir, Quota: store.NoLimit, Floor: 100_000, Space: func(string) (uint64, uint64, error) {
			return free.Load(), 1 << 20, nil
		}}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for _, sample := range x {
			fetch(t, s, sample)
		}
		age(t, s, x...)
		go s.Run(t.Context())
		free.Store(10_000)
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		if got := held(s, x...); got[0] || !got[1] || !got[2] {
			t.Errorf("half an hour later: %v", got)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := held(s, x...); got[0] || got[1] || !got[2] {
			t.Errorf("another hour later: %v", got)
		}
	})
}

func TestClean(t *testing.T) {
	x := samples(t, 4, 100_000)
	s, _ := onPlatter(t, 1<<30, store.Config{Quota: 1 << 20, Floor: store.NoFloor})
	for _, sample := range x {
		fetch(t, s, sample)
	}
	age(t, s, x...)
	pinned, _ := s.Get(x[0].ID)
	if err := pinned.Pin(true); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Clean(1<<20, false); err != nil || got.Freed != 0 || len(got.Contents) != 0 {
		t.Errorf("within the quota: %+v, %v", got, err)
	}
	want := []content.ID{x[1].ID, x[2].ID}
	for _, dry := range []bool{true, false} {
		got, err := s.Clean(250_000, dry)
		if err != nil || got.Freed != 200_000 || got.Short != 0 || len(got.Contents) != 2 || got.Contents[0] != want[0] || got.Contents[1] != want[1] {
			t.Errorf("dry %v: %+v, %v", dry, got, err)
		}
		if here := held(s, x...); here[1] != dry || here[2] != dry || !here[3] {
			t.Errorf("dry %v: here %v", dry, here)
		}
	}
	got, err := s.Clean(0, false)
	if err != nil || got.Freed != 100_000 || got.Short != 100_000 || !strings.Contains(got.Why, "1 pinned") {
		t.Errorf("all: %+v, %v", got, err)
	}
	if here := held(s, x...); !here[0] || here[3] {
		t.Errorf("all: here %v", here)
	}
}
