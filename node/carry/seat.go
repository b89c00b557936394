package carry

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/libp2p/go-libp2p/core/peer"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
)

const (
	// Patience is how long a member looks for a planner before it brings what it
	// lacks itself: time for one that doesn't answer, and for the next.
	Patience = 3 * time.Second
	// openWithin bounds an attempt to reach a planner, and lookAgain is the pause
	// after one that failed.
	openWithin = time.Second
	lookAgain  = 200 * time.Millisecond
	// answerWithin is how long a planner that is alive may leave a proposal without an
	// answer, or whoever joins without a word on who carries; one that did isn't asked
	// for restFor. Many times what a busy one
	// needs: whoever has no planner brings all by itself.
	answerWithin = 10 * time.Second
)

// A Member takes what a planner says. Its methods don't block.
type Member interface {
	// Seated says that a planner was found: what was proposed and not answered never
	// will be, and what was taken may not be any more.
	Seated()
	// Alone says that there is none in reach.
	Alone()
	Crew(Crew)
	Answered(granted, taken []int)
	Freed(chunks []int)
	Revoked(chunks []int)
	Meet(members []peer.ID)
}

// A Site says who plans for a content.
type Site interface {
	// Planner returns who does; this node itself if it is in charge.
	Planner(id content.ID) (p peer.ID, ok bool)
	// Changed is closed when the answer may be another one.
	Changed() <-chan struct{}
	// Open connects with a planner.
	Open(ctx context.Context, p peer.ID) (Line, error)
	// Missed is told of a planner that didn't answer in time: another is to plan.
	Missed(p peer.ID)
}

// A SeatConfig says whose seat it is. All fields are required.
type SeatConfig struct {
	Content content.ID
	Site    Site
	Member  Member
	// Joining returns what to say of this node when it joins; Carrying is the seat's
	// to add. It calls no method of the seat.
	Joining func() Joining
	Log     *zap.Logger
}

// A Seat is one node's place in the plan of one content. Its methods may be called
// from any goroutine, and don't block.
type Seat struct {
	cfg SeatConfig

	mu       sync.Mutex
	talk     *talk // nil while there is no planner
	carrying map[int]struct{}
	done     bool      // all is here
	asked    time.Time // since when a proposal, or who joined, waits for an answer; zero if none does
	proposes bool      // it is a proposal
}

// NewSeat returns a seat. It works while Run does.
func NewSeat(cfg SeatConfig) *Seat {
	return &Seat{cfg: cfg, carrying: make(map[int]struct{})}
}

// Run keeps this node in the plan until ctx ends, or all is here and the planner knows.
func (s *Seat) Run(ctx context.Context) error {
	since, alone := time.Now(), false
	var mute peer.ID // it answered nothing
	var rests time.Time
	for ctx.Err() == nil {
		changed := s.cfg.Site.Changed()
		p, ok := s.cfg.Site.Planner(s.cfg.Content)
		if ok && (p != mute || !time.Now().Before(rests)) {
			met, err := s.sit(ctx, p)
			if met {
				alone = false
			}
			if met && !errors.Is(err, errMute) {
				since = time.Now()
			} else if met {
				mute, rests = p, time.Now().Add(restFor)
				s.cfg.Log.Warn("planner answers nothing", zap.Stringer("peer", p), zap.Stringer("content", s.cfg.Content))
			}
		}
		if s.isDone() {
			break // it would begin anew
		}
		if !alone && time.Since(since) >= Patience {
			alone = true
			s.cfg.Log.Info("no planner in reach: this node brings what it lacks itself", zap.Stringer("content", s.cfg.Content))
			s.cfg.Member.Alone()
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-time.After(lookAgain):
		}
	}
	return nil
}

// sit takes part in the plan at p, until the line ends or somebody else is in
// charge. It reports whether the planner was there; the error is errMute if that was all.
func (s *Seat) sit(ctx context.Context, p peer.ID) (met bool, err error) {
	opening, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	l, err := s.cfg.Site.Open(opening, p)
	if err != nil {
		s.cfg.Log.Debug("planner not reached", zap.Stringer("peer", p), zap.Error(err))
		if ctx.Err() == nil && late(err) {
			s.cfg.Site.Missed(p)
		}
		return false, err
	}
	t := newTalk(l, p)
	var end sync.WaitGroup
	defer end.Wait()
	defer t.close()
	s.join(t)
	defer s.stand(t)
	end.Go(t.write)
	end.Go(func() { s.watch(ctx, t) })
	for {
		m, err := t.read()
		if err != nil {
			if late(err) {
				s.cfg.Log.Info("planner is silent", zap.Stringer("peer", p), zap.Stringer("content", s.cfg.Content))
				s.cfg.Site.Missed(p)
			}
			return met, err
		}
		if !met {
			met = true
			s.cfg.Member.Seated()
		}
		if !s.take(m) {
			s.cfg.Log.Warn("planner breaks the protocol", zap.Stringer("peer", p), zap.Uint8("kind", m.kind))
			return met, ErrProtocol
		}
		if s.waits() > answerWithin {
			return met, errMute
		}
	}
}

