package chaos

import (
	"fmt"
	"time"

	"github.com/p2pnode/p2pnode/testnet/box"
)

const (
	warmSize = 16 << 20 // of the content that everyone gets first

	publishApart = 8 * time.Second // on average
	choreApart   = 10 * time.Second
	againApart   = 5 * time.Second // a content of before is wanted once more
	wantWithin   = 20 * time.Second

	// published bounds the bytes of all contents: the publisher keeps them all, and
	// its disk shall be full when it is filled, and not before.
	published = 200 << 20
)

// sizes of contents: a configuration file, a package, an image. Small ones are
// over between two faults, large ones see several.
var sizes = []int64{10_000, 300_000, 1 << 20, 4 << 20, 8 << 20, 16 << 20, 32 << 20}

// load draws what is published, wanted and done meanwhile.
func (p *planner) load() {
	most := int64(published)
	if p.Box.Disk > 0 {
		most = min(most, p.Box.Disk*2/5)
	}
	p.Contents = []Content{{Name: "c0", Size: min(warmSize, most/4), Seed: p.Box.Seed << 16}}
	sum := p.Contents[0].Size
	end := p.For - p.Quiet/2
	for at := time.Duration(0); at < end; at += p.between(0, 2*publishApart) {
		c := Content{Name: fmt.Sprintf("c%d", len(p.Contents)), Size: pick(p, sizes), Seed: p.Box.Seed<<16 + uint64(len(p.Contents)), At: at}
		if p.chance(3) { // an update: the same bytes, and more or less of them
			old := pick(p, p.Contents)
			c.Seed, c.Size = old.Seed, old.Size*int64(50+p.random.IntN(100))/100+1
		}
		if sum+c.Size > most {
			continue
		}
		sum += c.Size
		p.Contents = append(p.Contents, c)
		for _, place := range p.getters() {
			if !p.chance(4) {
				p.want(place.Node, len(p.Contents)-1, p.between(at, min(at+wantWithin, end)))
			}
		}
	}
	for at := p.between(0, choreApart); at < end; at += p.between(0, 2*choreApart) {
		p.chore(at)
	}
	for at := p.between(0, againApart); at < end; at += p.between(0, 2*againApart) {
		p.want(pick(p, p.getters()).Node, p.early(at), at)
	}
}

// getters are all but the publisher, who has everything.
func (p *planner) getters() []box.Place { return p.places[1:] }

func (p *planner) want(node string, content int, at time.Duration) {
	p.Wants = append(p.Wants, Want{Number: len(p.Wants) + 1, Node: node, Content: content, At: at})
}

// early draws a content that was published by then.
func (p *planner) early(at time.Duration) int {
	n := 1
	for n < len(p.Contents) && p.Contents[n].At <= at {
		n++
	}
	return p.random.IntN(n)
}

// chore draws what an operator does. What was removed is often wanted again.
func (p *planner) chore(at time.Duration) {
	c := Chore{Node: pick(p, p.getters()).Node, Verb: pick(p, []string{"rm", "rm", "pin", "unpin", "verify", "gc"}), Content: p.early(at), At: at}
	p.Chores = append(p.Chores, c)
	if c.Verb == "rm" || c.Verb == "gc" {
		p.want(c.Node, c.Content, at+p.between(0, time.Second))
	}
}
