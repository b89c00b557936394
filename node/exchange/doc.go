// Package exchange moves releases, manifests and blocks between two peers.
//
// The one who fetches opens a stream to the one who has, and keeps it: everything
// it wants of that peer, for every content, is asked on this one stream, and comes
// back on it. Two peers that fetch from each other hold two streams. Asking never
// waits for an answer, so a round trip is paid once and not once per chunk.
//
//	fetching (Session)                         having (Library, Holding)
//	  releases "firefox"             ->
//	                                 <-  release, release, end
//	  manifest bafy…                 ->
//	                                 <-  root, root, segment, release, end
//	  follow bafy…                   ->
//	                                 <-  have (whole map)
//	  request 17, all, with list     ->
//	  request 18, blocks 0 2 3       ->
//	                                 <-  list 17, block 17/0, block 17/1, …, last block
//	                                 <-  have (what came since)
//	  cancel 18                      ->
//	                                 <-  block 18/0, end (cancelled)
//
// # Frames
//
// A frame is a header of 16 bytes and a payload, numbers are big-endian:
//
//	0   length   uint32  bytes of the payload
//	4   kind     uint8
//	5   flags    uint8   one bit at most, its meaning depends on the kind
//	6   index    uint8   of a block in its chunk; the code of an end; else 0
//	7   zero     uint8
//	8   id       uint32  of what was asked; the asker chose it; never 0
//	12  kept     uint32  sent as 0, not read: place for the sender's clock
//
// Upwards, from the one who fetches:
//
//	0x01 releases  name, 1 to 128 bytes              signed releases of a name
//	0x02 manifest  content id, 32 bytes              root, segments, signed releases
//	0x03 follow    content id, 32 bytes              the map of chunks, from now on
//	0x04 request   content id, chunk uint32,         blocks of a chunk; flag 1: its
//	               wanted blocks uint64: 44 bytes    block list before them
//	0x05 cancel    -                                 end what has this id
//	0x06 ping      -
//	0x07 lists     content id, chunk uint32,         the block lists of so many chunks
//	               number uint32: 40 bytes           from that one on, as far as known
//	0x08 narrow    blocks still wanted uint64        of the request with this id, none but these
//
// Downwards:
//
//	0x11 root      part of the manifest's root       flag 1: more of it follows
//	0x12 segment   part of a segment                 flag 1: more of it follows
//	0x13 release   one signed release, up to 64 KiB
//	0x14 have      roaring bitmap of chunks          flag 1: the whole map, else what to add
//	0x15 list      a chunk's encoded block list, up to 16 KiB
//	0x16 block     the bytes of a block              flag 1: the request's last frame
//	0x17 end       -                                 index: 0 all sent, 1 not found, 2 busy, 3 cancelled
//	0x18 pong      -
//	0x19 entries   chunk uint32, length uint16,      one after the other, by chunk
//	               block list
//
// A wanted mask of all ones stands for every block that the list has. A request
// ends with a block flagged last or with an end; everything else but a ping ends
// with an end. A narrowed request ends when what is still wanted was sent; what was on
// its way before the peer read of it comes all the same. A narrow for a request that has
// ended says nothing, like a cancel. Blocks come in ascending order of their index, requests
// for a content in the order asked, contents by turns, block by block; maps, answers and
// pongs overtake blocks.
//
// # Who may do what
//
// Each id stands for one thing asked and is the asker's until its end has come,
// after a cancel too: the frames under way are dropped on arrival. A frame for an
// id that nobody asked, a block that was not wanted or comes twice, a payload
// beyond what its kind allows, a map with chunks beyond the content: each is a
// breach (ErrProtocol names the peer), and the stream is reset. So what a peer can
// send is bounded by what it was asked, and a length that only was claimed takes no
// more than one pooled buffer, of one block.
//
// A follow is answered at once, with an empty map if the peer has nothing of the
// content; if it begins to hold the content later, the map comes then. A map is
// what the peer claims. Manifests are checked against their id before they are
// returned; block lists and blocks are checked by whoever asked (node/flow and
// content/store), which also decides who is asked for what, how long to wait, and
// whom to ask no more.
//
// # Limits
//
// Per stream 256 requests, 16 answers (releases, manifest, lists, ping) and 256 follows may
// be unfinished; more are answered busy, and a Session doesn't ask for more. A peer
// gets 4,096 block lists a second, after the first 16,384, on however many streams:
// what it asks beyond that is answered when its time has come. Frames
// without payload that wait to be written are bounded too: beyond 1024 nothing more
// is read from the peer until it reads. A fetching side keeps at most Config.Held
// blocks of a stream, and Config.HeldAll of all, that its sinks have not released, and
// stops reading then; the peer's window
// fills up and its writer waits. A read inside of a frame or a write that makes no
// headway for Config.Stall resets the stream; of a payload, 16 KiB are headway, so a
// byte every ten seconds is no way to hold a stream. That a peer answers nothing at
// all is for the asker to notice: it cancels, and asks another. A peer has one stream
// per direction, the newer replaces the older; how many streams are served in all is
// Config.Sessions.
//
// # Cost
//
// What it takes to cost no more than a bare stream (BenchmarkTransfer runs both): a
// block is read straight behind its header and both are one Write, as every Write is
// a frame of the muxer, a TLS record and a system call; the last block says that it
// is the last, which saves an end per chunk; on arrival the read-ahead takes the
// header, the rest goes from the muxer's segment to the buffer that the sink gets;
// buffers come in a few sizes and are pooled together with the function that gives
// them back, so a block costs no allocation. No deadline is set per read or write, as
// yamux makes a timer for each: one ticker looks at all streams whether their reads
// and writes move. In a profile of both ends, copying the block out of the library takes
// 4 % of the CPU, and all else here less than 2 %; system calls, AES and the copies
// of TLS and yamux are the rest.
//
// # Whose turn it is
//
// Peers that ask share what this node sends: each that has something to be sent gets as
// many bytes as any other, whatever it asks for, on however many streams. Blocks,
// manifests and block lists take a turn; maps, ends and pongs don't. Config.Slots peers
// have their turn at one time, and whoever has been sent least is next. A turn ends with
// a chunk, so that chunks come whole one after the other and can be passed on, rather
// than all late; where that would take too long, in between. Whoever doesn't read as fast
// as the others do is served beside them, and holds nobody up (turns.go). Of six that
// ask, one of them for sixteen times as many bytes in each block, it gets 16.6 % with 2
// slots and 37 % without turns (TestGreedyMemberGetsItsShare). Only who has its turn has
// a buffer to write from: at most Config.Slots and 64 that are slow.
//
// With Config.Site, a node that serves other sites gives each of them other chunks, so
// that they have something for each other: of what a peer elsewhere asks for, chunks come
// first that fewest other sites were given. With Config.Courtesy as well, what went to
// another site just now is answered busy once nothing else is left, and is to be asked
// for there (courtesy.go). It is a publisher's way to send a content about once. With
// Config.Near it does the same among its neighbours: on a LAN the publisher's port would
// carry a third more than once, and that is what all wait for (testnet/bench, LAN speed).
//
// Pacing, and credits from the receiver, are left to what is built on top: a request can
// name as few blocks as wished.
package exchange
