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
	ports interface {
		LimitPort(node string, r bandwidth.Rate) error
	}
	from  box.Node
	to    []box.Node
	sites []string // whose links are counted; none if all are on one LAN

	traces string // where traces go, or empty
}

// A means is a way to deliver one content: ours, plain HTTP, another program.
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
	usage(ctx context.Context) (usage, error)
	// fetched returns what a node got so far over networks; zero if that isn't told.
	fetched(ctx context.Context, at box.Node) (fetched, error)
	end() error
}

// usage is what processes take.
type usage struct {
	cpu  time.Duration // of those that run now
	peak int64         // bytes of memory, of any of them so far

	// Of the node that has most, where they are told.
	goroutines, connections int
}

// most keeps the larger of each, but for CPU time.
func (u *usage) most(o usage) {
	u.peak, u.goroutines, u.connections = max(u.peak, o.peak), max(u.goroutines, o.goroutines), max(u.connections, o.connections)
}

// A delivery is what one cost.
type delivery struct {
	size    int64           // of all contents
	took    []time.Duration // at each node of field.to, from the beginning of all
	in, out []int64         // bytes on the link of each of field.sites, to it and from it
	uplink  int64           // bytes that left the source's site
	late    int64           // packets that the emulator was late with, or had to drop
	packets int64           // of how many
	usage   usage           // of all processes
	disk    int64           // bytes, of all of field.to
	fetched []fetched       // by each node of field.to
	payload []int64         // of these what came from other sites, by each of field.sites
}

// fetched is the payload that a member got, and from where.
type fetched struct {
	site, others int64 // from members of the same site, from elsewhere
	// Of both what came for nothing: twice, not as asked, or not wanted any more.
	siteWasted, othersWasted int64
}

func (f fetched) plus(o fetched) fetched {
	return fetched{f.site + o.site, f.others + o.others, f.siteWasted + o.siteWasted, f.othersWasted + o.othersWasted}
}

func (f fetched) less(o fetched) fetched {
	return fetched{f.site - o.site, f.others - o.others, f.siteWasted - o.siteWasted, f.othersWasted - o.othersWasted}
}

// An item is a content under delivery, and the name of copies of it.
type item struct {
	means
	name string
}

// A trouble is what happens to a get. It returns when the get has ended well.
type trouble func(ctx context.Context, m means, to box.Node, out string) error

func none(ctx context.Context, m means, to box.Node, out string) error { return m.get(ctx, to, out) }

// deliver has all of f.to get all items, at once, and returns what it cost. Sizes
// are the sum of all items'.
func (f *field) deliver(ctx context.Context, items []item, size int64, t trouble) (d delivery, err error) {
	outs := func(n box.Node) (paths []string) {
		for _, i := range items {
			paths = append(paths, n.Path(i.name))
		}
		return paths
	}
	diskBefore, err := f.disk(ctx, outs)
	if err != nil {
		return d, err
	}
	unix.Sync()         // what was written before shall not be in the way
	m := items[0].means // of which all items share what is measured here
	before, err := f.take(ctx, m)
	if err != nil {
		return d, err
	}
	d = delivery{size: size, took: make([]time.Duration, len(f.to))}
	stop := f.watch(ctx, m, &d.usage)
	defer stop()
	traced, err := f.trace(ctx, m, f.tracePath(m))
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, traced()) }()
	start := time.Now()
	getting, gctx := errgroup.WithContext(ctx)
	for i, n := range f.to {
		getting.Go(func() error {
			each, ectx := errgroup.WithContext(gctx)
			for _, it := range items {
				each.Go(func() error { return t(ectx, it.means, n, n.Path(it.name)) })
			}
			err := each.Wait()
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
	stop()
	d.usage.most(after.usage)
	d.usage.cpu = after.usage.cpu - before.usage.cpu
	for i := range f.sites {
		d.in = append(d.in, after.in[i]-before.in[i])
		d.out = append(d.out, after.out[i]-before.out[i])
	}
	d.payload = make([]int64, len(f.sites))
	for i, n := range f.to {
		got := after.fetched[i].less(before.fetched[i])
		d.fetched = append(d.fetched, got)
		if at := slices.Index(f.sites, n.Site()); at >= 0 {
			d.payload[at] += got.others + got.othersWasted
		}
	}
	d.uplink, d.late, d.packets = after.uplink-before.uplink, after.late-before.late, after.packets-before.packets
	diskAfter, err := f.disk(ctx, outs)
	d.disk = diskAfter - diskBefore
	return d, err
}

// watchEvery is how often is looked at what nodes have open. What they have for less
// is missed; a look costs each a millisecond or two.
const watchEvery = time.Second

// watch keeps in u the most that was seen at any time until stop is called.
func (f *field) watch(ctx context.Context, m means, u *usage) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for sleep(ctx, watchEvery) == nil {
			if now, err := m.usage(ctx); err == nil { // else one is starting or ending
				u.most(now)
			}
		}
	}()
	return func() { cancel(); <-ended }
}

