// Package chaos breaks the enterprise in a box at random, while it works, and
// looks at whether anything was lost, wrong, hung or left behind.
//
// Make turns a seed, a plan of the box and a duration into a Timeline: who is
// killed, restarted, frozen, unplugged, moved, whose disk is filled, whose link is
// cut or slowed, when and for how long; what is published meanwhile, who wants it,
// what is removed, pinned and verified. It is pure: the same seed has the same
// timeline, which can be printed without running it. Every fault heals, never more
// than half of the nodes are away at once, and the end is quiet.
//
// Run does that to a box.Enterprise and writes down what happened: a Record. It
// first lets everyone get something and measures what processes take (the
// baseline); then come the faults; then everyone gets what they still want, all
// that is kept is hashed again, and processes are measured once more. It decides
// nothing.
//
// Judge reads the Record and says which invariants held: a table of verdicts with
// figures, and what went against them. Its bounds stand beside it, with reasons.
//
// What a box is made of is left to testnet/box; steps in a fixed order, with
// levels to reach, to testnet/play.
package chaos
