//go:build !linux && !windows && !darwin

package meter

import (
	"errors"
	"fmt"
	"syscall"
)

// TCP fails with errors.ErrUnsupported.
func TCP(syscall.Conn) (Connection, error) {
	return Connection{}, fmt.Errorf("read TCP_INFO: %w", errors.ErrUnsupported)
}
