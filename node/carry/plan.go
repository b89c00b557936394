package carry

import (
	"cmp"
	"hash/fnv"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// Carriers is how many members of a site bring a content at a time. One fills a
	// link that loses nothing; three do so while one of them is taken away, and share
	// what a lossy one gives to each connection. More would mean more chunks begun and
	// not whole when one dies.
	Carriers = 3
	// maxCarriers bounds them when some have stalled, and when many read the content
	// while it comes.
	maxCarriers = 4 * Carriers

	// useless is how long a carrier may propose nothing, though there is something to
	// bring, before another one gets its place: it reaches nobody who has it.
	useless = 3 * time.Second
	// restFor is how long it isn't made a carrier again while there are others.
	restFor = 30 * time.Second

	// MaxGrants is how many chunks one member carries at most: a second of a link of
	// 1 Gbit/s, and a little.
	MaxGrants = 128
	// maxMoves bounds how often the silence after which a chunk is taken over doubles.
	maxMoves = 5
	// maxMeet is how many members one that joins is told of.
	maxMeet = 16

	// maxDoubts is how many chunks others may insist on before nobody believes a member
	// that says it has them. One that lies, or whose disk is gone, would hold up all the
	// rest for 3 s a chunk.
	maxDoubts = 3
)

// A Crew is who brings a content to a site, as one member is told.
type Crew struct {
	Carrier  bool      // you do
	Found    bool      // another member has met a source, or has some of it
	Carriers []peer.ID // all who do
}

// An Order is what a planner tells a member. One of its fields is set.
type Order struct {
	To     peer.ID
	Crew   *Crew
	Answer *Answer
	Free   []int     // chunks that were taken, and are not any more
	Revoke []int     // chunks that somebody else carries from now on
	Meet   []peer.ID // members that have some of it, or will
}

// An Answer says what became of a proposal. What is in neither was not looked at.
type Answer struct {
	Granted []int // this member carries them
	Taken   []int // another one has or carries them
}

// A Joining is what a member says of itself when it joins.
type Joining struct {
	Chunks   int  // of the content; 0 while it doesn't know
	Willing  bool // it may be made a carrier
	Reader   bool // somebody reads the content at this member while it comes
	Has      *roaring.Bitmap
	Carrying []int // what it was granted by another planner, and isn't here
}

// A Plan is who carries what of one content at one site. It is pure: what members
// say and the time go in, orders come out of Ready. Time never goes back.
//
// Invariants, between calls:
//   - a chunk is carried by one member at most, and then it is in the grants of that
//     member and of no other;
//   - holders counts the members that have a chunk and are believed, those that are
//     done included;
//   - only members that fetch have grants, and of these carriers, but for what one
//     carried when it joined.
type Plan struct {
	members []*member // in the order in which they joined
	byID    map[peer.ID]*member
	holders []uint16 // per chunk
	carried map[int]*member
	moves   map[int]int // how often a chunk was taken over
	vacant  int         // chunks that nobody has or carries
	orders  []Order
}

type member struct {
	id      peer.ID
	has     *roaring.Bitmap
	active  bool // it fetches; else it is done and has it
	willing bool
	reader  bool
	met     bool // it has some of the content, or somebody who does
	doubts  int  // chunks that it said it has, and others insisted on; maxDoubts: it isn't believed

	carrier  bool
	grants   []int // in the order granted
	proposed time.Time
	resting  time.Time // not made a carrier before, if there are others

	// What it says of its progress; bytes is negative until it does.
	bytes, left int64
	moved       time.Time // the last time that bytes grew, or that it got something to carry
	brought     time.Time // the last time that bytes grew
	took        time.Time // the last time that it took something over
	rate        rate
	lacks       map[int]struct{} // chunks that it was granted and gave back

	told Crew
}

// NewPlan returns a plan that nobody has joined.
func NewPlan() *Plan {
	return &Plan{byID: make(map[peer.ID]*member), carried: make(map[int]*member), moves: make(map[int]int)}
}

// Join lets a member take part. One that joined before begins anew.
func (p *Plan) Join(now time.Time, id peer.ID, j Joining) {
	old := p.byID[id]
	p.remove(id)
	m := &member{
		id: id, has: roaring.New(), active: true, willing: j.Willing, reader: j.Reader,
		proposed: now, moved: now, bytes: -1, lacks: make(map[int]struct{}),
	}
	p.members = append(p.members, m)
	p.byID[id] = m
	p.resize(j.Chunks)
	p.hold(m, j.Has)
	var lost []int // somebody else brings it, or has
	for _, c := range j.Carrying {
		if p.open(c) && len(m.grants) < MaxGrants {
			p.grant(now, m, c)
		} else if !m.has.ContainsInt(c) {
			lost = append(lost, c)
		}
	}
	if len(lost) > 0 {
		p.order(Order{To: id, Revoke: lost})
	}
	if old != nil && len(m.grants) > 0 {
		m.moved = old.moved // whoever joins again and again brings nothing by that
	}
	p.meet(m)
	p.staff(now)
}