// A reading is what has been used until now.
type reading struct {
	in, out       []int64
	uplink        int64
	late, packets int64
	usage         usage
	fetched       []fetched // by each of field.to
}

func (f *field) take(ctx context.Context, m means) (r reading, err error) {
	if r.usage, err = m.usage(ctx); err != nil {
		return r, err
	}
	for _, n := range f.to {
		got, err := m.fetched(ctx, n)
		if err != nil {
			return r, err
		}
		r.fetched = append(r.fetched, got)
	}
	// Of children that have ended the kernel keeps the sum, so that one which ends
	// between two readings is in both sums once.
	var ended syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &ended); err != nil {
		return r, fmt.Errorf("CPU time of children: %w", err)
	}
	r.usage.cpu += time.Duration(ended.Utime.Nano() + ended.Stime.Nano())
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
func (f *field) disk(ctx context.Context, outs func(box.Node) []string) (sum int64, err error) {
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
		used, err := diskOf(append(outs(n), st.Data)...)
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

// Rows that goals are about.
const (
	rowAll     = "time to all over the wire's best"
	rowFirst   = "time to the first over the wire's best"
	rowIn      = "WAN bytes to a site"
	rowPayload = "WAN payload to a site"
	rowUplink  = "bytes out of the publisher's site"
	rowCPU     = "CPU of all processes, by what was delivered"
	rowPeak    = "peak RSS, of the largest process"
	rowLate    = "late: WAN payload to a site"
	rowOnce    = "WAN payload to a site over what is new"
	rowLateIn  = "late: WAN bytes to a site"
)

// rows adds the figures of a delivery, which would have taken best on nothing but
// the wire; 0 if no wire is slow enough to tell. Of several sites the one with most
// counts.
func (d *delivery) rows(t *table, best time.Duration) {
	copies := func(what string, bytes int64) { t.add(what, "copies", float64(bytes)/float64(d.size)) }
	all, first := slices.Max(d.took), slices.Min(d.took)
	t.add("time to all", "s", all.Seconds())
	if best > 0 {
		t.add(rowAll, "", all.Seconds()/best.Seconds())
	}
	t.add("time to the first", "s", first.Seconds())
	if best > 0 {
		t.add(rowFirst, "", first.Seconds()/best.Seconds())
	}
	var sum fetched
	for _, f := range d.fetched {
		sum = sum.plus(f)
	}
	if len(d.in) > 0 {
		copies(rowIn, slices.Max(d.in))
		copies("WAN bytes from a site", slices.Max(d.out))
		copies(rowUplink, d.uplink)
	}
	if sum != (fetched{}) {
		if len(d.in) > 0 {
			copies(rowPayload, slices.Max(d.payload))
			copies("of this for nothing, mean of sites", sum.othersWasted/int64(len(d.in)))
		}
		t.add("fetched from members of the same site", "%", 100*float64(sum.site)/float64(sum.site+sum.others))
		copies("fetched for nothing from these, by a member", sum.siteWasted/int64(len(d.took)))
	}
	t.add(rowCPU, "s/GiB", perGiB(d.usage.cpu, d.size*int64(len(d.took))))
	t.add(rowPeak, "MiB", float64(d.usage.peak)/mib)
	if d.usage.goroutines > 0 {
		t.add("goroutines of a node, most", "", float64(d.usage.goroutines))
		t.add("connections of a node, most", "", float64(d.usage.connections))
	}
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
