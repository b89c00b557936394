package main

import "testing"

// What is in use for a minute raises the limit, a transfer's buffers don't, and nothing
// raises it above the most.
func TestLimitOfMemoryFollowsWhatIsInUse(t *testing.T) {
	const mib = 1 << 20
	th := thrift{most: 512 * mib}
	for i, step := range []struct {
		live, times, want int64
	}{
		{30, 10, 64}, {200, 5, 64}, {30, 1, 64}, // buffers for 50 s
		{160, 5, 64}, {160, 1, 216}, // an index
		{300, 6, 391}, {1000, 6, 512},
		{160, 1, 216}, {30, 1, 64},
	} {
		var got int64
		for range step.times {
			got = th.limit(step.live * mib)
		}
		if got != step.want*mib {
			t.Errorf("step %d, %d MiB in use: limit of %d MiB, want %d", i, step.live, got/mib, step.want)
		}
	}
}
