package exchange

import (
	"bytes"
	"io"
	"runtime"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
)

// allocated returns the bytes that f allocates. Others may allocate meanwhile.
// (runtime/metrics would not stop the world, but counts whole spans when they are
// begun: hundreds of KiB of noise.)
func allocated(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

// decodes fails if f allocates more than 4 times the input and 64 KiB.
func decodes(t *testing.T, input int, f func()) {
	t.Helper()
	if n := allocated(f); n > 4*input+64*kib {
		t.Errorf("%d bytes of input made it allocate %d", input, n)
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add(frame(kindBlock, flagLast, 63, 1, 'x'), true)
	f.Add(frame(kindEnd, 0, codeBusy, 7), true)
	f.Add(asking(1, content.ID{1}, 2, All), false)
	f.Add(header{length: 1<<32 - 1, kind: kindBlock, id: 1}.append(nil), true)
	f.Fuzz(func(t *testing.T, b []byte, down bool) {
		if len(b) < headerSize {
			return
		}
		var h header
		var err error
		decodes(t, len(b), func() { h, err = parseHeader((*[headerSize]byte)(b), down) })
		if err != nil {
			return
		}
		if h.kind.down() != down || h.length > maxPayload || h.id == 0 || h.index >= content.MaxBlocks {
			t.Errorf("%+v was let through", h)
		}
		if again := h.append(nil); !bytes.Equal(again[:12], b[:12]) {
			t.Errorf("%x became %x", b[:headerSize], again)
		}
	})
}

func FuzzRequest(f *testing.F) {
	f.Add(ask{content.ID{1}, 2, All}.append(nil))
	f.Add(make([]byte, requestSize-1))
	f.Fuzz(func(t *testing.T, b []byte) {
		var a ask
		var err error
		decodes(t, len(b), func() { a, err = parseAsk(b) })
		if err != nil {
			return
		}
		if a.chunk >= MaxChunks {
			t.Errorf("chunk %d was let through", a.chunk)
		}
		if again := a.append(nil); !bytes.Equal(again, b) {
			t.Errorf("%x became %x", b, again)
		}
	})
}

func FuzzHaveMap(f *testing.F) {
	add := func(m *roaring.Bitmap, chunks int) {
		b, err := encodeHave(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint32(chunks))
	}
	add(roaring.New(), 0)
	add(roaring.BitmapOf(1, 3, 5, 70_000), 70_001)
	full := roaring.New()
	full.AddRange(0, 300_000)
	add(full, 300_000)
	odd := roaring.New()
	for i := uint32(0); i < 200_000; i += 2 + i%3 {
		odd.Add(i)
	}
	add(odd, 200_000)
	f.Fuzz(func(t *testing.T, b []byte, chunks uint32) {
		n := int(chunks % MaxChunks)
		if len(b) > maxPayload {
			return // no frame
		}
		var m *roaring.Bitmap
		var err error
		decodes(t, len(b), func() { m, err = decodeHave(b, n) })
		if err != nil {
			return
		}
		if err := m.Validate(); err != nil {
			t.Fatalf("roaring finds it invalid: %v", err)
		}
		if !m.IsEmpty() && int(m.Maximum()) >= n {
			t.Fatalf("chunk %d of %d", m.Maximum(), n)
		}
		again, err := encodeHave(m.Clone())
		if err != nil {
			t.Fatal(err)
		}
		m2, err := decodeHave(again, n)
		if err != nil || !m2.Equals(m) {
			t.Fatalf("does not come back: %v", err)
		}
	})
}

// FuzzSession has an honest session read any bytes for answers.
func FuzzSession(f *testing.F) {
	h := newHolding(f, 300*kib, 64*kib)
	node := h.nodes[0]
	f.Add(frame(kindBlock, flagLast, 3, 2, 'x'))
	f.Add(bytes.Join([][]byte{
		frame(kindList, 0, 0, 1, node...), frame(kindBlock, 0, 0, 1, 'x'), frame(kindBlock, flagLast, 1, 1, 'y'),
		frame(kindHave, flagWhole, 0, 3, mapOf(f, 0)...), frame(kindHave, 0, 0, 3, mapOf(f, 1, 2)...),
		frame(kindRoot, 0, 0, 4, h.encoded.Root...), frame(kindRelease, 0, 0, 4, 'r'), frame(kindEnd, 0, codeDone, 4),
		frame(kindRelease, 0, 0, 5, 'r'), frame(kindEnd, 0, codeNotFound, 5), frame(kindPong, 0, 0, 6),
	}, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := New(nil, prefix, newMemory(), Config{}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		stream := &fakeStream{Reader: bytes.NewReader(b)}
		s := newSession(x, stream)
		all, some := newBasket(nil, 0), newBasket(nil, 0)
		if _, err := s.Request(Request{Content: h.encoded.ID, Want: All, List: true, Sink: all}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Request(Request{Content: h.encoded.ID, Want: 8, Sink: some}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Follow(h.encoded.ID, 3, func(m *roaring.Bitmap) {
			if !m.IsEmpty() && m.Maximum() > 2 {
				t.Errorf("chunk %d of 3", m.Maximum())
			}
		}); err != nil {
			t.Fatal(err)
		}
		manifest := &manifestCall{releasesCall: releasesCall{call: newCall(s)}, encoded: content.Encoded{ID: h.encoded.ID}}
		for _, p := range []pending{manifest, &releasesCall{call: newCall(s)}, &pingCall{call: newCall(s)}, &listsCall{call: newCall(s), beyond: MaxLists}} {
			s.calls <- struct{}{}
			if err := s.send(p, func(b []byte, id uint32) []byte { return b }); err != nil {
				t.Fatal(err)
			}
		}
		// Buffers aren't counted: there is one at a time, of 256 KiB at most, since
		// the sinks release at once; how often the pool makes one isn't ours.
		n := allocated(s.run) - int(x.buffers.made.Load())
		if n > 4*len(b)+64*kib {
			t.Errorf("%d bytes of answers made it allocate %d", len(b), n)
		}
		x.group.Wait()
		<-all.ended
		<-some.ended
		if some.got&^8 != 0 {
			t.Errorf("blocks %#x were delivered", some.got)
		}
		if manifest.err == nil && !bytes.Equal(manifest.encoded.Root, h.encoded.Root) {
			t.Error("another manifest was accepted")
		}
		if s.Err() == nil || len(s.pending) != 0 {
			t.Errorf("the session is left with %d pending, %v", len(s.pending), s.Err())
		}
	})
}

// FuzzServer has a server read any bytes for questions.
func FuzzServer(f *testing.F) {
	h := newHolding(f, 300*kib, 64*kib)
	f.Add(asking(1, h.encoded.ID, 0, All))
	f.Add(bytes.Join([][]byte{
		frame(kindManifest, 0, 0, 1, h.encoded.ID[:]...), frame(kindFollow, 0, 0, 2, h.encoded.ID[:]...),
		frame(kindLists, 0, 0, 3, append(h.encoded.ID[:len(h.encoded.ID):len(h.encoded.ID)], 0, 0, 0, 0, 0, 0, 0, 9)...),
		asking(3, h.encoded.ID, 0, 5), asking(4, h.encoded.ID, 1, All), frame(kindCancel, 0, 0, 4),
		frame(kindPing, 0, 0, 5), frame(kindReleases, 0, 0, 6, []byte("name")...),
	}, nil))
	library := newMemory(h)
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := New(nil, prefix, library, Config{}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		stream := &fakeStream{Reader: bytes.NewReader(b)}
		s := newServer(x, stream, x.budget(""))
		// A question of 16 bytes may make a job, its goroutine and a map.
		n := allocated(s.serve) - int(x.buffers.made.Load())
		if n > 64*len(b)+64*kib {
			t.Errorf("%d bytes of questions made it allocate %d", len(b), n)
		}
		x.group.Wait()
		if s.err == nil {
			t.Error("the line has not ended")
		}
	})
}

// fakeStream reads what it has, then ends; what is written is dropped.
type fakeStream struct {
	network.Stream
	io.Reader
}

func (*fakeStream) Write(b []byte) (int, error)                       { return len(b), nil }
func (s *fakeStream) Read(b []byte) (int, error)                      { return s.Reader.Read(b) }
func (*fakeStream) ResetWithError(code network.StreamErrorCode) error { return nil }
func (*fakeStream) Conn() network.Conn                                { return fakeConn{} }

type fakeConn struct{ network.Conn }

func (fakeConn) RemotePeer() peer.ID { return "fake" }
