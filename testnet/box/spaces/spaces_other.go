//go:build !linux

package spaces

import (
	"context"
	"errors"

	"github.com/p2pnode/p2pnode/testnet/box"
)

var errSystem = errors.New("a testnet of network namespaces needs Linux; `go run ./testnet up` makes one of containers")

// An Enterprise needs Linux.
type Enterprise struct{ box.Enterprise }

// New returns an error.
func New(context.Context, box.Plan, Config) (*Enterprise, error) { return nil, errSystem }

// Start returns an error.
func (e *Enterprise) Start(context.Context) error { return errSystem }

// Alone returns an error.
func Alone() error { return errSystem }

// TempDir returns an error.
func TempDir() (string, error) { return "", errSystem }

// Reap finds nothing: no command makes namespaces here.
func Reap() (int, error) { return 0, nil }
