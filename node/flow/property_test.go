package flow

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/libp2p/go-libp2p/core/peer"
	"pgregory.net/rapid"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/content"
)

const testBlocks = 4

// A model drives a core with whatever may happen, in any order that sources,
// readers and workers can bring about.
type model struct {
	core     *core
	now      time.Time
	ids      sourceID
	live     map[sourceID]peer.ID
	claims   map[sourceID]*roaring.Bitmap
	open     map[requestID]*modelRequest
	order    []requestID // of open, for draws that can be repeated
	pending  []judged    // arrived, not judged
	verified []uint64
	banned   map[peer.ID]time.Time
	listed   []bool
	done     bool
	splits   int
}

type modelRequest struct {
	ask
	list bool // came
	got  uint64
}

func newModel(chunks int, verified []uint64, shares bool) *model {
	list := make([]content.Chunk, chunks)
	for i := range list {
		list[i].Size = testBlocks * simBlock
	}
	m := &model{
		now: epoch, live: map[sourceID]peer.ID{}, claims: map[sourceID]*roaring.Bitmap{},
		open: map[requestID]*modelRequest{}, verified: verified, banned: map[peer.ID]time.Time{}, listed: make([]bool, chunks),
	}
	m.core = newCore(rules{content: content.ID{1}, seed: 5, flying: 8 * testBlocks * simBlock, banFor: time.Minute, rank: simpleRank, shares: shares}, list)
	for i, v := range verified {
		if v != 0 {
			m.listed[i] = true
			m.core.resume(i, testBlocks, v, uint32(blocksIn(allBlocks(testBlocks)&^v))*simBlock)
		}
	}
	return m
}

func blocksIn(mask uint64) (n int) {
	for ; mask != 0; mask &= mask - 1 {
		n++
	}
	return n
}

type fataler interface {
	Fatalf(string, ...any)
	Helper()
}

func (m *model) step(t fataler, ev event) {
	t.Helper()
	m.core.step(m.now, ev)
	fx := m.core.ready(m.now)
	for _, c := range fx.cancels {
		if c.Keep == 0 {
			m.close(c.Request)
			continue
		}
		r := m.open[c.Request]
		if r.Want &= c.Keep; r.Want&^r.got == 0 {
			t.Fatalf("request %d was narrowed to nothing: %b", c.Request, c.Keep)
		}
		m.splits++
	}
	for _, b := range fx.bans {
		m.banned[b.Peer] = b.Until
	}
	for _, a := range fx.asks {
		m.asked(t, a)
	}
	if fx.done {
		m.done = true
	}
	m.check(t)
}

func (m *model) close(r requestID) {
	delete(m.open, r)
	m.order = slices.DeleteFunc(m.order, func(o requestID) bool { return o == r })
}

func (m *model) asked(t fataler, a ask) {
	t.Helper()
	p, ok := m.live[a.Source]
	others, parts, wants := 0, 0, a.Want
	for _, o := range m.open {
		if o.Chunk == a.Chunk {
			others++
			if o.Source == a.Source {
				t.Fatalf("chunk %d asked of source %d twice", a.Chunk, a.Source)
			}
			if left := o.Want &^ o.got; left&wants == 0 {
				parts++
				wants |= left
			}
		}
	}
	switch {
	case !ok:
		t.Fatalf("asked a source that left: %+v", a)
	case m.now.Before(m.banned[p]):
		t.Fatalf("asked %q, banned for %v more", string(p), m.banned[p].Sub(m.now))
	case !m.claims[a.Source].Contains(uint32(a.Chunk)):
		t.Fatalf("asked for a chunk that it hasn't: %+v", a)
	case others > 1 && (parts < others || others == maxParts):
		t.Fatalf("chunk %d asked a third time", a.Chunk)
	case m.verified[a.Chunk] == allBlocks(testBlocks):
		t.Fatalf("asked for chunk %d, which is here", a.Chunk)
	case a.List == m.listed[a.Chunk]:
		t.Fatalf("list known: %t, asked for: %t", m.listed[a.Chunk], a.List)
	case !a.List && (a.Want == 0 || a.Want&(m.verified[a.Chunk]|^allBlocks(testBlocks)) != 0):
		t.Fatalf("chunk %d: asked for blocks %b, verified are %b", a.Chunk, a.Want, m.verified[a.Chunk])
	}
	m.open[a.Request] = &modelRequest{ask: a}
	m.order = append(m.order, a.Request)
}

