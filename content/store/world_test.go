package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/disk"
	"github.com/p2pnode/p2pnode/content/store/disk/disktest"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// A world is a store that lives on a file system, and what it has promised.
type world struct {
	model    *disktest.FS
	fs       disk.FS // of the store: the model, or what is wrong with it
	s        *Store
	r        *rand.Rand
	samples  []*storetest.Sample
	written  []promise // what WriteBlock and SetBlocks took: a kill doesn't take it
	promises atomic.Pointer[promises]
	releases int
	faulty   bool // operations fail, and that is no news

	mu    sync.Mutex
	tale  []string // what was done lately
	acted int
}

func newWorld(t testing.TB, semantics disktest.Semantics, seed uint64, between func(disk.FS) disk.FS) *world {
	w := &world{model: disktest.New(semantics), r: rand.New(rand.NewPCG(seed, 1)), samples: powerSamples(t)}
	w.fs = w.model
	if between != nil {
		w.fs = between(w.model)
	}
	first := &promises{samples: w.samples}
	for _, sample := range w.samples {
		first.of = append(first.of, nothing(sample))
		w.written = append(w.written, nothing(sample))
	}
	w.promises.Store(first)
	return w
}

// powerSamples are small, so that there is time to look at many states of them.
func powerSamples(t testing.TB) []*storetest.Sample {
	dir := func(path string) content.File { return content.File{Path: path, Mode: os.ModeDir | 0o755} }
	file := func(path string, size int64) content.File { return content.File{Path: path, Size: size, Mode: 0o644} }
	return []*storetest.Sample{
		storetest.File(t, 1, 5_000, storetest.Shape{Block: 900, Blocks: 3}),
		storetest.New(t, 2, storetest.Shape{Block: 700, Blocks: 4},
			dir("."), file("a", 800), dir("d"), dir("d/e"), file("d/e/f", 1_500), file("d/e/g", 0), file("d/h", 900), dir("d/i")),
		storetest.New(t, 3, storetest.Shape{Block: 300, Blocks: 2}, dir("."), file("x", 600), dir("y"), file("y/z", 500)),
		storetest.New(t, 4, storetest.Small, dir("."), file("none", 0)),
	}
}

func (w *world) did(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tale = append(w.tale, what)
	if over := len(w.tale) - 40; over > 0 {
		w.tale = slices.Delete(w.tale, 0, over)
	}
}

func (w *world) story() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.tale, "\n")
}

// promise changes what is promised of a content.
func (w *world) promise(i int, change func(*promise)) {
	old := w.promises.Load()
	made := &promises{samples: old.samples, of: slices.Clone(old.of)}
	made.of[i] = made.of[i].clone()
	change(&made.of[i])
	w.promises.Store(made)
}

func (w *world) promised(i int) promise { return w.promises.Load().of[i] }

// kept promises all that counts of a content.
func (w *world) kept(i int, c *Content) {
	w.promise(i, func(p *promise) {
		for chunk := range p.lists {
			_, known := c.Node(chunk)
			p.lists[chunk] = p.lists[chunk] || known
			p.blocks[chunk] |= c.Verified(chunk) &^ p.rotten[chunk]
		}
		// What is rotten was not looked at yet.
		p.complete = c.Complete() && !slices.ContainsFunc(p.rotten, func(m uint64) bool { return m != 0 })
	})
}

func (w *world) open() (err error) {
	w.s, err = Open(powerConfig(w.fs), zap.NewNop())
	return err
}

// actAtRandom does something with some content.
func (w *world) actAtRandom() error {
	i := w.r.IntN(len(w.samples))
	actions := []string{"begin", "publish", "abort"}
	if _, here := w.s.Get(w.samples[i].ID); here {
		actions = []string{"write", "write", "write", "fill", "flush", "flush", "publish", "release", "pin", "verify", "rot", "rot", "remove", "reopen", "kill", "lists"}
	}
	return w.act(actions[w.r.IntN(len(actions))], i)
}

// actBy does a step such as "write0".
func (w *world) actBy(step string) error {
	return w.act(step[:len(step)-1], int(step[len(step)-1]-'0'))
}