// Chunks notes how many chunks the content has, now that a member knows.
func (p *Plan) Chunks(now time.Time, id peer.ID, n int) {
	if m := p.byID[id]; m != nil {
		m.met = true
		p.resize(n)
		p.staff(now)
	}
}

// resize makes room for n chunks. Somebody may lie about n: who is right is checked
// by everybody's manifest, and a chunk that doesn't exist is proposed by nobody.
func (p *Plan) resize(n int) {
	if more := n - len(p.holders); more > 0 {
		p.holders = append(p.holders, make([]uint16, more)...)
		p.vacant += more
	}
}

// Has notes chunks that a member has from now on.
func (p *Plan) Has(now time.Time, id peer.ID, chunks *roaring.Bitmap) {
	if m := p.byID[id]; m != nil {
		p.hold(m, chunks)
		p.staff(now)
	}
}

func (p *Plan) hold(m *member, chunks *roaring.Bitmap) {
	if chunks == nil {
		return
	}
	for i := range roaring.Values(roaring.AndNot(chunks, m.has)) {
		if int64(i) >= int64(len(p.holders)) {
			break
		}
		m.has.Add(i)
		m.met = true
		delete(p.moves, int(i))
		if m.believed() {
			if p.open(int(i)) {
				p.vacant--
			}
			p.holders[i]++
		}
		if by := p.carried[int(i)]; by == m {
			p.ungrant(int(i))
		}
	}
}

// Propose answers a carrier that could ask for n chunks: these, in this order. With
// none of them it asks for whatever another one is late with. One that insists gets
// what others have as well: it can't get it from them, who may lie. A member that is
// no carrier and insists becomes one.
func (p *Plan) Propose(now time.Time, id peer.ID, n int, chunks []int, insist bool) {
	m := p.byID[id]
	if m == nil || !m.active {
		return
	}
	m.proposed = now
	if insist && !m.carrier && p.misses(m) && p.carriers() < maxCarriers {
		m.carrier = true
		p.tell()
	}
	a := &Answer{}
	var doubted []int
	n = min(n, MaxGrants-len(m.grants))
	for _, c := range chunks {
		if len(a.Granted) >= n {
			break
		}
		switch {
		case !m.carrier || c < 0 || c >= len(p.holders) || m.has.ContainsInt(c):
			a.Taken = append(a.Taken, c)
		case p.carried[c] == m:
			a.Granted = append(a.Granted, c)
		case !p.open(c) && !(insist && p.carried[c] == nil):
			a.Taken = append(a.Taken, c)
		default:
			p.grant(now, m, c)
			a.Granted = append(a.Granted, c)
			if p.holders[c] > 0 {
				doubted = append(doubted, c)
			}
		}
	}
	for _, c := range doubted {
		p.doubt(c)
	}
	if len(a.Granted) == 0 && m.carrier && n > 0 {
		if c, ok := p.takeOver(now, m); ok {
			a.Granted = append(a.Granted, c)
		}
	}
	p.order(Order{To: id, Answer: a})
}

// doubt counts against those who say they have a chunk that somebody insists on.
func (p *Plan) doubt(c int) {
	for _, m := range p.members {
		if !m.believed() || !m.has.ContainsInt(c) {
			continue
		}
		if m.doubts++; !m.believed() {
			p.free(m.id, p.discount(m))
		}
	}
}

// discount has what a member has count for nothing; it returns what is open by that.
func (p *Plan) discount(m *member) (free []int) {
	for i := range roaring.Values(m.has) {
		if p.holders[i]--; p.open(int(i)) {
			p.vacant++
			free = append(free, int(i))
		}
	}
	return free
}

// misses reports whether m lacks something that others have.
func (p *Plan) misses(m *member) bool {
	for c, n := range p.holders {
		if n > 0 && !m.has.ContainsInt(c) {
			return true
		}
	}
	return false
}

func (p *Plan) carriers() (n int) {
	for _, m := range p.members {
		if m.carrier {
			n++
		}
	}
	return n
}

