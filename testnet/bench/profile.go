//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/node"
	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/node/trust"
	"github.com/p2pnode/p2pnode/testnet/scenario"
)

// profile writes where the CPU time of an add and of a get goes. Both nodes are
// in this process, so the profile of the get has both ends.
func profile(ctx context.Context, b *bench) (err error) {
	if err := scenario.Sample(b.sample, b.size, 1); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 2)
	running := 0
	defer func() {
		stop()
		for range running {
			err = errors.Join(err, <-ended)
		}
	}()
	start := func(name string) (api.Node, error) {
		listen, err := ma.NewMultiaddr("/ip4/127.0.0.1/tcp/0")
		if err != nil {
			return nil, err
		}
		n, err := node.New(node.Config{
			Data: filepath.Join(b.lab.Dir, name), Listen: []ma.Multiaddr{listen}, MDNS: []string{"off"}, API: node.APIOff,
		}, zap.NewNop())
		if err != nil {
			return nil, err
		}
		running++
		go func() { ended <- n.Run(ctx) }()
		select {
		case <-n.Ready():
			return n.API(), nil
		case <-time.After(10 * time.Second):
			return nil, fmt.Errorf("%s: not ready", name)
		}
	}
	hub, err := start("hub")
	if err != nil {
		return err
	}
	invitation, err := hub.Invite(ctx, api.InviteRequest{Site: "hq"})
	if err != nil {
		return err
	}
	token, err := trust.ParseToken(invitation.Token)
	if err != nil {
		return err
	}
	id, err := trust.Enrol(ctx, filepath.Join(b.lab.Dir, "member"), token, trust.EnrolOptions{})
	if err != nil {
		return err
	}
	if err := id.Close(); err != nil {
		return err
	}
	member, err := start("member")
	if err != nil {
		return err
	}

	var added api.AddResult
	err = profiled("add", func() error {
		added, err = hub.Add(ctx, api.AddRequest{Paths: []string{b.sample}}, nil)
		return err
	})
	if err != nil {
		return err
	}
	return profiled("get", func() error {
		_, err := member.Get(ctx, api.GetRequest{Ref: added.Content, Output: filepath.Join(b.lab.Dir, "copy")}, nil)
		return err
	})
}

// profiled writes the CPU profile of f to a file in the temporary folder.
func profiled(name string, f func() error) (err error) {
	out, err := os.CreateTemp("", "p2pnode-"+name+"-*.prof")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if err := pprof.StartCPUProfile(out); err != nil {
		return err
	}
	start := time.Now()
	err = f()
	pprof.StopCPUProfile()
	fmt.Printf("%s: %.2f s, profile in %s: go tool pprof -top %s\n", name, time.Since(start).Seconds(), out.Name(), out.Name())
	return err
}
