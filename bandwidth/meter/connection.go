package meter

import (
	"time"

	"github.com/quic-go/quic-go"

	"github.com/p2pnode/p2pnode/bandwidth"
)

// A Connection is what a transport's own sender knows of one connection. It tells
// of the way that our data goes: to the side that only receives it says little.
type Connection struct {
	// RoundTrip is smoothed, MinRoundTrip the least of the last minutes (Linux: 5)
	// or of all time.
	RoundTrip, MinRoundTrip Reading[time.Duration]
	// Delivery is the rate at which the last window of data was acknowledged.
	Delivery Reading[bandwidth.Rate]
	// Sent counts bytes since the connection began, those sent again among them,
	// and Resent only these. QUIC sends no packet again: its Resent are bytes of
	// packets that it holds for lost.
	Sent, Resent Reading[uint64]
	// Unsent is how many bytes wait in the kernel for their first departure. What
	// they wait is in no round trip.
	Unsent Reading[uint64]
}

// unless returns an absent reading for the value that stands for "unknown".
func unless[T comparable](unknown, value T, how string) Reading[T] {
	if value == unknown {
		return Reading[T]{}
	}
	return Read(value, how)
}

// QUIC returns what quic-go knows: no rate of delivery, and nothing waits in the
// kernel.
func QUIC(s quic.ConnectionStats) Connection {
	const how = "quic-go"
	return Connection{
		RoundTrip:    unless(0, s.SmoothedRTT, how),
		MinRoundTrip: unless(0, s.MinRTT, how),
		Sent:         Read(s.BytesSent, how),
		Resent:       Read(s.BytesLost, how),
	}
}
