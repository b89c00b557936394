package trust

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
)

// An issuer without room turns away at once. Who is turned away tries so many times,
// after up to a pause that doubles: a site that joins at one moment is in within
// seconds.
const (
	knockTries = 5
	knockPause = 500 * time.Millisecond
)

// again knocks until it isn't turned away any more.
func again(ctx context.Context, knock func() error) error {
	pause := knockPause
	for try := 1; ; try++ {
		err := knock()
		if try == knockTries || !turnedAway(err) {
			return err
		}
		select {
		case <-time.After(pause/2 + rand.N(pause/2)):
		case <-ctx.Done():
			return ctx.Err()
		}
		pause *= 2
	}
}

// What Windows calls a connection that was reset; package syscall's own names are
// of other numbers there.
const (
	wsaConnAborted syscall.Errno = 10053
	wsaConnReset   syscall.Errno = 10054
)

// turnedAway reports whether err is of an issuer that had no room at that moment.
// On TCP it hangs up without a word.
func turnedAway(err error) bool {
	for _, e := range []error{ErrBusy, io.EOF, syscall.ECONNRESET, syscall.EPIPE, wsaConnAborted, wsaConnReset} {
		if errors.Is(err, e) {
			return true
		}
	}
	const queueFull = 1 // of libp2p's QUIC listener
	for _, code := range []network.ConnErrorCode{network.ConnRateLimited, network.ConnResourceLimitExceeded, queueFull} {
		if errors.Is(err, &network.ConnError{Remote: true, ErrorCode: code}) {
			return true
		}
	}
	return false
}
