//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

// A field is where deliveries are measured: who has the content first, who shall
// have it, and by which links.
type field struct {
	box   box.Enterprise
	from  box.Node
	to    []box.Node
	sites []string // whose links are counted; none if all are on one LAN
}

// A means is a way to deliver: ours, or plain HTTP.
type means interface {
	offer(ctx context.Context, path string) error // by field.from, and only once
	// get returns once the content is at out, whole and checked. Begun again, it goes
	// on.
	get(ctx context.Context, to box.Node, out string) error
	here(ctx context.Context, at box.Node, out string) (int64, error) // bytes so far
	// crash ends what a get needs at a node as a power cut does, and starts what must
	// run there for another one.
	crash(ctx context.Context, at box.Node) error
	// usage returns the CPU time of processes that run now, and the most memory that
	// any has had.
	usage(ctx context.Context) (cpu time.Duration, peak int64, err error)
	fetched() fetched // by gets that ended
	end() error
}

// A delivery is what one cost.
type delivery struct {
	size    int64           // of the content
	took    []time.Duration // at each node of field.to
	in, out []int64         // bytes on the link of each of field.sites, to it and from it
	uplink  int64           // bytes that left the source's site
	late    int64           // packets that the emulator was late with, or had to drop
	packets int64           // of how many
	cpu     time.Duration   // of all processes
	peak    int64           // bytes of memory, of the largest process
	disk    int64           // bytes, of all of field.to
	fetched fetched
}

// fetched is the payload that members got, and from where; zero where that isn't
// told apart.
type fetched struct {
	site, others int64 // from members of the same site, from elsewhere
	wasted       int64 // twice, not as asked, or not wanted any more
}

// A trouble is what happens to a get. It returns when the get has ended well.
type trouble func(ctx context.Context, m means, to box.Node, out string) error

func none(ctx context.Context, m means, to box.Node, out string) error { return m.get(ctx, to, out) }

// deliver has all of f.to get what m offers, at once, and returns what it cost.
func (f *field) deliver(ctx context.Context, m means, size int64, name string, t trouble) (d delivery, err error) {
	out := func(n box.Node) string { return n.Path(name) }
	diskBefore, err := f.disk(ctx, out)
	if err != nil {
		return d, err
	}
	unix.Sync() // what was written before shall not be in the way
	before, err := f.take(ctx, m)
	if err != nil {
		return d, err
	}
	d = delivery{size: size, took: make([]time.Duration, len(f.to))}
	start := time.Now()
	getting, gctx := errgroup.WithContext(ctx)
	for i, n := range f.to {
		getting.Go(func() error {
			err := t(gctx, m, n, out(n))
			d.took[i] = time.Since(start)
			return err
		})
	}
	if err := getting.Wait(); err != nil {
		return d, err
	}
	after, err := f.take(ctx, m)
	if err != nil {
		return d, err
	}
	d.cpu, d.peak = after.cpu-before.cpu, after.peak
	for i := range f.sites {
		d.in = append(d.in, after.in[i]-before.in[i])
		d.out = append(d.out, after.out[i]-before.out[i])
	}
	d.uplink, d.late, d.packets = after.uplink-before.uplink, after.late-before.late, after.packets-before.packets
	diskAfter, err := f.disk(ctx, out)
	d.disk = diskAfter - diskBefore
	return d, err
}

// A reading is what has been used until now.
type reading struct {
	in, out       []int64
	uplink        int64
	late, packets int64
	cpu           time.Duration
	peak          int64
}

