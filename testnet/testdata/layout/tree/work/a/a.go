// Package a decides, and yet looks at the clock.
package a

import (
	"os"
	"time"

	"example.org/bad/work/b"
)

func Decide() time.Time {
	go b.Run()
	_ = os.Args
	return time.Now()
}
