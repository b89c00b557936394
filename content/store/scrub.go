package store

import (
	"context"
	"encoding/binary"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/disk"
)

// The scrub reads everything again within a period, so that what nobody asks for
// is found damaged before the last good copy elsewhere is gone. It goes at the pace
// that the period needs and no faster, in bursts, so that a disk may sleep between
// them, under a limit, and gives way to who reads. What was hashed lately anyway
// (fresh.go) is left out, so a hot content costs nothing; a block is read at the
// latest when the period and that week are over. Files of the user's are left out
// too: they are hashed whenever they are read.
//
// How far it is stands in the contents' state files: a restart costs the chunks of
// the last ten minutes.
const (
	scrubBurst = 16 << 20
	// scrubSooner is how much of the period is taken off at most, by what an id
	// says, so that contents that came together don't stay together.
	scrubSooner = 0.1
	scrubLook   = 10 * time.Minute // at the latest, since contents come and go
	scrubSave   = 10 * time.Minute // of how far a content is

	// Who reads more than this makes the scrub wait, by so much at a time, and so
	// long in all for each burst; less if it is late.
	busyRate     = 4 << 20 // bytes a second
	giveWay      = time.Second
	giveWayFor   = 10 * time.Minute
	giveWayLate  = 10 * time.Second
	largestChunk = content.MaxBlocks * content.MaxBlock
)

// A scrubItem is a content as the scrub sees it.
type scrubItem struct {
	content *Content
	left    int64 // bytes yet to be read in this round
	due     time.Time
}

// planScrub returns which item is read next, and at how many bytes a second so
// that each is read when it is due: the largest, over all due times, of what is due
// until then divided by the time until then (the demand of earliest deadline first;
// Liu and Layland, JACM 20(1), 1973). It is infinite if one is late. Nil: there is
// nothing to read.
func planScrub(items []scrubItem, now time.Time) (next *scrubItem, pace float64) {
	if len(items) == 0 {
		return nil, 0
	}
	slices.SortStableFunc(items, func(a, b scrubItem) int { return a.due.Compare(b.due) })
	var sum int64
	for _, i := range items {
		sum += i.left
		until := i.due.Sub(now).Seconds()
		if until <= 0 {
			pace = math.Inf(1)
			break
		}
		pace = max(pace, float64(sum)/until)
	}
	return &items[0], pace
}

// scrubDue returns when a content is to be read again that was read as a whole, or
// written, at last.
func scrubDue(id content.ID, last time.Time, period time.Duration) time.Time {
	sooner := scrubSooner * float64(binary.LittleEndian.Uint32(id[len(id)-4:])) / math.MaxUint32
	return last.Add(time.Duration(float64(period) * (1 - sooner)))
}

// lastScrub returns when all of the content was read again, or written.
func (c *Content) lastScrub() time.Time {
	c.mu.Lock()
	at := c.care.scrub.at
	c.mu.Unlock()
	if at > 0 {
		return time.Unix(at, 0)
	}
	return c.Added()
}

// scrubItems returns what there is to read.
func (s *Store) scrubItems() []scrubItem {
	var items []scrubItem
	for _, c := range s.List() {
		here := c.Progress()
		if c.InPlace() || here == 0 || c.ended() != nil {
			continue
		}
		c.mu.Lock()
		cursor := min(int(c.care.scrub.cursor), len(c.manifest.Chunks)-1)
		c.mu.Unlock()
		items = append(items, scrubItem{c, max(1, here-c.layout.Chunk(cursor)), scrubDue(c.id, c.lastScrub(), s.cfg.ScrubPeriod)})
	}
	return items
}

// ScrubPeriod returns in which time everything is read again.
func (s *Store) ScrubPeriod() time.Duration { return s.cfg.ScrubPeriod }

// ScrubbedSince returns since when everything that is here was read again, or
// written; the zero time if there is nothing.
func (s *Store) ScrubbedSince() (since time.Time) {
	for _, c := range s.List() {
		if c.InPlace() || c.Progress() == 0 {
			continue
		}
		if at := c.lastScrub(); since.IsZero() || at.Before(since) {
			since = at
		}
	}
	return since.UTC()
}

// A scrubber is what runs in Run.
type scrubber struct {
	store   *Store
	limiter *rate.Limiter
	later   map[*Content]time.Time // what can't be read: until when others go on without it

	// What busy last saw: bytes served until then, and whether they were many.
	seen   int64
	seenAt time.Time
	much   bool
}

