package deciders

import "time"

// A moment is something that will happen. What a and b are depends on what.
type moment struct {
	at     time.Duration
	serial uint64 // of two at the same time, the older comes first
	a, b   int32
	what   what
}

func (m *moment) before(o *moment) bool {
	return m.at < o.at || m.at == o.at && m.serial < o.serial
}

// A heap holds moments, the next one first. Four children to a node: a push, the
// commoner half, compares half as often as with two, and a pop touches less memory.
type heap struct {
	moments []moment
	serial  uint64
}

func (h *heap) push(at time.Duration, w what, a, b int32) {
	h.serial++
	m := moment{at, h.serial, a, b, w}
	h.moments = append(h.moments, m)
	i := len(h.moments) - 1
	for i > 0 {
		up := (i - 1) / 4
		if !m.before(&h.moments[up]) {
			break
		}
		h.moments[i] = h.moments[up]
		i = up
	}
	h.moments[i] = m
}

// pop returns the next moment; the heap isn't empty.
func (h *heap) pop() moment {
	first := h.moments[0]
	n := len(h.moments) - 1
	m := h.moments[n]
	h.moments = h.moments[:n]
	if n == 0 {
		return first
	}
	i := 0
	for {
		least, from := -1, 4*i+1
		for c := from; c < min(from+4, n); c++ {
			if least < 0 || h.moments[c].before(&h.moments[least]) {
				least = c
			}
		}
		if least < 0 || !h.moments[least].before(&m) {
			break
		}
		h.moments[i] = h.moments[least]
		i = least
	}
	h.moments[i] = m
	return first
}