// check holds the core against its invariants.
func (m *model) check(t fataler) {
	t.Helper()
	c := m.core
	bare, missing := 0, int64(0)
	for i := range c.order.chunks {
		ch := &c.order.chunks[i]
		holders := 0
		for _, s := range c.sources {
			if s.held.has(c.order.place[i]) {
				holders++
			}
		}
		if int(ch.holders) != holders {
			t.Fatalf("chunk %d has %d holders, counted as %d", i, holders, ch.holders)
		}
		if holders == 0 && !ch.done() {
			bare++
		}
		missing += int64(ch.missing)
		if want := uint32(testBlocks-blocksIn(m.verified[i])) * simBlock; ch.missing != want {
			t.Fatalf("chunk %d lacks %d bytes, counted as %d", i, want, ch.missing)
		}
		if want := c.level(i); ch.level != want {
			t.Fatalf("chunk %d stands in level %d, belongs into %d", i, ch.level, want)
		}
		for l := range c.order.levels {
			if c.order.levels[l].has(c.order.place[i]) != (int(ch.level) == l) {
				t.Fatalf("chunk %d says it is in level %d, and level %d has %t", i, ch.level, l, !(int(ch.level) == l))
			}
		}
		if w := c.under[i]; w != nil && len(w.open) == 0 && w.unjudged == 0 {
			t.Fatalf("chunk %d is under way with nothing", i)
		}
	}
	for at, i := range c.order.first {
		if c.order.chunks[i].done() || slices.Contains(c.order.first[:at], i) || at >= maxFirst {
			t.Fatalf("preferred: %v", c.order.first)
		}
	}
	readers := make(map[uint64]bool)
	for _, l := range c.order.longings {
		if readers[l.reader] || len(l.chunks) == 0 {
			t.Fatalf("longings: %v", c.order.longings)
		}
		readers[l.reader] = true
	}
	if bare != c.order.bare || missing != c.tally.missing {
		t.Fatalf("bare %d and missing %d, counted as %d and %d", bare, missing, c.order.bare, c.tally.missing)
	}
	if m.done != (missing == 0) {
		t.Fatalf("done: %t, %d bytes missing", m.done, missing)
	}
	open := 0
	for _, s := range c.sources {
		var owed int64
		for _, r := range s.open {
			open++
			owed += r.left
			if c.requests[r.id] != r || !slices.Contains(c.under[r.chunk].open, r) {
				t.Fatalf("request %d is on some lists and not on others", r.id)
			}
		}
		if owed != s.left || s.left < 0 || s.unjudged < 0 {
			t.Fatalf("%q owes %d bytes, counted as %d, %d unjudged", string(s.peer), owed, s.left, s.unjudged)
		}
		if len(s.open) > minWindow && s.outstanding() > maxWindow {
			t.Fatalf("%q has %d bytes to deliver", string(s.peer), s.outstanding())
		}
	}
	if open != len(c.requests) || open != len(m.open) {
		t.Fatalf("%d requests at sources, %d in all, %d known outside", open, len(c.requests), len(m.open))
	}
	if n := c.aloft(); n > c.flying && len(c.requests) > 1 {
		t.Fatalf("%d bytes under way", n)
	}
}

func (m *model) join(t fataler, p peer.ID, link bandwidth.Link) sourceID {
	for id, q := range m.live {
		if q == p { // the core ends it by itself
			m.drop(id)
		}
	}
	m.ids++
	m.live[m.ids] = p
	m.claims[m.ids] = roaring.New()
	m.step(t, joined{Source: m.ids, Peer: p, Link: link, Banned: m.banned[p]})
	return m.ids
}

