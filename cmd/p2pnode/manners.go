package main

import (
	"math"
	"os"
	"runtime/debug"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/node"
)

// Memory that a node tries to keep to, whatever it has in use, if nobody says
// otherwise: an eighth of the machine's, but not less than it takes to work. On a
// machine of 1 GiB that is 128 MiB, on one of 16 GiB 2 GiB.
const (
	memoryShare = 8
	memoryLeast = 128 << 20
)

// behave makes this process a good neighbour of others on the machine, before it
// starts any work. What the system refuses is no reason not to run. It returns how
// much memory keepMemory may let it have; 0 if the limit is somebody else's choice.
func (s *settings) behave(log *zap.Logger) (most int64) {
	if s.priority == "low" {
		if err := node.GiveWay(); err != nil {
			log.Warn("priority not lowered", zap.Error(err))
		}
	}
	limit, ok := s.memoryLimit(log)
	if ok && s.memory == 0 && s.memoryShare == 0 {
		limit, most = memoryUsual, limit
	}
	if ok {
		debug.SetMemoryLimit(limit)
	}
	return most
}

// memoryLimit returns what the Go runtime is to keep to. The limit is soft: the
// collector works harder near it, and memory that is in use stays. It doesn't
// count the system's page cache.
func (s *settings) memoryLimit(log *zap.Logger) (int64, bool) {
	switch {
	case s.memory > 0:
		return s.memory, true
	case s.memory < 0:
		return math.MaxInt64, true
	}
	// The runtime's own variable is left to count, unless the key is given.
	if _, own := os.LookupEnv("GOMEMLIMIT"); own && s.memoryShare == 0 {
		return 0, false
	}
	total, err := node.Memory()
	if err != nil {
		log.Warn("memory of this machine not known: no limit set", zap.Error(err))
		return 0, false
	}
	if s.memoryShare > 0 {
		return int64(float64(total) * s.memoryShare), true
	}
	return max(total/memoryShare, memoryLeast), true
}
