package main

import (
	"fmt"
	"strings"

	"github.com/p2pnode/p2pnode/node/api"
)

// A portion is what of a content came from one kind of source.
type portion struct {
	name   string
	bytes  int64
	givers int64 // 0: not counted
	who    string
}

// portionsOf returns what came over each link class, then what needed none: local from
// other contents and seeds on this disk, here before anything began.
func portionsOf(from, givers api.ByLink, local, here int64) []portion {
	return []portion{
		{"lan", from.LAN, givers.LAN, "peer"}, {"wan", from.WAN, givers.WAN, "peer"}, {"origin", from.Origin, givers.Origin, "server"},
		{"this disk", local, 0, ""}, {"here already", here, 0, ""},
	}
}

// sourcesText tells portions in a line, those of no bytes left out; empty if that is
// all of them.
func sourcesText(ps []portion) string {
	var parts []string
	for _, p := range ps {
		if p.bytes == 0 {
			continue
		}
		part := p.name + " " + size(p.bytes)
		if p.givers > 0 {
			part += " (" + count(int(p.givers), p.who) + ")"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

// nearText says how much of what was fetched the own site gave; empty if nothing was
// fetched. It is of fetched bytes, each counted once, so it is never over 100 %.
func nearText(from api.ByLink) string {
	if from.Total() == 0 {
		return ""
	}
	return fmt.Sprintf(" (%s from the own site)", percent(from.LAN, from.Total()))
}