// scrub reads everything again, over and over, until ctx is done.
func (s *Store) scrub(ctx context.Context) {
	limit := rate.Limit(s.cfg.ScrubRate)
	if s.cfg.ScrubRate == NoLimit {
		limit = rate.Inf
	}
	x := &scrubber{store: s, limiter: rate.NewLimiter(limit, largestChunk), later: make(map[*Content]time.Time), seenAt: time.Now()}
	credit, at := 0.0, time.Now()
	for ctx.Err() == nil {
		now := time.Now()
		maps.DeleteFunc(x.later, func(_ *Content, until time.Time) bool { return !now.Before(until) })
		next, pace := planScrub(slices.DeleteFunc(s.scrubItems(), func(i scrubItem) bool {
			_, not := x.later[i.content]
			return not
		}), now)
		if next == nil {
			at = now
			sleep(ctx, scrubLook)
			continue
		}
		burst, late := float64(min(scrubBurst, next.left)), math.IsInf(pace, 1)
		if late {
			credit = burst
		} else {
			credit += pace * now.Sub(at).Seconds()
		}
		at = now
		if credit < burst {
			wait := min((burst-credit)/pace, scrubLook.Seconds()) * (0.9 + 0.2*rand.Float64())
			sleep(ctx, time.Duration(wait*float64(time.Second)))
			continue
		}
		credit = 0
		if !x.read(ctx, next.content, int64(burst), late) {
			x.later[next.content] = now.Add(scrubLook)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(max(d, time.Millisecond))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// read reads chunks of a content until they have so many bytes, or are the last.
// It reports false if something hinders it that may pass.
func (x *scrubber) read(ctx context.Context, c *Content, bytes int64, late bool) bool {
	patience := giveWayFor
	if late {
		patience = giveWayLate
	}
	c.mu.Lock()
	chunk := int(c.care.scrub.cursor)
	c.mu.Unlock()
	for ; bytes > 0 && chunk < len(c.manifest.Chunks); chunk++ {
		// The content isn't in use meanwhile: who removes it waits for no scrub.
		patience -= x.yield(ctx, patience)
		if ctx.Err() != nil || c.ended() != nil {
			return true
		}
		n := int64(c.manifest.Chunks[chunk].Size)
		bytes -= n
		if c.enter() != nil {
			return true // gone
		}
		want := c.stale(time.Now(), chunk)
		c.busy.Done()
		if want != 0 && x.limiter.WaitN(ctx, int(n)) != nil {
			return true
		}
		if err := c.scrubNext(chunk); err != nil {
			c.store.logger.Warn("scrub can't go on yet", zap.Stringer("content", c.id), zap.Error(err))
			return false
		}
	}
	return true
}

// scrubNext reads what is stale of a chunk, and notes that the scrub is done with
// it. A content that has ended is no error.
func (c *Content) scrubNext(chunk int) error {
	if c.enter() != nil {
		return nil
	}
	defer c.busy.Done()
	if want := c.stale(time.Now(), chunk); want != 0 {
		if err := c.scrubChunk(chunk, want); err != nil {
			return err
		}
	}
	c.scrubbed(chunk + 1)
	return nil
}

// yield waits while others read a lot, but not for longer than patience, and
// returns for how long.
func (x *scrubber) yield(ctx context.Context, patience time.Duration) time.Duration {
	start := time.Now()
	for x.busy(time.Now()) && time.Since(start) < patience && ctx.Err() == nil {
		sleep(ctx, min(giveWay, patience))
	}
	return time.Since(start)
}

// busy reports whether others read a lot since it was last asked.
func (x *scrubber) busy(now time.Time) bool {
	served, since := x.store.served.Load(), now.Sub(x.seenAt)
	if since >= 100*time.Millisecond { // a shorter time says nothing new
		x.much = float64(served-x.seen) > busyRate*since.Seconds()
		x.seen, x.seenAt = served, now
	}
	return x.much
}

// scrubChunk reads blocks of a chunk from the disk, not from memory, and leaves
// nothing of them in memory.
func (c *Content) scrubChunk(chunk int, want uint64) error {
	c.forgetPages(chunk)
	d, size, err := c.inspect(chunk, want)
	c.forgetPages(chunk)
	if err != nil {
		return err
	}
	c.store.stats.Scrubbed.Add(size)
	if d.Err != nil {
		c.damage(d)
	}
	return nil
}

// forgetPages has the system forget what it has in memory of a chunk.
func (c *Content) forgetPages(chunk int) {
	for s := range c.layout.Spans(c.layout.Chunk(chunk), int64(c.manifest.Chunks[chunk].Size)) {
		h, err := c.pin(s.File, false)
		if err != nil {
			continue // whoever reads it is told
		}
		if f := disk.Unwrap(h.File); f != nil {
			disk.Forget(f, s.Offset, s.Size)
		}
		c.store.files.unpin(h)
	}
}

// scrubbed notes that the scrub is done with the chunks before one.
func (c *Content) scrubbed(before int) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.care.scrub.cursor = uint32(before)
	if before >= len(c.manifest.Chunks) {
		c.care.scrub = scrubbed{at: now.Unix()}
		c.care.unsaved, c.care.scrubSaved = true, now
		return
	}
	if now.Sub(c.care.scrubSaved) >= scrubSave {
		c.care.unsaved, c.care.scrubSaved = true, now
	}
}