// takeOver gives m a chunk of one that has stalled, or that needs far longer. One that
// has stalled itself does no better, nor does one that took something and has brought
// nothing since; and a chunk that changed hands in vain waits longer the next time. For
// while a site's link is down all have stalled, and what they took from each other would
// cross it twice when it is back.
func (p *Plan) takeOver(now time.Time, m *member) (chunk int, ok bool) {
	if m.stalled(now) || len(m.grants) > 0 && m.took.After(m.brought) {
		return 0, false
	}
	var from *member
	var worst time.Duration
	for _, o := range p.members {
		if o == m || p.last(o, m) < 0 {
			continue
		}
		wait := o.eta(now)
		switch {
		case !o.stalled(now):
			if wait < slowSlack*m.next()+slowLeast {
				continue
			}
		case now.Sub(o.moved) < Stall<<min(p.moves[p.last(o, m)], maxMoves):
			continue
		}
		if from == nil || wait > worst {
			from, worst = o, wait
		}
	}
	if from == nil {
		return 0, false
	}
	chunk = p.last(from, m)
	p.ungrant(chunk)
	p.order(Order{To: from.id, Revoke: []int{chunk}})
	p.grant(now, m, chunk)
	p.moves[chunk]++
	m.took = now
	return chunk, true
}

// last returns what o was granted last that m can carry; -1 if there is nothing. What
// was granted first is likeliest to be on its way.
func (p *Plan) last(o, m *member) int {
	for i := len(o.grants) - 1; i >= 0; i-- {
		if _, lacks := m.lacks[o.grants[i]]; !lacks && !m.has.ContainsInt(o.grants[i]) {
			return o.grants[i]
		}
	}
	return -1
}

// Progress notes what a carrier has brought so far, and what is to come of what it
// carries.
func (p *Plan) Progress(now time.Time, id peer.ID, bytes, left int64) {
	m := p.byID[id]
	if m == nil {
		return
	}
	if m.bytes < 0 {
		m.bytes = bytes // of which most may be old: who carried for another planner
	}
	if bytes > m.bytes {
		m.rate.add(m.moved, now, bytes-m.bytes)
		m.bytes, m.moved, m.brought, m.met = bytes, now, now, true
	}
	m.left = left
	p.staff(now)
}

// Release takes back chunks that a carrier can't bring: nobody gives them to it.
func (p *Plan) Release(now time.Time, id peer.ID, chunks []int) {
	m := p.byID[id]
	if m == nil {
		return
	}
	var free []int
	for _, c := range chunks {
		if p.carried[c] == m {
			p.ungrant(c)
			m.lacks[c] = struct{}{}
			free = append(free, c)
		}
	}
	p.free(id, free)
	p.staff(now)
}

// Done notes that a member has all and fetches nothing any more. It is known as a
// holder until it leaves.
func (p *Plan) Done(now time.Time, id peer.ID) {
	m := p.byID[id]
	if m == nil {
		return
	}
	all := roaring.New()
	all.AddRange(0, uint64(len(p.holders)))
	p.hold(m, all)
	p.retire(m)
	p.staff(now)
}

// Leave forgets a member: it can't be reached, or has given up.
func (p *Plan) Leave(now time.Time, id peer.ID) {
	p.remove(id)
	p.staff(now)
}

func (p *Plan) remove(id peer.ID) {
	m := p.byID[id]
	if m == nil {
		return
	}
	p.retire(m)
	var free []int
	if m.believed() {
		free = p.discount(m)
	}
	delete(p.byID, id)
	p.members = slices.DeleteFunc(p.members, func(o *member) bool { return o == m })
	p.free(id, free)
}

// retire ends a member's part in the work.
func (p *Plan) retire(m *member) {
	free := slices.Clone(m.grants)
	for _, c := range free {
		p.ungrant(c)
	}
	m.active, m.carrier = false, false
	p.free(m.id, free)
}

// Tick looks at what waits for its time.
func (p *Plan) Tick(now time.Time) { p.staff(now) }

// Active returns how many members fetch.
func (p *Plan) Active() (n int) {
	for _, m := range p.members {
		if m.active {
			n++
		}
	}
	return n
}

// Ready returns what to tell whom. The next call returns what came after.
func (p *Plan) Ready() []Order {
	out := p.orders
	p.orders = nil
	return out
}

func (p *Plan) order(o Order) { p.orders = append(p.orders, o) }

// open reports whether somebody has to carry a chunk.
func (p *Plan) open(c int) bool {
	return c >= 0 && c < len(p.holders) && p.holders[c] == 0 && p.carried[c] == nil
}

