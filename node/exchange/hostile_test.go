package exchange

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"

	"github.com/p2pnode/p2pnode/content"
)

// frame returns the bytes of a frame, right or wrong.
func frame(k kind, flags, index uint8, id uint32, payload ...byte) []byte {
	h := header{length: uint32(len(payload)), kind: k, flags: flags, index: index, id: id}
	return append(h.append(nil), payload...)
}

func mapOf(t testing.TB, chunks ...uint32) []byte {
	b, err := encodeHave(roaring.BitmapOf(chunks...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestServerThatBreaksTheProtocol has a server answer with what it may not, and
// looks whom the session blames.
func TestServerThatBreaksTheProtocol(t *testing.T) {
	h := newHolding(t, mib, 64*kib)
	full := make([]byte, maxPayload)
	root := h.encoded.Root
	join := func(frames ...[]byte) []byte { return bytes.Join(frames, nil) }
	blocks := func(want uint64, list bool) func(*testing.T, *Session) error {
		return func(t *testing.T, s *Session) error { return fetch(t, s, nil, 0, want, list).wait(t) }
	}
	manifest := func(t *testing.T, s *Session) error {
		_, _, err := s.Manifest(t.Context(), h.encoded.ID)
		return err
	}
	releases := func(t *testing.T, s *Session) error {
		_, err := s.Releases(t.Context(), "name")
		return err
	}
	ping := func(t *testing.T, s *Session) error {
		_, err := s.Ping(t.Context())
		return err
	}
	lists := func(t *testing.T, s *Session) error {
		_, err := s.Lists(t.Context(), h.encoded.ID, 2, 3)
		return err
	}
	entry := func(chunk byte, n byte, node string) []byte {
		return append([]byte{0, 0, 0, chunk, 0, n}, node...)
	}
	follow := func(t *testing.T, s *Session) error {
		if _, err := s.Follow(h.encoded.ID, 100, func(*roaring.Bitmap) {}); err != nil {
			t.Error(err)
		}
		select {
		case <-s.Done():
		case <-time.After(patience):
		}
		return s.Err()
	}
	for name, c := range map[string]struct {
		ask    func(*testing.T, *Session) error
		answer []byte // what was asked has id 1
		is     error  // besides ErrProtocol
	}{
		"garbage":                {blocks(1, false), []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), errFrame},
		"no id":                  {blocks(1, false), frame(kindEnd, 0, codeBusy, 0), errFrame},
		"unknown kind":           {blocks(1, false), frame(0x77, 0, 0, 1), errFrame},
		"kind of the asker":      {blocks(1, false), frame(kindPing, 0, 0, 1), errFrame},
		"unknown flag":           {blocks(1, false), frame(kindBlock, 2, 0, 1, 'x'), errFrame},
		"unknown code":           {blocks(1, false), frame(kindEnd, 0, codeCount, 1), errFrame},
		"index beyond a chunk":   {blocks(1, false), frame(kindBlock, 0, 64, 1, 'x'), errFrame},
		"empty block":            {blocks(1, false), frame(kindBlock, 0, 0, 1), errFrame},
		"too large a block":      {blocks(1, false), header{length: content.MaxBlock + 1, kind: kindBlock, id: 1}.append(nil), errFrame},
		"4 GiB":                  {blocks(1, false), header{length: 1<<32 - 1, kind: kindBlock, id: 1}.append(nil), errFrame},
		"id not asked":           {blocks(1, false), frame(kindBlock, 0, 0, 2, 'x'), nil},
		"block not wanted":       {blocks(1, false), frame(kindBlock, 0, 1, 1, 'x'), nil},
		"block twice":            {blocks(3, false), join(frame(kindBlock, 0, 0, 1, 'x'), frame(kindBlock, 0, 0, 1, 'x')), nil},
		"block twice of all":     {blocks(All, false), join(frame(kindBlock, 0, 5, 1, 'x'), frame(kindBlock, 0, 5, 1, 'x')), nil},
		"blocks descend":         {blocks(3, false), join(frame(kindBlock, 0, 1, 1, 'x'), frame(kindBlock, 0, 0, 1, 'x')), nil},
		"last, one missing":      {blocks(3, false), frame(kindBlock, flagLast, 0, 1, 'x'), nil},
		"last, one skipped":      {blocks(3, false), frame(kindBlock, flagLast, 1, 1, 'x'), nil},
		"last of all, skipped":   {blocks(All, false), frame(kindBlock, flagLast, 1, 1, 'x'), nil},
		"done, one missing":      {blocks(3, false), join(frame(kindBlock, 0, 1, 1, 'x'), frame(kindEnd, 0, codeDone, 1)), nil},
		"done, all missing":      {blocks(All, false), frame(kindEnd, 0, codeDone, 1), nil},
		"done, list missing":     {blocks(0, true), frame(kindEnd, 0, codeDone, 1), nil},
		"block before list":      {blocks(1, true), frame(kindBlock, flagLast, 0, 1, 'x'), nil},
		"list not wanted":        {blocks(1, false), frame(kindList, 0, 0, 1, 'x'), nil},
		"list twice":             {blocks(1, true), join(frame(kindList, 0, 0, 1, 'x'), frame(kindList, 0, 0, 1, 'x')), nil},
		"too long a list":        {blocks(1, true), frame(kindList, 0, 0, 1, make([]byte, maxList+1)...), errFrame},
		"map for a request":      {blocks(1, false), frame(kindHave, flagWhole, 0, 1, mapOf(t, 0)...), nil},
		"pong for a request":     {blocks(1, false), frame(kindPong, 0, 0, 1), nil},
		"other root":             {manifest, frame(kindRoot, 0, 0, 1, []byte("other")...), content.ErrCorrupt},
		"endless root":           {manifest, bytes.Repeat(frame(kindRoot, flagMore, 0, 1, full...), 5), nil},
		"root in crumbs":         {manifest, frame(kindRoot, flagMore, 0, 1, root[:1]...), errFrame},
		"segment before root":    {manifest, frame(kindSegment, 0, 0, 1, 'x'), nil},
		"segment not needed":     {manifest, join(frame(kindRoot, 0, 0, 1, root...), frame(kindSegment, 0, 0, 1, 'x')), nil},
		"root twice":             {manifest, join(frame(kindRoot, 0, 0, 1, root...), frame(kindRoot, 0, 0, 1, root...)), nil},
		"release before root":    {manifest, frame(kindRelease, 0, 0, 1, 'x'), nil},
		"done without root":      {manifest, frame(kindEnd, 0, codeDone, 1), nil},
		"list before the first":  {lists, frame(kindEntries, 0, 0, 1, entry(1, 1, "x")...), nil},
		"list after the last":    {lists, frame(kindEntries, 0, 0, 1, entry(5, 1, "x")...), nil},
		"list of a chunk twice":  {lists, frame(kindEntries, 0, 0, 1, append(entry(2, 1, "x"), entry(2, 1, "x")...)...), nil},
		"list without bytes":     {lists, frame(kindEntries, 0, 0, 1, append(entry(2, 0, ""), 'x')...), nil},
		"list cut short":         {lists, frame(kindEntries, 0, 0, 1, entry(2, 2, "x")...), nil},
		"half an entry":          {lists, frame(kindEntries, 0, 0, 1, append(entry(2, 1, "x"), 0, 0)...), nil},
		"lists for a ping":       {ping, frame(kindEntries, 0, 0, 1, entry(2, 1, "x")...), nil},
		"too many releases":      {releases, bytes.Repeat(frame(kindRelease, 0, 0, 1, 'x'), maxEnvelopes+1), nil},
		"too large a release":    {releases, frame(kindRelease, 0, 0, 1, full...), errFrame},
		"root for a name":        {releases, frame(kindRoot, 0, 0, 1, 'x'), nil},
		"done for a ping":        {ping, frame(kindEnd, 0, codeDone, 1), nil},
		"pong twice":             {ping, join(frame(kindPong, 0, 0, 1), frame(kindPong, 0, 0, 1)), nil},
		"addition before map":    {follow, frame(kindHave, 0, 0, 1, mapOf(t, 0)...), nil},
		"map beyond the content": {follow, frame(kindHave, flagWhole, 0, 1, mapOf(t, 0, 100)...), errFrame},
		"malformed map":          {follow, frame(kindHave, flagWhole, 0, 1, []byte("malformed")...), errFrame},
		"done for a follow":      {follow, frame(kindEnd, 0, codeDone, 1), nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := against(t, Config{}, func(stream network.Stream) {
				readOne(stream, false)
				_, _ = stream.Write(c.answer)
				_, _ = io.Copy(io.Discard, stream)
			})
			err := c.ask(t, s)
			select {
			case <-s.Done():
			case <-time.After(patience):
				t.Fatalf("the session goes on, asker is told %v", err)
			}
			if name != "pong twice" && !errors.Is(err, ErrProtocol) {
				t.Errorf("asker is told %v", err)
			}
			if err := s.Err(); !errors.Is(err, ErrProtocol) || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), s.Peer().String()) {
				t.Errorf("session ended with %v", err)
			}
		})
	}
}