// drop forgets a source and what it was asked.
func (m *model) drop(id sourceID) {
	delete(m.live, id)
	for _, r := range slices.Clone(m.order) {
		if m.open[r].Source == id {
			m.close(r)
		}
	}
}

// answer sends the next frame of a request; how says what is wrong with it.
func (m *model) answer(t fataler, id requestID, how string) {
	r := m.open[id]
	if r.List && !r.list {
		r.list = true
		if how == "bad" {
			m.close(id) // the session ends it
			m.step(t, list{Source: r.Source, Request: id, Chunk: r.Chunk, Bad: true})
			return
		}
		m.listed[r.Chunk] = true
		m.step(t, list{Source: r.Source, Request: id, Chunk: r.Chunk, Blocks: testBlocks})
		return
	}
	for b := range uint8(testBlocks) {
		bit := uint64(1) << b
		if r.Want&bit == 0 || r.got&bit != 0 {
			continue
		}
		r.got |= bit
		ev := judged{Source: r.Source, Peer: m.live[r.Source], Link: bandwidth.LAN, Chunk: r.Chunk, Block: b, Bytes: simBlock}
		if how == "bad" {
			ev.Verdict = Corrupt
		}
		m.pending = append(m.pending, ev)
		last := r.Want&allBlocks(testBlocks)&^r.got == 0
		if last {
			m.close(id) // the core needs no end
		}
		m.step(t, arrived{r.Source, id, r.Chunk, b, simBlock})
		if last {
			m.step(t, ended{r.Source, id, Sent})
		}
		return
	}
	m.close(id)
	m.step(t, ended{r.Source, id, Sent})
}

func (m *model) judge(t fataler, i int) {
	ev := m.pending[i]
	m.pending = slices.Delete(m.pending, i, i+1)
	if ev.Verdict != Corrupt {
		bit := uint64(1) << ev.Block
		if m.verified[ev.Chunk]&bit != 0 {
			ev.Verdict = Duplicate
		}
		m.verified[ev.Chunk] |= bit
	}
	m.step(t, ev)
}

// Whatever happens, no request is made that must not be, the core's counts are
// right after every event, and an honest source that stays completes the content.
func TestAnyScheduleEndsWhole(t *testing.T) {
	for i := range 20 { // of 100 schedules each
		t.Run(fmt.Sprint(i), rapid.MakeCheck(func(t *rapid.T) {
			chunks := rapid.IntRange(1, 12).Draw(t, "chunks")
			verified := make([]uint64, chunks)
			for i := range verified {
				verified[i] = rapid.Uint64Range(0, allBlocks(testBlocks)).Draw(t, "verified")
			}
			m := newModel(chunks, verified, rapid.Bool().Draw(t, "shares"))
			m.step(t, tick{})
			for range rapid.IntRange(0, 150).Draw(t, "events") {
				m.anything(t)
			}
			m.finish(t)
		}))
	}
}

// The same of few chunks at several sources of other sites, which are asked for parts.
func TestAnyScheduleOfPartsEndsWhole(t *testing.T) {
	splits := 0
	for i := range 10 {
		t.Run(fmt.Sprint(i), rapid.MakeCheck(func(t *rapid.T) {
			m := newModel(2, make([]uint64, 2), true)
			m.step(t, unseated{})
			for i := range 4 {
				id := m.join(t, peer.ID(fmt.Sprint("p", i)), bandwidth.WAN)
				all := roaring.BitmapOf(0, 1)
				m.claims[id] = all.Clone()
				m.step(t, have{id, all})
			}
			for range rapid.IntRange(0, 100).Draw(t, "events") {
				m.now = m.now.Add(time.Duration(rapid.Uint32Range(0, 200).Draw(t, "ms")) * time.Millisecond)
				m.anything(t)
			}
			m.finish(t)
			splits += m.splits
		}))
	}
	if splits == 0 {
		t.Error("nothing was asked for in parts")
	}
	t.Logf("%d parts", splits)
}

