//go:build linux

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/chunker"
)

// targets are the block sizes that are compared.
var targets = []int{32 << 10, 64 << 10, 128 << 10, 256 << 10, 1 << 20}

// A change is two versions of something, in files or trees.
type change struct {
	name     string
	form     string
	old, new string
	// What is in the names of folders in place of the old and new version. rsync
	// compares files of one name; to be fair to it, the names are made the same.
	oldName, newName string
}

// difference computes what a holder of one version fetches to have the next: for
// two files or trees that are given, or for real releases and a made-up one.
//
// No node runs: bytes of blocks, lists and manifests don't depend on when and
// from whom they come.
func difference(ctx context.Context, o options) error {
	dir := o.dir
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "p2pnode-difference-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	s := shelf(dir)
	if !o.live { // whose lab says it
		fmt.Printf("%s\n\n", machine())
	}
	if len(o.args) > 0 {
		if len(o.args) != 2 {
			return fmt.Errorf("difference takes two paths, the old version's and the new one's, or none")
		}
		return compareSizes(ctx, os.Stdout, s, []change{{name: filepath.Base(o.args[1]), old: o.args[0], new: o.args[1]}})
	}

	old, new, err := o.edited(s)
	if err != nil {
		return err
	}
	changes := []change{{name: "random file, edited", old: old, new: new}}
	var packed []change
	switch {
	case o.live:
		if !o.quick {
			// The Debian trees have links, or names that differ in case only, which
			// can't be published.
			tree, _, err := releases[0].changes(ctx, s)
			if err != nil {
				return err
			}
			changes = append(changes, tree)
		}
		o.size, o.veth = 512*mib, true
		return o.with(ctx, func(ctx context.Context, b *bench) error { return b.live(ctx, changes) })
	case !o.quick:
		for _, r := range releases {
			tree, served, err := r.changes(ctx, s)
			if err != nil {
				return err
			}
			changes = append(changes, tree)
			if r.forms != nil {
				all, err := r.pack(ctx, s, tree)
				if err != nil {
					return err
				}
				packed = append(append(packed, tree, served), all...)
			}
		}
	}
	if err := compareSizes(ctx, os.Stdout, s, changes); err != nil {
		return err
	}
	if len(packed) > 0 {
		if err := comparePacking(ctx, os.Stdout, s, packed); err != nil {
			return err
		}
	}
	if err := compareShapes(ctx, os.Stdout, changes); err != nil {
		return err
	}
	if err := compareSeeds(ctx, os.Stdout, s, 100<<20, map[bool]int{true: 4, false: 20}[o.quick]); err != nil {
		return err
	}
	return o.cpu(os.Stdout, new)
}

// compareShapes prints what each change costs in new blocks with blocks of 64
// KiB, by how their lengths spread.
func compareShapes(ctx context.Context, to io.Writer, changes []change) error {
	var cutters []cutter
	for _, s := range shapes {
		cutters = append(cutters, newCutter(content.TargetBlock, s))
	}
	w := tabwriter.NewWriter(to, 0, 0, 1, ' ', 0)
	fmt.Fprintln(w, "| what\t| lengths\t| mean block, KiB\t| new blocks, MiB\t| % of the size\t|")
	fmt.Fprintln(w, "|---\t|---\t|---\t|---\t|---\t|")
	for _, change := range changes {
		all, err := cutAll(ctx, change.old, change.new, cutters)
		if err != nil {
			return err
		}
		for i, p := range all {
			blocks, size := float64(p[1].cost(p[0]).blocks), float64(p[1].size)
			fmt.Fprintf(w, "| %s\t| %s\t| %.1f\t| %.2f\t| %.2f\t|\n",
				change.name, shapes[i].name, size/1024/float64(p[1].count), blocks/mib, 100*blocks/size)
		}
	}
	fmt.Fprintln(w)
	return w.Flush()
}

