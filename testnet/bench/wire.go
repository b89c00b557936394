//go:build linux

package main

import (
	"errors"
	"net/netip"

	"github.com/p2pnode/p2pnode/testnet/scenario"
)

// wire puts the two sides into namespaces of their own, on one LAN.
func (b *bench) wire() (_ *scenario.Net, err error) {
	net, err := scenario.NewNet()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, net.Close())
		}
	}()
	lan, err := net.LAN("lan", netip.MustParsePrefix("10.1.0.0/24"))
	if err != nil {
		return nil, err
	}
	if b.here, err = net.Space("here"); err != nil {
		return nil, err
	}
	if b.there, err = net.Space("there"); err != nil {
		return nil, err
	}
	for i, s := range []*scenario.Space{b.here, b.there} {
		if _, err := lan.Join(s, 1+i); err != nil {
			return nil, err
		}
	}
	b.addr = lan.Host(1).Addr().String()
	return net, nil
}
