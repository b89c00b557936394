//go:build unix

package inside

import (
	"errors"
	"syscall"
)

func unreachable(err error) bool {
	return errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTUNREACH)
}