func (p *Plan) grant(now time.Time, m *member, c int) {
	if len(m.grants) == 0 {
		m.moved = now // it carried nothing: silence begins here
	}
	p.carried[c] = m
	m.grants = append(m.grants, c)
	if p.holders[c] == 0 {
		p.vacant--
	}
}

func (p *Plan) ungrant(c int) {
	m := p.carried[c]
	delete(p.carried, c)
	i := slices.Index(m.grants, c)
	m.grants = slices.Delete(m.grants, i, i+1)
	if p.holders[c] == 0 {
		p.vacant++
	}
}

// free tells the carriers, but one, of chunks that can be proposed again.
func (p *Plan) free(but peer.ID, chunks []int) {
	chunks = slices.DeleteFunc(chunks, func(c int) bool { return !p.open(c) })
	if len(chunks) == 0 {
		return
	}
	for _, m := range p.members {
		if m.carrier && m.id != but {
			p.order(Order{To: m.id, Free: chunks})
		}
	}
}

// staff sees that enough members carry, and tells everyone who does.
func (p *Plan) staff(now time.Time) {
	work := p.vacant > 0 || len(p.holders) == 0
	good, all := 0, 0
	for _, m := range p.members {
		if !m.carrier {
			continue
		}
		if work && len(m.grants) == 0 && !m.reader && now.Sub(m.proposed) > useless && p.others(m, now) {
			m.carrier = false
			m.resting = now.Add(restFor)
			continue
		}
		all++
		if !m.stalled(now) {
			good++
		}
	}
	for _, m := range p.candidates(now) {
		if all < maxCarriers && (m.reader || good < Carriers) {
			m.carrier = true
			m.proposed = now
			good++
			all++
		}
	}
	p.tell()
}

// others reports whether somebody could carry in m's place.
func (p *Plan) others(m *member, now time.Time) bool {
	return slices.ContainsFunc(p.members, func(o *member) bool {
		return o != m && o.active && o.willing && !o.carrier && !now.Before(o.resting)
	})
}

// candidates returns who could be made a carrier, the best first: readers, who wait
// for it, then those that were not in vain before, in the order in which they joined.
func (p *Plan) candidates(now time.Time) []*member {
	var cs []*member
	for _, m := range p.members {
		if m.active && m.willing && !m.carrier {
			cs = append(cs, m)
		}
	}
	rank := func(m *member) int {
		switch {
		case m.reader:
			return 0
		case !now.Before(m.resting):
			return 1
		}
		return 2
	}
	slices.SortStableFunc(cs, func(a, b *member) int { return cmp.Compare(rank(a), rank(b)) })
	return cs
}

// tell tells each member who carries, if that has changed for it.
func (p *Plan) tell() {
	var carriers []peer.ID
	met := make(map[bool]int)
	for _, m := range p.members {
		if m.carrier {
			carriers = append(carriers, m.id)
		}
		met[m.met]++
	}
	for _, m := range p.members {
		c := Crew{Carrier: m.carrier, Found: met[true] > 1 || met[true] == 1 && !m.met, Carriers: carriers}
		if m.active && (c.Carrier != m.told.Carrier || c.Found != m.told.Found || !slices.Equal(c.Carriers, m.told.Carriers)) {
			m.told = c
			p.order(Order{To: m.id, Crew: &c})
		}
	}
}

// meet tells a member that joins of some others; whoever joins is told of others of
// them.
func (p *Plan) meet(m *member) {
	h := fnv.New32a()
	h.Write([]byte(m.id))
	var ids []peer.ID
	for i, start := 0, int(h.Sum32()); i < len(p.members) && len(ids) < maxMeet; i++ {
		if o := p.members[(start+i)%len(p.members)]; o != m {
			ids = append(ids, o.id)
		}
	}
	if len(ids) > 0 {
		p.order(Order{To: m.id, Meet: ids})
	}
}

func (m *member) believed() bool { return m.doubts < maxDoubts }

// Holds reports whether a member is done, and has all.
func (p *Plan) Holds(id peer.ID) bool {
	m := p.byID[id]
	return m != nil && !m.active
}

func (p *Plan) state() State {
	s := State{Chunks: len(p.holders), Members: p.Active(), Carriers: make(map[peer.ID]int)}
	for _, n := range p.holders {
		if n > 0 {
			s.Here++
		}
	}
	for _, m := range p.members {
		if m.carrier {
			s.Carriers[m.id] = len(m.grants)
		}
	}
	return s
}
