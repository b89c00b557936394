package dht

import "testing"

func TestSmallNetworksAreCounted(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, 5} {
		ms := startServers(t, n)
		for _, m := range ms[1:] {
			m.connect(t, ms[0])
		}
		eventually(t, "the first counts all", func() bool {
			got, ok := ms[0].Size()
			return ok && got == n
		})
	}
}

func TestLargerNetworksAreEstimated(t *testing.T) {
	t.Parallel()
	const n = 2 * bucket
	ms := startServers(t, n)
	var got int
	took := eventually(t, "the last has an estimate", func() (ok bool) {
		got, ok = ms[n-1].Size()
		return ok && got > bucket
	})
	if got < n/2 || got > 2*n {
		t.Errorf("%d servers by estimate, there are %d", got, n)
	}
	t.Logf("%d servers, by estimate %d after %v", n, got, took)
}