func (m *model) anything(t *rapid.T) {
	m.now = m.now.Add(time.Duration(rapid.Uint32Range(0, 50).Draw(t, "ms")) * time.Millisecond)
	switch do := rapid.SampledFrom([]string{"join", "leave", "have", "answer", "answer", "answer", "answer", "bad", "judge", "judge", "judge", "end", "tick", "wait", "prefer", "plan"}).Draw(t, "do"); do {
	case "join":
		p := peer.ID(fmt.Sprint("p", rapid.IntRange(0, 4).Draw(t, "peer")))
		m.join(t, p, rapid.SampledFrom(bandwidth.Links[:]).Draw(t, "link"))
	case "leave", "have":
		if len(m.live) == 0 {
			return
		}
		ids := make([]sourceID, 0, len(m.live))
		for id := range m.live {
			ids = append(ids, id)
		}
		slices.Sort(ids)
		id := rapid.SampledFrom(ids).Draw(t, "source")
		if do == "leave" {
			m.drop(id)
			m.step(t, left{id})
			return
		}
		has := roaring.New()
		for _, i := range rapid.SliceOf(rapid.Uint32Range(0, uint32(len(m.verified))+1)).Draw(t, "has") {
			has.Add(i)
		}
		m.claims[id] = has.Clone()
		m.step(t, have{id, has})
	case "answer", "bad":
		if len(m.order) > 0 {
			m.answer(t, rapid.SampledFrom(m.order).Draw(t, "request"), do)
		}
	case "judge":
		if len(m.pending) > 0 {
			m.judge(t, rapid.IntRange(0, len(m.pending)-1).Draw(t, "block"))
		}
	case "end":
		if len(m.order) > 0 {
			id := rapid.SampledFrom(m.order).Draw(t, "request")
			r := m.open[id]
			m.close(id)
			m.step(t, ended{r.Source, id, rapid.SampledFrom([]Outcome{Sent, Refused, Busy, Gone, Cancelled}).Draw(t, "outcome")})
		}
	case "tick":
		m.step(t, tick{})
	case "prefer":
		m.step(t, prefer{rapid.Uint64Range(0, 3).Draw(t, "reader"), rapid.SliceOfN(rapid.IntRange(-1, len(m.verified)), 0, 4).Draw(t, "preferred")})
	case "plan":
		some := rapid.SliceOfN(rapid.IntRange(-1, len(m.verified)), 0, 4).Draw(t, "chunks")
		if rapid.Bool().Draw(t, "all") {
			some = some[:0]
			for i := range m.verified {
				some = append(some, i)
			}
		}
		m.step(t, rapid.SampledFrom([]event{
			seated{}, unseated{}, crewed{true, true}, crewed{false, true}, answered{some, nil}, answered{nil, some}, freed{some}, revoked{some},
		}).Draw(t, "plan"))
	case "wait":
		m.now = m.now.Add(time.Duration(rapid.Uint32Range(1, 5000).Draw(t, "ms")) * time.Millisecond)
		m.step(t, tick{})
	}
}

// finish lets an honest source stay; the others say nothing more.
func (m *model) finish(t *rapid.T) {
	m.step(t, unseated{})
	id := m.join(t, "honest", bandwidth.WAN)
	all := roaring.New()
	all.AddRange(0, uint64(len(m.verified)))
	m.claims[id] = all.Clone()
	m.step(t, have{id, all})
	for steps := 0; !m.done; steps++ {
		if steps > 3000 {
			t.Fatalf("not whole after %v with an honest source", m.now.Sub(epoch))
		}
		for len(m.pending) > 0 {
			m.judge(t, 0)
		}
		mine := slices.IndexFunc(m.order, func(r requestID) bool { return m.open[r].Source == id })
		if mine >= 0 {
			m.now = m.now.Add(10 * time.Millisecond)
			m.answer(t, m.order[mine], "")
			continue
		}
		if !m.done {
			m.now = m.now.Add(100 * time.Millisecond)
			m.step(t, tick{})
		}
	}
}