// against returns a session with a server that does what serve does.
func against(t *testing.T, config Config, serve func(network.Stream)) *Session {
	t.Helper()
	a, b := newHost(t), newHost(t)
	served := make(chan struct{})
	a.SetStreamHandler(prefix+"/exchange/1", func(stream network.Stream) {
		defer close(served)
		defer stream.Reset()
		serve(stream)
	})
	connect(t, b, a)
	s := open(t, newExchange(t, b, newMemory(), config), a.ID())
	t.Cleanup(func() {
		_ = s.Close()
		a.Close()
		<-served
	})
	return s
}

// readOne reads one frame from one end or the other; if there is none, or a wrong
// one, its kind is 0.
func readOne(r io.Reader, down bool) header {
	var b [headerSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return header{}
	}
	h, err := parseHeader(&b, down)
	if err != nil {
		return header{}
	}
	_, _ = io.CopyN(io.Discard, r, int64(h.length))
	return h
}

// client opens a stream to x, to say on it what an honest Session would not.
func client(t *testing.T, from, to host.Host) network.Stream {
	t.Helper()
	connect(t, from, to)
	stream, err := from.NewStream(t.Context(), to.ID(), prefix+"/exchange/1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stream.Reset() })
	return stream
}

func asking(id uint32, c content.ID, chunk uint32, want uint64) []byte {
	return frame(kindRequest, 0, 0, id, ask{c, chunk, want}.append(nil)...)
}

func TestClientThatBreaksTheProtocol(t *testing.T) {
	h := newHolding(t, mib, 64*kib)
	proceed := make(chan struct{})
	defer close(proceed)
	h.before = func(int, int) { <-proceed } // a reset doesn't wait for a disk
	x := newExchange(t, newHost(t), newMemory(h), Config{})
	twice := asking(7, h.encoded.ID, 0, All)
	lists := func(first, count uint32) []byte {
		b := binary.BigEndian.AppendUint32(slices.Clone(h.encoded.ID[:]), first)
		return frame(kindLists, 0, 0, 1, binary.BigEndian.AppendUint32(b, count)...)
	}
	for name, c := range map[string][]byte{
		"garbage":             []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		"kind of the server":  frame(kindBlock, 0, 0, 1, 'x'),
		"short request":       frame(kindRequest, 0, 0, 1, make([]byte, requestSize-1)...),
		"long request":        frame(kindRequest, 0, 0, 1, make([]byte, requestSize+1)...),
		"chunk beyond any":    asking(1, h.encoded.ID, MaxChunks, 1),
		"empty name":          frame(kindReleases, 0, 0, 1),
		"long name":           frame(kindReleases, 0, 0, 1, make([]byte, maxName+1)...),
		"4 GiB":               header{length: 1<<32 - 1, kind: kindReleases, id: 1}.append(nil),
		"no lists":            lists(0, 0),
		"too many lists":      lists(0, MaxLists+1),
		"lists beyond any":    lists(MaxChunks-1, 2),
		"id twice":            append(twice, twice...),
		"ping with a payload": frame(kindPing, 0, 0, 1, 'x'),
	} {
		t.Run(name, func(t *testing.T) {
			stream := client(t, newHost(t), x.host)
			if _, err := stream.Write(c); err != nil {
				t.Fatal(err)
			}
			_, err := io.Copy(io.Discard, stream)
			var reset *network.StreamError
			if !errors.As(err, &reset) || reset.ErrorCode != resetBreach {
				t.Errorf("stream ended with %v", err)
			}
		})
	}
}

func TestClientThatFloods(t *testing.T) {
	h := newHolding(t, mib, 64*kib)
	reading, proceed := make(chan struct{}, 1), make(chan struct{})
	h.before = func(int, int) {
		select {
		case reading <- struct{}{}:
		default:
		}
		<-proceed
	}
	x := newExchange(t, newHost(t), newMemory(h), Config{})
	stream := client(t, newHost(t), x.host)
	const many = 400
	var flood []byte
	for id := uint32(1); id <= many; id++ {
		flood = append(flood, asking(id, h.encoded.ID, 0, 1)...)
		flood = append(flood, frame(kindFollow, 0, 0, many+id, make([]byte, content.HashSize)...)...)
		flood = append(flood, frame(kindManifest, 0, 0, 2*many+id, make([]byte, content.HashSize)...)...)
	}
	flood = append(flood, frame(kindPing, 0, 0, 9999)...)
	go func() {
		_, _ = stream.Write(flood[:len(flood)/many])
		<-reading // from now on nothing is answered before all is read
		_, _ = stream.Write(flood[len(flood)/many:])
	}()
	eventually(t, "all requests are read", func() bool { return x.Stats().Served.Requests == many })
	close(proceed)

	count := map[kind]int{}
	busy := map[uint32]int{} // by what was asked
	for count[kindPong] == 0 || count[kindBlock] < maxRequests {
		h := readOne(stream, true)
		if h.kind == 0 {
			t.Fatal("the stream has ended")
		}
		count[h.kind]++
		if h.kind == kindEnd && h.index == codeBusy {
			busy[(h.id-1)/many]++
		}
	}
	if count[kindBlock] != maxRequests || busy[0] != many-maxRequests {
		t.Errorf("%d requests were answered, %d refused", count[kindBlock], busy[0])
	}
	if busy[1] != many-maxFollows {
		t.Errorf("%d follows were refused", busy[1])
	}
	if busy[2] < many-maxCalls-1 {
		t.Errorf("%d manifests were refused", busy[2])
	}
}

func TestClientThatNeverReads(t *testing.T) {
	h := newHolding(t, 64*mib, 64*kib)
	x := newExchange(t, newHost(t), newMemory(h), Config{Stall: 300 * time.Millisecond})
	stream := client(t, newHost(t), x.host)
	var all []byte
	for id := uint32(1); id <= 64; id++ {
		all = append(all, asking(id, h.encoded.ID, id-1, All)...)
	}
	if _, err := stream.Write(all); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is served", func() bool { return x.Stats().Served.Requests == 64 })
	eventually(t, "it is left", func() bool { return len(x.Stats().Serving) == 0 })
	if n := x.Stats().Served.Bytes; n > 32*mib {
		t.Errorf("%d bytes were sent to who doesn't read", n)
	}
	// Neither does who only pings make the server gather answers without end.
	stream = client(t, newHost(t), x.host)
	pings := bytes.Repeat(frame(kindPing, 0, 0, 1), 64*kib)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for {
		if _, err := stream.Write(pings); err != nil {
			break
		}
	}
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapInuse) - int64(before.HeapInuse); grown > 128*mib { // the windows on both sides take 16 MiB each
		t.Errorf("%d bytes more are in use", grown)
	}
}

