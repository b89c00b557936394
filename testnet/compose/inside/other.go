//go:build !linux

package inside

import (
	"errors"
	"net/netip"
)

// errContainers is the answer where there are no Linux containers.
var errContainers = errors.New("this runs in the testnet's containers only, which are Linux's")

// Unplug needs Linux.
func Unplug() error { return errContainers }

// Plug needs Linux.
func Plug(netip.Addr) error { return errContainers }

// Fill needs Linux.
func Fill(string, int64) error { return errContainers }

// Read needs Linux.
func Read() (Usage, error) { return Usage{}, errContainers }