// act does something with a content.
func (w *world) act(action string, i int) (err error) {
	w.did(fmt.Sprintf("%d %s %d", w.acted, action, i))
	w.acted++
	c, here := w.s.Get(w.samples[i].ID)
	if !here && !slices.Contains([]string{"begin", "publish", "abort", "reopen", "kill"}, action) {
		return nil // it couldn't be made
	}
	switch action {
	case "begin":
		err = w.begin(i)
	case "publish":
		err = w.publish(i)
	case "abort":
		err = w.abort()
	case "lists":
		err = w.learn(i, c, len(w.samples[i].Nodes))
	case "write":
		err = w.write(i, c, 1+w.r.IntN(4))
	case "fill":
		err = w.write(i, c, math.MaxInt)
	case "flush":
		if err = c.Flush(context.Background()); err == nil {
			w.kept(i, c)
		}
	case "release":
		w.releases++
		release := "release " + strconv.Itoa(w.releases)
		if err = c.AddRelease([]byte(release)); err == nil {
			w.promise(i, func(p *promise) {
				p.releases = append(p.releases, release)
				p.releases = p.releases[max(0, len(p.releases)-MaxReleases):]
			})
		}
	case "pin":
		pin := w.r.IntN(2) == 0
		w.promise(i, func(p *promise) { p.pinned = []bool{true, false} })
		if err = c.Pin(pin); err == nil && !w.faulty {
			w.promise(i, func(p *promise) { p.pinned = []bool{pin} })
		}
	case "verify":
		err = w.verify(i, c)
	case "rot":
		err = w.rot(i, c)
	case "remove":
		w.promise(i, func(p *promise) { p.here, p.complete = false, false; p.forget() })
		w.written[i] = nothing(w.samples[i])
		if err = w.s.Remove(w.samples[i].ID); err == nil {
			w.promise(i, func(p *promise) { *p = nothing(w.samples[i]); p.gone = true })
		}
	case "reopen":
		err = w.reopen(true)
	case "kill":
		err = w.reopen(false)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", action, err)
	}
	return nil
}

// forget promises nothing but that what is rotten may be.
func (p *promise) forget() {
	clear(p.lists)
	clear(p.blocks)
	p.releases, p.pinned = nil, []bool{true, false}
}

func (w *world) begin(i int) error {
	w.promise(i, func(p *promise) { p.gone = false })
	c, err := w.s.Begin(w.samples[i].Encoded)
	if err != nil {
		return err
	}
	w.promise(i, func(p *promise) {
		if p.here = true; !w.faulty {
			p.pinned, p.complete = []bool{false}, c.Complete()
		}
	})
	return nil
}

func (w *world) publish(i int) error {
	sample := w.samples[i]
	c, ok := w.s.Get(sample.ID)
	complete := ok && c.Complete()
	w.promise(i, func(p *promise) {
		p.gone = false
		if !ok && !p.here && !w.faulty {
			p.pinned = []bool{false}
		}
	})
	stage, err := w.s.Stage()
	if err != nil {
		return err
	}
	for n, f := range sample.Manifest.Files {
		if f.Mode.IsDir() {
			err = stage.Mkdir(f.Path)
		} else if file, err2 := stage.Create(f.Path); err2 == nil {
			_, err = file.Write(sample.File(n))
			err = errors.Join(err, file.Close())
		} else {
			err = err2
		}
		if err != nil {
			return err
		}
	}
	if c, err = stage.Commit(sample.Encoded, sample.Blocks); err != nil {
		return err
	}
	if complete {
		return nil // and nobody looked whether it is right
	}
	w.promise(i, func(p *promise) {
		p.here, p.complete = true, c.Complete()
		clear(p.rotten)
		for chunk, list := range sample.Blocks {
			p.lists[chunk], p.blocks[chunk] = true, all(len(list))
		}
	})
	for chunk, list := range sample.Blocks {
		w.written[i].lists[chunk], w.written[i].blocks[chunk] = true, all(len(list))
	}
	return nil
}

func (w *world) abort() error {
	stage, err := w.s.Stage()
	if err != nil {
		return err
	}
	f, err := stage.Create("file")
	if err != nil {
		return err
	}
	_, err = f.Write([]byte("something"))
	return errors.Join(err, f.Close(), stage.Abort())
}