func TestStreamsServedAreBounded(t *testing.T) {
	h := newHolding(t, mib, 64*kib)
	x := newExchange(t, newHost(t), newMemory(h), Config{Sessions: 3})
	peers := []host.Host{newHost(t), newHost(t), newHost(t), newHost(t)}
	ended := func(stream network.Stream) network.StreamErrorCode {
		_, err := io.Copy(io.Discard, stream)
		var reset *network.StreamError
		if !errors.As(err, &reset) {
			t.Fatalf("stream ended with %v", err)
		}
		return reset.ErrorCode
	}
	first := client(t, peers[0], x.host)
	_, _ = first.Write(frame(kindPing, 0, 0, 1))
	eventually(t, "the first is served", func() bool { return len(x.Stats().Serving) == 1 })
	second := client(t, peers[0], x.host)
	_, _ = second.Write(frame(kindPing, 0, 0, 1))
	if code := ended(first); code != resetGone {
		t.Errorf("the first stream of a peer ended with %#x", code)
	}
	eventually(t, "the first is no longer counted", func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		return len(x.servers) == 1
	})
	for _, p := range peers[1:3] {
		_, _ = client(t, p, x.host).Write(frame(kindPing, 0, 0, 1))
	}
	eventually(t, "three are served", func() bool { return len(x.Stats().Serving) == 3 })
	fourth := client(t, peers[3], x.host)
	_, _ = fourth.Write(frame(kindPing, 0, 0, 1))
	if code := ended(fourth); code != resetLimit {
		t.Errorf("one too many ended with %#x", code)
	}
	if h := readOne(second, true); h.kind != kindPong {
		t.Errorf("the second stream got a %s", h.kind)
	}
}

