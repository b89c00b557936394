//go:build !linux && !windows && !darwin

package node

import (
	"errors"
	"math"
)

// GiveWay lowers the priority of this process, where it is known how.
func GiveWay() error { return errors.ErrUnsupported }

func priority() string { return "" }

func memoryAllowed() int64 { return math.MaxInt64 }