func (f *field) take(ctx context.Context, m means) (r reading, err error) {
	var live time.Duration
	if live, r.peak, err = m.usage(ctx); err != nil {
		return r, err
	}
	// Of children that have ended the kernel keeps the sum, so that one which ends
	// between two readings is in both sums once.
	var ended syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &ended); err != nil {
		return r, fmt.Errorf("CPU time of children: %w", err)
	}
	r.cpu = live + time.Duration(ended.Utime.Nano()+ended.Stime.Nano())
	count := func(site string, d box.Direction) (sum int64) {
		counts, cerr := f.box.Link(site).Counts(ctx, d)
		err = errors.Join(err, cerr)
		for _, c := range counts.Classes {
			sum += c.Delivered.Bytes
			r.packets += c.Offered.Packets
		}
		r.late += counts.Late + counts.Missed + counts.Refused
		return sum
	}
	for _, site := range f.sites {
		r.in, r.out = append(r.in, count(site, box.Down)), append(r.out, count(site, box.Up))
	}
	if len(f.sites) > 0 {
		r.uplink = count(f.from.Site(), box.Up)
	}
	return r, err
}

// disk returns what the data folders of f.to and their outputs take.
func (f *field) disk(ctx context.Context, out func(box.Node) string) (sum int64, err error) {
	for _, n := range f.to {
		c, err := n.Client()
		if err != nil {
			return 0, err
		}
		st, err := c.Status(ctx)
		c.Close()
		if err != nil {
			return 0, err
		}
		used, err := diskOf(st.Data, out(n))
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// diskOf returns the bytes that files and folders have on disk. What has two names
// counts once, what shares blocks with another file (reflink) twice.
func diskOf(paths ...string) (sum int64, err error) {
	seen := map[[2]uint64]bool{}
	for _, path := range paths {
		err := filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
			if err == nil {
				var info fs.FileInfo
				if info, err = d.Info(); err == nil {
					st := info.Sys().(*syscall.Stat_t)
					if id := [2]uint64{uint64(st.Dev), st.Ino}; !seen[id] {
						seen[id] = true
						sum += st.Blocks * 512
					}
				}
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil // a node removes files, too
			}
			return err
		})
		if err != nil {
			return 0, fmt.Errorf("disk space of %s: %w", path, err)
		}
	}
	return sum, nil
}

// rows adds the figures of a delivery, which would have taken best on nothing but
// the wire; 0 if no wire is slow enough to tell.
func (d *delivery) rows(t *table, best time.Duration) {
	size := float64(d.size)
	copies := func(what string, bytes ...int64) {
		for _, b := range bytes {
			t.add(what, "copies", float64(b)/size)
		}
	}
	all := slices.Max(d.took)
	t.add("time to all", "s", all.Seconds())
	if best > 0 {
		t.add("time to all over the wire's best", "", all.Seconds()/best.Seconds())
	}
	t.add("time to the first", "s", slices.Min(d.took).Seconds())
	copies("WAN bytes to a site", d.in...)
	copies("WAN bytes from a site", d.out...)
	if len(d.in) > 0 {
		copies("bytes out of the publisher's site", d.uplink)
	}
	if f := d.fetched; f != (fetched{}) {
		if len(d.in) > 0 {
			copies("WAN payload to a site, mean", f.others/int64(len(d.in)))
		}
		t.add("fetched from members of the same site", "%", 100*float64(f.site)/float64(f.site+f.others))
		copies("fetched for nothing, by a member", f.wasted/int64(len(d.took)))
	}
	t.add("CPU of all processes, by what was delivered", "s/GiB", perGiB(d.cpu, d.size*int64(len(d.took))))
	t.add("peak RSS, of the largest process", "MiB", float64(d.peak)/mib)
	copies("disk of a member", d.disk/int64(len(d.took)))
}

// wireTime is how long bytes take at a rate, without headers.
func wireTime(bytes int64, r bandwidth.Rate) time.Duration {
	if r == 0 {
		return 0
	}
	return time.Duration(float64(bytes) / r.BytesPerSecond() * float64(time.Second))
}

// everySite sets both directions of the links of f.sites.
func (f *field) everySite(ctx context.Context, s wan.Settings) error {
	var errs []error
	for _, site := range f.sites {
		for _, d := range []box.Direction{box.Up, box.Down} {
			errs = append(errs, f.box.Link(site).Set(ctx, d, s))
		}
	}
	return errors.Join(errs...)
}