// compareSeeds prints what the edits of random files of size bytes cost, all
// counted, with seeds from 1 to n.
func compareSeeds(ctx context.Context, to io.Writer, s shelf, size int64, n int) error {
	var t table
	var cutters []cutter
	var names []string
	for _, s := range shapes {
		cutters, names = append(cutters, newCutter(content.TargetBlock, s)), append(names, "64 KiB, "+s.name)
	}
	for _, target := range targets {
		if target != content.TargetBlock {
			cutters, names = append(cutters, newCutter(target, product)), append(names, fmt.Sprintf("%d KiB, %s", target>>10, product.name))
		}
	}
	for seed := range n {
		shares, err := editShares(ctx, s, size, uint64(seed+1), cutters)
		if err != nil {
			return err
		}
		for i, share := range shares {
			t.add("random file, edited: "+names[i], "% fetched", share)
		}
	}
	t.print(to)
	fmt.Fprintln(to)
	return nil
}

// editShares returns for each cutter what a random file's edits cost, in percent
// of the edited file.
func editShares(ctx context.Context, s shelf, size int64, seed uint64, cutters []cutter) (shares []float64, err error) {
	dir, err := os.MkdirTemp(string(s), "edited-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	old, new, err := edited(dir, size, seed)
	if err != nil {
		return nil, err
	}
	all, err := cutAll(ctx, old, new, cutters)
	for _, p := range all {
		if err == nil {
			shares = append(shares, 100*float64(p[1].cost(p[0]).total())/float64(p[1].size))
		}
	}
	return shares, err
}

func (o options) edited(s shelf) (old, new string, err error) {
	const size = 100 << 20
	dir, err := s.made("edited", func(half string) error {
		if err := os.MkdirAll(half, 0o755); err != nil {
			return err
		}
		_, _, err := edited(half, size, 1)
		return err
	})
	return filepath.Join(dir, "old.bin"), filepath.Join(dir, "new.bin"), err
}

// changes returns a release as trees, and as it is served.
func (r release) changes(ctx context.Context, s shelf) (tree, served change, err error) {
	tree, served = change{name: r.name, form: "tree of files"}, change{name: r.name, form: "deb (xz), as served"}
	if r.module != "" {
		served.form = "zip, as served"
	}
	if served.old, tree.old, err = r.fetch(ctx, s, r.old); err != nil {
		return tree, served, err
	}
	served.new, tree.new, err = r.fetch(ctx, s, r.new)
	if strings.Contains(r.pkg, "%s") {
		suffix := r.pkg[strings.LastIndexByte(r.pkg[:strings.Index(r.pkg, "%s")], '-'):] // "-%s-amd64"
		tree.oldName, tree.newName = fmt.Sprintf(suffix, r.old), fmt.Sprintf(suffix, r.new)
	}
	return tree, served, err
}

// pack returns the release's trees in all its forms.
func (r release) pack(ctx context.Context, s shelf, tree change) ([]change, error) {
	packed := make([]change, len(r.forms))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, f := range r.forms {
		packed[i] = change{name: r.name, form: f.name}
		g.Go(func() (err error) {
			packed[i].old, err = f.packed(ctx, s, tree.old)
			return err
		})
		g.Go(func() (err error) {
			packed[i].new, err = f.packed(ctx, s, tree.new)
			return err
		})
	}
	err := g.Wait()
	return packed, err
}

const mib = 1 << 20

// compareSizes prints what each change costs with each block size.
func compareSizes(ctx context.Context, to io.Writer, s shelf, changes []change) error {
	var cutters []cutter
	for _, t := range targets {
		cutters = append(cutters, newCutter(t, product))
	}
	w := tabwriter.NewWriter(to, 0, 0, 1, ' ', 0)
	fmt.Fprintln(w, "| what\t| size\t| block target\t| new blocks\t| lists\t| manifest\t| fetched\t| of the size\t| rsync\t| mean block\t| mean chunk\t| whole new chunks\t| index\t|")
	fmt.Fprintln(w, "|\t| MiB\t| KiB\t| MiB\t| KiB\t| KiB\t| MiB\t| %\t| %\t| KiB\t| KiB\t| % of the size\t| KiB/GiB\t|")
	fmt.Fprintln(w, "|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|")
	for _, change := range changes {
		all, err := cutAll(ctx, change.old, change.new, cutters)
		if err != nil {
			return err
		}
		r, err := rsync(ctx, string(s), change)
		if err != nil {
			return err
		}
		for i, p := range all {
			old, new := p[0], p[1]
			c := new.cost(old)
			size := float64(new.size)
			fmt.Fprintf(w, "| %s\t| %.1f\t| %d\t| %.2f\t| %.0f\t| %.0f\t| %.2f\t| %.2f\t| %.2f\t| %.1f\t| %.0f\t| %.2f\t| %.0f\t|\n",
				change.name, size/mib, targets[i]>>10, float64(c.blocks)/mib, float64(c.lists)/1024, float64(c.manifest)/1024,
				float64(c.total())/mib, 100*float64(c.total())/size, 100*float64(r.total())/size,
				size/1024/float64(new.count), size/1024/float64(new.chunks), 100*float64(new.freshChunks(old))/size,
				float64(new.count)*indexEntry/1024/(size/(1<<30)))
		}
	}
	fmt.Fprintln(w)
	return w.Flush()
}

// indexEntry is how many bytes the store's index has for a block.
const indexEntry = 16

// comparePacking prints what each change costs with the product's block size, by
// how it is packed.
func comparePacking(ctx context.Context, to io.Writer, s shelf, changes []change) error {
	w := tabwriter.NewWriter(to, 0, 0, 1, ' ', 0)
	fmt.Fprintln(w, "| what\t| as\t| size\t| fetched\t| of the size\t| rsync\t| of the size\t|")
	fmt.Fprintln(w, "|\t|\t| MiB\t| MiB\t| %\t| MiB\t| %\t|")
	fmt.Fprintln(w, "|---\t|---\t|---\t|---\t|---\t|---\t|---\t|")
	for _, change := range changes {
		all, err := cutAll(ctx, change.old, change.new, []cutter{newCutter(content.TargetBlock, product)})
		if err != nil {
			return err
		}
		r, err := rsync(ctx, string(s), change)
		if err != nil {
			return err
		}
		c, size := all[0][1].cost(all[0][0]), float64(all[0][1].size)
		fmt.Fprintf(w, "| %s\t| %s\t| %.1f\t| %.1f\t| %.1f\t| %.1f\t| %.1f\t|\n", change.name, change.form, size/mib,
			float64(c.total())/mib, 100*float64(c.total())/size, float64(r.total())/mib, 100*float64(r.total())/size)
	}
	fmt.Fprintln(w)
	return w.Flush()
}

// cpu prints what cutting and hashing take with each block size, on one core and
// on bytes that are in memory.
func (o options) cpu(to io.Writer, path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var t table
	for range cmp.Or(o.runs, 1) {
		took, err := cpuTime(func() { cutOnly(data, chunker.Cut) })
		if err != nil {
			return err
		}
		t.add("cut, 64 KiB, the product's code", "CPU s/GiB", perGiB(took, int64(len(data))))
		for _, target := range targets {
			c := newCutter(target, product)
			cutting, err1 := cpuTime(func() { cutOnly(data, c.cut) })
			both, err2 := cpuTime(func() {
				cutOnly(data, func(b []byte) int {
					n := c.cut(b)
					content.Sum(b[:n])
					return n
				})
			})
			if err := errors.Join(err1, err2); err != nil {
				return err
			}
			name := fmt.Sprintf("%d KiB", target>>10)
			t.add("cut, "+name+", plain loop", "CPU s/GiB", perGiB(cutting, int64(len(data))))
			t.add("hash, "+name, "CPU s/GiB", perGiB(both-cutting, int64(len(data))))
		}
	}
	t.print(to)
	return nil
}

func cutOnly(data []byte, cut func([]byte) int) {
	for len(data) > 0 {
		data = data[cut(data):]
	}
}

// cpuTime returns the processor time that f takes on this goroutine.
func cpuTime(f func()) (time.Duration, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, after unix.Rusage
	err := unix.Getrusage(unix.RUSAGE_THREAD, &before)
	f()
	err = errors.Join(err, unix.Getrusage(unix.RUSAGE_THREAD, &after))
	spent := func(u unix.Rusage) int64 { return u.Utime.Nano() + u.Stime.Nano() }
	return time.Duration(spent(after) - spent(before)), err
}
