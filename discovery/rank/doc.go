// Package rank decides which source is asked next, and says why.
//
// It is one pure function over what a flow knows of its candidates at a moment.
// Members of the same site come before everyone else, whatever the others
// promise: a LAN is there to be used, a WAN belongs to others. Among those of a
// kind the one is first that would have delivered one more chunk soonest. Those
// of whom nothing is known are tried early, one in a ranking, so that a flow
// learns what they can do without staking its progress on strangers.
//
// How much is asked of whom, and what is done about those who fail, is left to
// the flow (node/flow).
package rank
