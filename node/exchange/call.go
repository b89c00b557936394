package exchange

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/p2pnode/p2pnode/content"
)

// Releases returns the signed releases that the peer knows of a name, newest first
// as it says, unchecked. If it knows none the error is content.ErrNotFound.
func (s *Session) Releases(ctx context.Context, name string) ([][]byte, error) {
	if len(name) == 0 || len(name) > maxName {
		return nil, fmt.Errorf("ask for the releases of a name of %d bytes: a name has 1 to %d", len(name), maxName)
	}
	c := &releasesCall{call: newCall(s)}
	err := s.call(ctx, c, &c.call, func(b []byte, id uint32) []byte {
		b = header{length: uint32(len(name)), kind: kindReleases, id: id}.append(b)
		return append(b, name...)
	})
	if err != nil {
		return nil, fmt.Errorf("ask %s for the releases of %s: %w", s.peer, name, err)
	}
	return c.releases, nil
}

// Manifest returns the manifest's bytes, which are those that id names, and the
// signed releases of the content that the peer knows, unchecked. If it has nothing
// of the content the error is content.ErrNotFound.
func (s *Session) Manifest(ctx context.Context, id content.ID) (content.Encoded, [][]byte, error) {
	c := &manifestCall{releasesCall: releasesCall{call: newCall(s)}, encoded: content.Encoded{ID: id}}
	err := s.call(ctx, c, &c.call, func(b []byte, callID uint32) []byte {
		b = header{length: content.HashSize, kind: kindManifest, id: callID}.append(b)
		return append(b, id[:]...)
	})
	if err != nil {
		return content.Encoded{}, nil, fmt.Errorf("ask %s for the manifest of %s: %w", s.peer, id, err)
	}
	return c.encoded, c.releases, nil
}

// Ping returns how long the peer takes to answer. It overtakes blocks at the peer,
// but not those already on their way.
func (s *Session) Ping(ctx context.Context) (time.Duration, error) {
	c := &pingCall{call: newCall(s)}
	start := time.Now()
	err := s.call(ctx, c, &c.call, func(b []byte, id uint32) []byte {
		return header{kind: kindPing, id: id}.append(b)
	})
	if err != nil {
		return 0, fmt.Errorf("ping %s: %w", s.peer, err)
	}
	return c.at.Sub(start), nil
}

// A call is what all that are waited for have in common.
type call struct {
	session *Session
	id      uint32
	ended   chan struct{} // closed by end, when err is set
	at      time.Time     // of the end
	err     error
}

func newCall(s *Session) call {
	return call{session: s, ended: make(chan struct{})}
}

// call sends p and waits for its end. If ctx ends first, p stays pending until its
// end comes, so that no more than maxCalls are.
func (s *Session) call(ctx context.Context, p pending, c *call, frame func(b []byte, id uint32) []byte) error {
	select {
	case s.calls <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.done:
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.gone()
	}
	err := s.send(p, func(b []byte, id uint32) []byte {
		c.id = id
		return frame(b, id)
	})
	if err != nil {
		<-s.calls
		return err
	}
	select {
	case <-c.ended:
		return c.err
	case <-ctx.Done():
		s.cancel(c.id, p)
		return ctx.Err()
	}
}

func (c *call) end(err error) {
	c.err = err
	c.at = time.Now()
	<-c.session.calls
	close(c.ended)
}

func (c *call) unexpected(h header) error {
	return fmt.Errorf("%s for call %d, which doesn't come there", h.kind, h.id)
}

type pingCall struct{ call }

func (c *pingCall) expect(h header) error {
	if h.kind == kindPong || h.kind == kindEnd && h.index != codeDone {
		return nil
	}
	return c.unexpected(h)
}

func (c *pingCall) take(_ header, b *buffer) (last bool, err error) {
	b.free()
	return true, nil
}

type releasesCall struct {
	call
	releases [][]byte
}

func (c *releasesCall) expect(h header) error {
	switch h.kind {
	case kindEnd:
		return nil
	case kindRelease:
		if len(c.releases) < maxEnvelopes {
			return nil
		}
	}
	return c.unexpected(h)
}

func (c *releasesCall) take(h header, b *buffer) (last bool, err error) {
	c.releases = append(c.releases, bytes.Clone(b.b[:h.length]))
	b.free()
	return false, nil
}

// A manifestCall gets the root, then the segments that the root names, then
// releases. Each piece is checked as soon as it is there, so a peer can make us
// keep 1 MiB that is not the manifest, not more.
type manifestCall struct {
	releasesCall
	encoded content.Encoded
	need    []content.Hash // of segments
	part    []byte         // of the root or of a segment
	size    int            // of the root and the segments so far
}

func (c *manifestCall) expect(h header) error {
	whole := c.encoded.Root != nil && len(c.encoded.Segments) == len(c.need)
	switch h.kind {
	case kindRoot:
		if c.encoded.Root == nil {
			return nil
		}
	case kindSegment:
		if c.encoded.Root != nil && !whole {
			return nil
		}
	case kindRelease:
		if whole {
			return c.releasesCall.expect(h)
		}
	case kindEnd:
		if whole || h.index != codeDone {
			return nil
		}
	}
	return c.unexpected(h)
}

func (c *manifestCall) take(h header, b *buffer) (last bool, err error) {
	if h.kind == kindRelease {
		return c.releasesCall.take(h, b)
	}
	c.part = append(c.part, b.b[:h.length]...)
	b.free()
	c.size += int(h.length)
	if len(c.part) > content.MaxNode || c.size > content.MaxManifest {
		return false, fmt.Errorf("%s of %d bytes, %d in all, is over the limit", h.kind, len(c.part), c.size)
	}
	if h.flags&flagMore != 0 {
		return false, nil
	}
	piece := bytes.Clone(c.part) // to its size
	c.part = c.part[:0]
	if h.kind == kindSegment {
		want := c.need[len(c.encoded.Segments)]
		if content.Sum(piece) != want {
			return false, fmt.Errorf("segment %d of %s: %w", len(c.encoded.Segments), c.encoded.ID, content.ErrCorrupt)
		}
		c.encoded.Segments = append(c.encoded.Segments, piece)
		return false, nil
	}
	if content.ID(content.Sum(piece)) != c.encoded.ID {
		return false, fmt.Errorf("root of %s: %w", c.encoded.ID, content.ErrCorrupt)
	}
	if c.need, err = content.SegmentsOf(piece); err != nil {
		return false, fmt.Errorf("root of %s: %w", c.encoded.ID, err)
	}
	c.encoded.Root = piece
	return false, nil
}
