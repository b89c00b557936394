package node

import (
	"math"
	"runtime/debug"
	"runtime/metrics"

	"github.com/shirou/gopsutil/v4/mem"

	"github.com/p2pnode/p2pnode/node/api"
)

// What a process is among others belongs to the process and not to a node in it:
// whoever has the process calls GiveWay and debug.SetMemoryLimit, and a node only
// tells how things are.

// lowNice is the nice value of a node that gives way: with it a busy machine's
// user programs get about nine times the share of a core (kernel/sched/core.c has
// the weights: 1024 for 0, 110 for 10), and an idle machine's node all of it.
const lowNice = 10

// process tells how this process stands among others.
func (n *Node) process() api.Process {
	p := api.Process{Priority: priority(), HashCores: n.cfg.Workers, Memory: memoryHeld()}
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		p.MemoryLimit = limit
	}
	return p
}

// memoryHeld returns how much memory the Go runtime has from the system.
func memoryHeld() int64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64() - s[1].Value.Uint64())
}

// Memory returns how many bytes of memory there are for this process: the
// machine's, or what its container or service may have if that is less.
func Memory() (int64, error) {
	m, err := mem.VirtualMemory()
	if err != nil {
		return 0, err
	}
	return min(int64(min(m.Total, math.MaxInt64)), memoryAllowed()), nil
}
