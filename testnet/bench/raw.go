//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"

	"github.com/p2pnode/p2pnode/testnet/scenario"
)

// What the program is called as its own child: one end of a plain libp2p stream
// over TCP, TLS and yamux, with nothing read, hashed or written.
const (
	rawServe = "raw-serve" // ADDRESS BYTES: prints its multiaddr, sends to whoever comes, ends
	rawFetch = "raw-fetch" // MULTIADDR
)

const (
	rawProtocol = "/p2pnode-bench/raw/1"
	rawMessage  = 256 << 10 // bytes of one write, as the exchange's blocks have at most
)

func raw(ctx context.Context, args []string) error {
	if args[0] == rawServe && len(args) == 3 {
		size, err := strconv.ParseInt(args[2], 10, 64)
		if err != nil {
			return err
		}
		return serveRaw(ctx, args[1], size)
	}
	if args[0] == rawFetch && len(args) == 2 {
		return fetchRaw(ctx, args[1])
	}
	return fmt.Errorf("%s: wrong arguments", args[0])
}

func rawHost(opts ...libp2p.Option) (host.Host, error) {
	return libp2p.New(append(opts,
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Security(libp2ptls.ID, libp2ptls.New),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
		libp2p.DisableRelay(),
		libp2p.DisableIdentifyAddressDiscovery(),
	)...)
}

func serveRaw(ctx context.Context, addr string, size int64) error {
	h, err := rawHost(libp2p.ListenAddrStrings("/ip4/" + addr + "/tcp/0"))
	if err != nil {
		return err
	}
	defer h.Close()
	sent := make(chan error, 1)
	h.SetStreamHandler(rawProtocol, func(s network.Stream) {
		message := make([]byte, rawMessage)
		for left := size; left > 0; {
			n, err := s.Write(message[:min(left, rawMessage)])
			if err != nil {
				sent <- err
				return
			}
			left -= int64(n)
		}
		err := s.CloseWrite()
		_, _ = s.Read(message) // until the other end has closed too
		sent <- err
	})
	fmt.Printf("%s/p2p/%s\n", h.Addrs()[0], h.ID())
	select {
	case err = <-sent:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return err
}

func fetchRaw(ctx context.Context, addr string) error {
	h, err := rawHost(libp2p.NoListenAddrs)
	if err != nil {
		return err
	}
	defer h.Close()
	to, err := peer.AddrInfoFromString(addr)
	if err != nil {
		return err
	}
	if err := h.Connect(ctx, *to); err != nil {
		return err
	}
	s, err := h.NewStream(ctx, to.ID, rawProtocol)
	if err != nil {
		return err
	}
	start := time.Now()
	var n int64
	for message := make([]byte, rawMessage); err == nil; {
		var got int
		got, err = s.Read(message)
		n += int64(got)
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	took := time.Since(start)
	if err := s.Close(); err != nil {
		return err
	}
	fmt.Println(n, took.Nanoseconds())
	return nil
}

// rawCopy measures the plain stream between two processes.
func (b *bench) rawCopy(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	serve := scenario.Command(ctx, b.here, self, rawServe, b.addr, strconv.FormatInt(b.size, 10))
	serve.Stderr = os.Stderr
	out, err := serve.StdoutPipe()
	if err != nil {
		return err
	}
	if err := serve.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return fmt.Errorf("plain stream: no address: %w", err)
	}
	fetch := scenario.Command(ctx, b.there, self, rawFetch, strings.TrimSpace(line))
	fetch.Stderr = os.Stderr
	answer, err := fetch.Output()
	if err != nil {
		return fmt.Errorf("plain stream: %w", err)
	}
	if err := serve.Wait(); err != nil {
		return fmt.Errorf("plain stream: %w", err)
	}
	var n, ns int64
	if _, err := fmt.Sscan(string(answer), &n, &ns); err != nil || n != b.size {
		return fmt.Errorf("plain stream: got %q (%v), want %d bytes", answer, err, b.size)
	}
	b.table.moved("plain stream (TCP, TLS, yamux)", n, time.Duration(ns), cpuOf(serve)+cpuOf(fetch))
	return nil
}

func cpuOf(ended *exec.Cmd) time.Duration {
	return ended.ProcessState.UserTime() + ended.ProcessState.SystemTime()
}
