package wan

// fifo is a queue in a ring that grows.
type fifo struct {
	ring  []entry
	first int
	n     int
}

func (f *fifo) len() int     { return f.n }
func (f *fifo) head() *entry { return &f.ring[f.first] }

func (f *fifo) push(e entry) {
	if f.n == len(f.ring) {
		larger := make([]entry, max(64, 2*f.n))
		n := copy(larger, f.ring[f.first:])
		copy(larger[n:], f.ring[:f.first])
		f.ring, f.first = larger, 0
	}
	f.ring[(f.first+f.n)%len(f.ring)] = e
	f.n++
}

func (f *fifo) pop() entry {
	e := f.ring[f.first]
	f.first = (f.first + 1) % len(f.ring)
	f.n--
	return e
}

// line is a heap by time of arrival, then by turn. Where order is kept every
// entry is pushed behind all others, which costs one comparison.
type line struct {
	heap  []entry
	turns uint64
}

func (l *line) len() int     { return len(l.heap) }
func (l *line) head() *entry { return &l.heap[0] }

func (l *line) before(i, j int) bool {
	a, b := &l.heap[i], &l.heap[j]
	return a.at < b.at || a.at == b.at && a.turn < b.turn
}

func (l *line) push(e entry) {
	e.turn = l.turns
	l.turns++
	l.heap = append(l.heap, e)
	for i := len(l.heap) - 1; i > 0; {
		parent := (i - 1) / 2
		if !l.before(i, parent) {
			return
		}
		l.heap[i], l.heap[parent] = l.heap[parent], l.heap[i]
		i = parent
	}
}

func (l *line) pop() entry {
	e := l.heap[0]
	last := len(l.heap) - 1
	l.heap[0] = l.heap[last]
	l.heap = l.heap[:last]
	for i := 0; ; {
		child := 2*i + 1
		if child+1 < last && l.before(child+1, child) {
			child++
		}
		if child >= last || !l.before(child, i) {
			return e
		}
		l.heap[i], l.heap[child] = l.heap[child], l.heap[i]
		i = child
	}
}