var errMute = errors.New("it answers nothing")

// waits returns for how long this node has had no answer.
func (s *Seat) waits() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked.IsZero() {
		return 0
	}
	return time.Since(s.asked)
}

// late reports whether something took too long, and not that it was refused or ended.
func late(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

// join says who we are and what we have.
func (s *Seat) join(t *talk) {
	s.mu.Lock() // what comes to be here meanwhile is said after this
	defer s.mu.Unlock()
	j := s.cfg.Joining()
	j.Carrying = slices.Sorted(maps.Keys(s.carrying))
	t.say(&message{kind: kindJoin, content: s.cfg.Content, joining: j})
	s.talk, s.asked, s.proposes = t, time.Now(), false
}

func (s *Seat) stand(t *talk) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.talk == t {
		s.talk = nil
	}
}

// watch ends a talk when ctx ends, or somebody else is in charge.
func (s *Seat) watch(ctx context.Context, t *talk) {
	for {
		changed := s.cfg.Site.Changed()
		if p, ok := s.cfg.Site.Planner(s.cfg.Content); ok && p != t.peer {
			t.close()
		}
		select {
		case <-t.done:
			return
		case <-ctx.Done():
			// A line that is closed loses what is on its way. That all is here has to
			// arrive: the planner hangs up then.
			if s.isDone() {
				select {
				case <-t.done:
				case <-time.After(openWithin):
				}
			}
			t.close()
			return
		case <-changed:
		}
	}
}

// take takes what the planner says; it reports whether that makes sense.
func (s *Seat) take(m *message) bool {
	member := s.cfg.Member
	switch m.kind {
	case kindCrew:
		s.answered(false)
		member.Crew(m.crew)
	case kindAnswer:
		s.answered(true)
		s.carries(m.chunks, true)
		member.Answered(m.chunks, m.taken)
	case kindFree:
		member.Freed(m.chunks)
	case kindRevoke:
		s.carries(m.chunks, false)
		member.Revoked(m.chunks)
	case kindMeet:
		member.Meet(m.peers)
	case kindAlive:
	default:
		return false
	}
	return true
}

// answered notes that the planner answered a proposal, or told whoever joined who
// carries.
func (s *Seat) answered(proposal bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if proposal || !s.proposes {
		s.asked, s.proposes = time.Time{}, false
	}
}

func (s *Seat) carries(chunks []int, does bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range chunks {
		if does {
			s.carrying[c] = struct{}{}
		} else {
			delete(s.carrying, c)
		}
	}
}

func (s *Seat) say(m *message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.talk != nil {
		s.talk.say(m)
	}
}

// Chunks says how many chunks the content has.
func (s *Seat) Chunks(n int) { s.say(&message{kind: kindChunks, n: n}) }

// Has says that chunks are here. The map is the seat's from now on.
func (s *Seat) Has(has *roaring.Bitmap) {
	s.mu.Lock()
	for c := range s.carrying {
		if has.ContainsInt(c) {
			delete(s.carrying, c)
		}
	}
	s.mu.Unlock()
	s.say(&message{kind: kindHas, has: has})
}

// Propose asks to carry n of these chunks; Member.Answered is called, unless the
// planner is lost: then Member.Seated is. It insists on chunks that others have, and
// that don't come from them.
func (s *Seat) Propose(n int, chunks []int, insist bool) {
	s.mu.Lock()
	s.asked, s.proposes = time.Now(), true
	s.mu.Unlock()
	s.say(&message{kind: kindPropose, n: n, chunks: chunks, insist: insist})
}

// Progress says how many bytes came from other sites so far, and how many of what
// this node carries are to come.
func (s *Seat) Progress(bytes, left int64) {
	s.say(&message{kind: kindProgress, bytes: bytes, left: left})
}

// Release says that this node can't bring some of what it carries.
func (s *Seat) Release(chunks []int) {
	s.carries(chunks, false)
	s.say(&message{kind: kindRelease, chunks: chunks})
}

// Took says that this node, being alone, brings chunks that nobody granted it.
func (s *Seat) Took(chunks []int) { s.carries(chunks, true) }

func (s *Seat) isDone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done
}

// Done says that all is here. The seat may be left then.
func (s *Seat) Done() {
	s.mu.Lock()
	clear(s.carrying)
	s.done = true
	s.mu.Unlock()
	s.say(&message{kind: kindDone})
}
