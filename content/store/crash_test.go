package store_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// How many kills hit a child between its first block and its last. Others hit it
// while it opens the store, or has all.
const crashes = 24

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
		for _, r := range sample.Shuffled(uint64(os.Getpid())) {
			if err := c.SetBlocks(r.Chunk, sample.Nodes[r.Chunk]); err != nil {
				return err
			}
			fresh, err := c.WriteBlock(r.Chunk, r.Block, sample.Block(r.Chunk, r.Block))
			if err != nil {
				return err
			}
			if fresh {
				// One write to a pipe: a kill can't cut it.
				fmt.Printf("block %d %d %d\n", n, r.Chunk, r.Block)
			}
		}
	}
	return nil
}

type crashBlock struct {
	sample int
	storetest.Ref
}

func TestKillLosesNothingThatCounted(t *testing.T) {
	dir := t.TempDir()
	samples := crashSamples(t)
	counted := make(map[crashBlock]int) // how often a child said fresh
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	atWork, runs := 0, 0
	for ; atWork < crashes && !t.Failed(); runs++ {
		blocks, done := crashRun(t, dir, r.IntN(40), time.Duration(r.IntN(3000))*time.Microsecond, counted)
		if blocks > 0 && !done {
			atWork++
		}
		if done || runs%2 == 1 { // else the next child finds what this one left
			crashCheck(t, dir, samples, counted)
		}
		if done {
			dir = t.TempDir()
			clear(counted)
		}
		if runs > 10*crashes {
			t.Fatalf("only %d of %d kills hit a child at work", atWork, runs)
		}
	}
	t.Logf("%d kills, %d of a child at work", runs, atWork)
}

// crashRun runs a child, and kills it a while after it said that many blocks are
// counted, or after a time that may be too short for any. It notes what it says.
func crashRun(t *testing.T, dir string, enough int, after time.Duration, counted map[crashBlock]int) (blocks int, done bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(time.Second, func() { cmd.Process.Kill() })
	defer timer.Stop()
	if enough == 0 {
		timer.Reset(10 * after) // while it opens
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var b crashBlock
		switch n, _ := fmt.Sscanf(lines.Text(), "block %d %d %d", &b.sample, &b.Chunk, &b.Block); {
		case n == 3:
			counted[b]++
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
// counted once, and that all that is there is right.
func crashCheck(t *testing.T, dir string, samples []*storetest.Sample, counted map[crashBlock]int) {
	t.Helper()
	start := time.Now()
	s := open(t, store.Config{Dir: dir})
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("serves again after %v", took)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	for b, n := range counted {
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
}
