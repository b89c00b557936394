//go:build !linux

package foreground

import (
	"errors"
	"syscall"
)

func cubic(string, string, syscall.RawConn) error {
	return errors.New("congestion control is chosen only on linux")
}