// learn gives some lists.
func (w *world) learn(i int, c *Content, some int) error {
	for range some {
		if len(w.samples[i].Nodes) == 0 {
			return nil
		}
		chunk := w.r.IntN(len(w.samples[i].Nodes))
		if err := c.SetBlocks(chunk, w.samples[i].Nodes[chunk]); err != nil {
			return err
		}
		w.written[i].lists[chunk] = true
	}
	return nil
}

// write gives some blocks.
func (w *world) write(i int, c *Content, some int) error {
	refs := w.samples[i].Shuffled(w.r.Uint64())
	for _, ref := range refs[:min(len(refs), some)] {
		if err := c.SetBlocks(ref.Chunk, w.samples[i].Nodes[ref.Chunk]); err != nil {
			return err
		}
		w.written[i].lists[ref.Chunk] = true
		if _, err := c.WriteBlock(ref.Chunk, ref.Block, w.samples[i].Block(ref.Chunk, ref.Block)); err != nil {
			return err
		}
		w.written[i].blocks[ref.Chunk] |= 1 << ref.Block
	}
	return nil
}

// rot lets a block that counts go bad, and mostly verifies.
func (w *world) rot(i int, c *Content) error {
	sample := w.samples[i]
	for _, ref := range sample.Shuffled(w.r.Uint64()) {
		bit := uint64(1) << ref.Block
		if w.promised(i).blocks[ref.Chunk]&bit == 0 {
			continue
		}
		at := c.layout.Chunk(ref.Chunk)
		for _, b := range sample.Blocks[ref.Chunk][:ref.Block] {
			at += int64(b.Size)
		}
		for span := range c.layout.Spans(at, 1) {
			name := c.dir + "/files/" + c.manifest.Files[span.File].Path
			w.promise(i, func(p *promise) {
				p.rotten[ref.Chunk] |= bit
				p.blocks[ref.Chunk] &^= bit
				p.complete = false
			})
			w.written[i].blocks[ref.Chunk] &^= bit
			err := w.model.Damage(name, func(data []byte) []byte { data[span.Offset] ^= 1; return data })
			if err != nil {
				return err
			}
		}
		if w.r.IntN(3) > 0 {
			return w.verify(i, c)
		}
		return nil
	}
	return nil
}

func (w *world) verify(i int, c *Content) error {
	// It flushes first.
	bad, err := c.Verify(context.Background(), nil)
	found := make([]uint64, len(w.samples[i].Nodes))
	for _, d := range bad {
		found[d.Chunk] = d.Blocks
	}
	if w.faulty { // what can't be read counts as damaged
		w.promise(i, func(p *promise) {
			for chunk, mask := range found {
				p.blocks[chunk] &^= mask
				p.lists[chunk] = p.lists[chunk] && mask != all(content.MaxBlocks)
			}
			p.complete = p.complete && len(bad) == 0
		})
		if err == nil {
			w.promise(i, func(p *promise) { clear(p.rotten) })
		}
		return err
	}
	if err != nil {
		return err
	}
	if want := w.promised(i).rotten; !slices.Equal(found, want) {
		return fmt.Errorf("found %b, want %b", found, want)
	}
	for chunk, mask := range found {
		w.written[i].blocks[chunk] &^= mask // if it was given again meanwhile, it was not taken
	}
	w.promise(i, func(p *promise) { clear(p.rotten) })
	w.kept(i, c)
	return nil
}

// reopen closes the store, or has it killed, and opens it.
func (w *world) reopen(clean bool) error {
	if clean {
		if err := w.s.Close(); err != nil {
			return err
		}
		for i := range w.samples {
			if c, ok := w.s.Get(w.samples[i].ID); ok {
				return fmt.Errorf("closed, and %v is there", c.id)
			}
		}
	} else {
		w.model.Kill()
	}
	if err := w.open(); err != nil {
		return err
	}
	if w.faulty {
		return nil
	}
	for i, sample := range w.samples {
		c, ok := w.s.Get(sample.ID)
		if ok != w.promised(i).here {
			return fmt.Errorf("content %d is there: %v", i, ok)
		}
		if !ok {
			continue
		}
		for chunk, mask := range w.written[i].blocks {
			if lost := mask &^ c.Verified(chunk); lost != 0 {
				return fmt.Errorf("content %d: blocks %b of chunk %d are lost without a crash", i, lost, chunk)
			}
		}
		if clean {
			w.kept(i, c)
		}
	}
	return nil
}
