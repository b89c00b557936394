package disktest

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// An Image is what a disk may be at one moment. It doesn't change, and may be used
// by many at once.
type Image struct {
	semantics Semantics
	nodes     []*node // the root first; each knows its place here
	changes   []change
	seq       int
}

// Image returns what the disk may be now.
func (f *FS) Image() *Image {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.image()
}

func (f *FS) image() *Image {
	i := &Image{semantics: f.semantics, seq: f.seq}
	of := make(map[*node]*node)
	i.take(of, f.root)
	for _, c := range f.changes {
		i.changes = append(i.changes, c.of(func(n *node) *node { return i.take(of, n) }))
	}
	return i
}

// take adds a node, and those that survive a crash with it, to the image, unless it
// has them. Of a file it takes what survives a crash.
func (i *Image) take(of map[*node]*node, n *node) *node {
	if n == nil {
		return nil
	}
	if made, ok := of[n]; ok {
		return made
	}
	made := &node{folder: n.folder, modTime: n.modTime, place: len(i.nodes)}
	of[n], i.nodes = made, append(i.nodes, made)
	if !n.folder {
		made.base, made.effects, made.pages = n.base, slices.Clip(n.effects), slices.Clone(n.pages)
		return made
	}
	made.durable = make(map[string]*node, len(n.durable))
	for name, e := range n.durable {
		made.durable[name] = i.take(of, e)
	}
	return made
}

// of returns a change of other nodes.
func (c change) of(node func(*node) *node) change {
	made := change{seq: c.seq, sets: make([]set, len(c.sets))}
	for i, s := range c.sets {
		made.sets[i] = set{node(s.folder), s.name, node(s.to)}
	}
	return made
}

// nodesOf are an image's copied: a file system may change them.
type nodesOf []node

func (i *Image) copy() nodesOf {
	c := make(nodesOf, len(i.nodes))
	for at, n := range i.nodes {
		made := &c[at]
		made.folder, made.modTime = n.folder, n.modTime
		if !n.folder {
			made.base, made.effects, made.pages = n.base, n.effects, slices.Clone(n.pages)
			continue
		}
		made.durable = make(map[string]*node, len(n.durable))
		for name, e := range n.durable {
			made.durable[name] = &c[e.place]
		}
	}
	return c
}

// node returns the copy of one of the image's nodes.
func (c nodesOf) node(n *node) *node {
	if n == nil {
		return nil
	}
	return &c[n.place]
}

// Keep says what a crash leaves of what was not synced.
type Keep uint8

// What a crash leaves.
const (
	Some Keep = iota // a choice of r's, writes torn
	None
	All
)

// Crash returns a file system as it may be found after a loss of power.
func (i *Image) Crash(keep Keep, r *rand.Rand) *FS {
	c, f := i.copy(), New(i.semantics)
	f.root = &c[0]
	l := i.luck(keep, r)
	for n, old := range i.changes {
		if l.change(n, old) {
			for _, s := range old.sets {
				set{c.node(s.folder), s.name, c.node(s.to)}.apply()
			}
		}
	}
	f.root.settle(l)
	return f
}

// Kill returns a file system as the next process finds it if the one that used it
// is killed: as it was seen, and as little of it on the disk as before.
func (i *Image) Kill() *FS {
	c, f := i.copy(), New(i.semantics)
	f.root, f.seq = &c[0], i.seq
	for n := range c {
		n := &c[n]
		n.entries, n.data = maps.Clone(n.durable), slices.Clone(n.base)
		for _, e := range n.effects {
			n.data = e.apply(n.data)
		}
	}
	for _, old := range i.changes {
		made := old.of(c.node)
		f.changes = append(f.changes, made)
		for _, s := range made.sets {
			s.see()
		}
	}
	return f
}

// settle makes of a node what a crash leaves of it.
func (n *node) settle(l luck) {
	if !n.folder {
		if n.effects != nil {
			n.base, n.effects = l.bytes(n), nil
		}
		n.data, n.borrowed = n.base, true
		return
	}
	if n.entries != nil {
		return // was here
	}
	n.entries = maps.Clone(n.durable)
	for _, e := range n.durable {
		e.settle(l)
	}
}

// luck chooses what survives.
type luck struct {
	*rand.Rand
	keep    Keep
	until   int // of what began later, nothing; or -1
	percent int // of the rest
	names   int // of the changes, on Windows
}

func (i *Image) luck(keep Keep, r *rand.Rand) luck {
	l := luck{Rand: r, keep: keep, until: -1, percent: 100, names: len(i.changes)}
	switch keep {
	case None:
		l.names = 0
	case Some:
		// In time, up to a moment not long ago; or here and there.
		if r.IntN(4) == 0 {
			l.until = i.seq - r.IntN(8)
		} else {
			l.percent = []int{12, 50, 88}[r.IntN(3)]
		}
		l.names = r.IntN(len(i.changes) + 1)
	}
	if i.semantics == POSIX {
		l.names = -1
	}
	return l
}

// change reports whether the nth change of names survives.
func (l luck) change(n int, c change) bool {
	if l.names >= 0 {
		return n < l.names
	}
	return l.survives(c.seq)
}

func (l luck) survives(seq int) bool {
	switch {
	case l.keep != Some:
		return l.keep == All
	case l.until >= 0:
		return seq <= l.until
	}
	return l.IntN(100) < l.percent
}

// bytes returns what is left of a file.
func (l luck) bytes(n *node) []byte {
	data := slices.Clone(n.base)
	for _, e := range n.effects {
		kept := e.state == synced || l.survives(e.seq)
		switch {
		case e.state == synced, kept && l.keep == All:
			data = e.apply(data)
		case e.data == nil:
			if kept {
				data = e.apply(data)
			}
		case l.keep == Some && (l.IntN(4) == 0 || kept && l.until == e.seq):
			data = l.tear(data, int64(len(n.base)), e)
		case kept:
			data = e.apply(data)
		}
	}
	return data
}

// tear does some of a write, by sectors or by pages. Those beyond what was there
// may be zeros, or what the disk had there before.
func (l luck) tear(data []byte, was int64, e effect) []byte {
	unit := int64(sector)
	if l.IntN(4) == 0 {
		unit = page
	}
	foreign := l.IntN(8) == 0
	end := e.at + int64(len(e.data))
	for from := e.at; from < end; {
		to := min(end, (from/unit+1)*unit)
		switch l.IntN(3) {
		case 0:
			data = effect{at: from, data: e.data[from-e.at : to-e.at]}.apply(data)
		case 1:
			data = resize(data, max(int64(len(data)), to))
			if foreign && from >= was {
				for i := range data[from:to] {
					data[from+int64(i)] = byte(l.Uint32())
				}
			}
		}
		from = to
	}
	return data
}
