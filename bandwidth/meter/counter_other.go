//go:build !linux && !windows && !darwin

package meter

import (
	"errors"
	"fmt"
)

// Of other systems nothing is known.
func (i *Interface) describe() {}

// A Counter would read the bytes of one interface.
type Counter struct{}

// OpenCounter fails with errors.ErrUnsupported.
func OpenCounter(i Interface) (*Counter, error) {
	return nil, fmt.Errorf("count the bytes of %s: %w", i.Name, errors.ErrUnsupported)
}

// How tells where the counts are from.
func (c *Counter) How() string { return "" }

// Read fails.
func (c *Counter) Read() (Bytes, error) { return Bytes{}, errors.ErrUnsupported }

// Close frees nothing.
func (c *Counter) Close() error { return nil }
