package store_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// How many kills hit a child between its first block and its last (G27). Others hit
// it while it opens the store, or has all. Set killsEnv to another number.
const (
	crashes  = 100
	killsEnv = "STORE_TEST_KILLS"

	crashWriters = 4 // blocks that a child writes at one time
)

const (
	crashDir  = "STORE_TEST_CRASH_DIR" // set for the child
	crashSeed = 11
)

// crashSamples returns what the child fetches, the same each time.
func crashSamples(t testing.TB) []*storetest.Sample {
	return []*storetest.Sample{
		storetest.File(t, crashSeed, 2<<20, storetest.Shape{Block: 24 << 10, Blocks: 16}),
		storetest.Tree(t, crashSeed),
	}
}

// crashChild fetches into a store until it is killed, and says what was counted:
// a line for each block, after WriteBlock returned. It reports whether this
// process is the child.
func crashChild() bool {
	dir := os.Getenv(crashDir)
	if dir == "" {
		return false
	}
	if err := crashFetch(dir); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("done")
	time.Sleep(time.Minute) // killed here at the latest
	return true
}

func crashFetch(dir string) error {
	s, err := store.Open(store.Config{Dir: dir, SyncBytes: 256 << 10, SyncEvery: time.Millisecond}, zap.NewNop())
	if err != nil {
		return err
	}
	go s.Run(context.Background())
	var t testing.B // samples can't fail
	for n, sample := range crashSamples(&t) {
		c, err := s.Begin(sample.Encoded)
		if err != nil {
			return err
		}
		var g errgroup.Group
		g.SetLimit(crashWriters)
		for _, r := range sample.Shuffled(uint64(os.Getpid())) {
			g.Go(func() error {
				if c.Verified(r.Chunk)&(1<<r.Block) != 0 {
					return nil
				}
				// One write to a pipe each: a kill can't cut it.
				fmt.Printf("fetch %d %d %d\n", n, r.Chunk, r.Block)
				if err := c.SetBlocks(r.Chunk, sample.Nodes[r.Chunk]); err != nil {
					return err
				}
				fresh, err := c.WriteBlock(r.Chunk, r.Block, sample.Block(r.Chunk, r.Block))
				if fresh {
					fmt.Printf("block %d %d %d\n", n, r.Chunk, r.Block)
				}
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	return nil
}

type crashBlock struct {
	sample int
	storetest.Ref
}

// crashed is what children said of one store.
type crashed struct {
	fetched map[crashBlock]int // how often one began to
	counted map[crashBlock]int // how often one said fresh
	kills   int                // since the store was new
}

func TestKillLosesNothingThatCounted(t *testing.T) {
	t.Parallel()
	want := crashes
	if testing.Short() {
		want = 10
	}
	if s := os.Getenv(killsEnv); s != "" {
		if _, err := fmt.Sscan(s, &want); err != nil {
			t.Fatalf("%s=%q: %v", killsEnv, s, err)
		}
	}
	samples := crashSamples(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var atWork, kills, again, slowest atomic.Int64
	var workers sync.WaitGroup
	for w := range uint64(runtime.GOMAXPROCS(0)) {
		workers.Go(func() {
			r := rand.New(rand.NewPCG(seed, w))
			dir, said := t.TempDir(), crashed{make(map[crashBlock]int), make(map[crashBlock]int), 0}
			for runs := 0; int(atWork.Load()) < want && !t.Failed(); runs++ {
				blocks, done := crashRun(t, dir, r.IntN(40), time.Duration(r.IntN(3000))*time.Microsecond, said)
				said.kills++
				kills.Add(1)
				if blocks > 0 && !done {
					atWork.Add(1)
				}
				if done || runs%2 == 1 { // else the next child finds what this one left
					took := crashCheck(t, dir, samples, said)
					slowest.Store(max(slowest.Load(), int64(took)))
				}
				if done {
					for b, n := range said.fetched {
						again.Add(int64(n - min(1, said.counted[b])))
					}
					dir = t.TempDir()
					said = crashed{make(map[crashBlock]int), make(map[crashBlock]int), 0}
				}
				if runs > 10*want {
					t.Errorf("only %d of %d kills hit a child at work", atWork.Load(), kills.Load())
				}
			}
		})
	}
	workers.Wait()
	t.Logf("%d kills, %d of a child at work; %d fetches cut short, at most %d by each; open again in %v at most",
		kills.Load(), atWork.Load(), again.Load(), crashWriters, time.Duration(slowest.Load()).Round(time.Millisecond))
}

// crashRun runs a child, and kills it a while after it said that many blocks are
// counted, or after a time that may be too short for any. It notes what it says.
func crashRun(t *testing.T, dir string, enough int, after time.Duration, said crashed) (blocks int, done bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Error(err)
		return 0, true
	}
	timer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer timer.Stop()
	if enough == 0 {
		timer.Reset(10 * after) // while it opens
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var b crashBlock
		var what string
		switch n, _ := fmt.Sscanf(lines.Text(), "%s %d %d %d", &what, &b.sample, &b.Chunk, &b.Block); {
		case n == 4 && what == "fetch":
			said.fetched[b]++
		case n == 4 && what == "block":
			said.counted[b]++
			if blocks++; blocks == enough {
				timer.Reset(after)
			}
		case lines.Text() == "done":
			done = true
			cmd.Process.Kill()
		default:
			t.Errorf("child says %q", lines.Text())
		}
	}
	cmd.Wait() // killed: an error
	return blocks, done
}

// crashCheck opens the store and checks that all that was counted is there, was
// counted once and not fetched again, and that all that is there is right. It
// returns how long the store took to open.
func crashCheck(t *testing.T, dir string, samples []*storetest.Sample, said crashed) (took time.Duration) {
	t.Helper()
	start := time.Now()
	s, err := store.Open(store.Config{Dir: dir}, zap.NewNop())
	if err != nil {
		t.Error(err)
		return 0
	}
	if took = time.Since(start); took > 20*time.Second { // the goal is 2, on a machine at rest
		t.Errorf("serves again after %v", took)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	again := 0
	for b, n := range said.fetched {
		again += n - min(1, said.counted[b])
	}
	if again > said.kills*crashWriters {
		t.Errorf("%d blocks were fetched again after %d kills, want at most %d", again, said.kills, said.kills*crashWriters)
	}
	for b, n := range said.counted {
		if n > 1 {
			t.Errorf("%v was fetched %d times", b, n)
		}
		c, ok := s.Get(samples[b.sample].ID)
		if !ok || c.Verified(b.Chunk)&(1<<b.Block) == 0 {
			t.Errorf("%v was counted, and is lost", b)
		}
	}
	for _, sample := range samples {
		c, ok := s.Get(sample.ID)
		if !ok {
			continue
		}
		for _, r := range sample.Refs() {
			if c.Verified(r.Chunk)&(1<<r.Block) == 0 {
				continue
			}
			got, err := c.ReadBlock(r.Chunk, r.Block, nil)
			if err != nil || !bytes.Equal(got, sample.Block(r.Chunk, r.Block)) {
				t.Errorf("%v counts, and is wrong: %v", r, err)
			}
		}
		if bad, err := c.Verify(t.Context(), nil); err != nil || len(bad) > 0 {
			t.Errorf("verify: %v, %v", bad, err)
		}
	}
	return took
}