// TestMutatedSessions sends what an honest asker would, with bytes changed, cut out
// and doubled, while an honest peer is served.
func TestMutatedSessions(t *testing.T) {
	h := newHolding(t, 4*mib, 64*kib)
	x := newExchange(t, newHost(t), newMemory(h), Config{})
	honest := newHost(t)
	connect(t, honest, x.host)
	s := open(t, newExchange(t, honest, newMemory(), Config{}), x.host.ID())

	mallory := newHost(t)
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for round := range 50 {
		valid := bytes.Join([][]byte{
			frame(kindManifest, 0, 0, 1, h.encoded.ID[:]...),
			frame(kindFollow, 0, 0, 2, h.encoded.ID[:]...),
			asking(3, h.encoded.ID, 0, All), asking(4, h.encoded.ID, 1, 0xf0),
			frame(kindCancel, 0, 0, 3), frame(kindPing, 0, 0, 5),
			frame(kindReleases, 0, 0, 6, []byte("name")...),
		}, nil)
		for range 1 + r.IntN(4) {
			at := r.IntN(len(valid))
			switch r.IntN(3) {
			case 0:
				valid[at] ^= byte(1 << r.IntN(8))
			case 1:
				valid = append(valid[:at], valid[min(at+r.IntN(40), len(valid)):]...)
			case 2:
				valid = append(valid[:at:at], valid[max(0, at-r.IntN(40)):]...)
			}
			if len(valid) == 0 {
				break
			}
		}
		stream := client(t, mallory, x.host)
		_, _ = stream.Write(valid)
		if round%2 == 0 {
			_ = stream.CloseWrite()
			_, _ = io.Copy(io.Discard, io.LimitReader(stream, 100*kib))
		}
		_ = stream.Reset()
	}
	for c := range h.nodes {
		if err := fetch(t, s, h, c, All, true).wait(t); err != nil {
			t.Errorf("honest peer (seed %d): %v", seed, err)
		}
	}
}
