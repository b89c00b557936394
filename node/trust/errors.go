package trust

import (
	"errors"
	"fmt"
)

// Errors that callers branch on. Whatever ends an admission wraps ErrNotAdmitted
// beside its reason.
var (
	ErrNoIdentity  = errors.New("this folder has no identity yet: run `p2pnode run` for an enterprise of its own, or `p2pnode join TOKEN`")
	ErrHasIdentity = errors.New("this folder already belongs to an enterprise: use another folder with --data, or --replace to move the old identity aside")
	ErrInUse       = errors.New("the identity is in use by a running node")
	ErrDamaged     = errors.New("trust state is damaged: put the folder back from a backup, or join again with --replace")
	ErrNewer       = errors.New("the trust state was written by a newer p2pnode: run that version")
	ErrStateFailed = errors.New("trust state could not be written before, so nothing new is accepted: check the disk, then restart the node")

	ErrTurnedBack = errors.New("the trust state is older than what this node has signed: a backup was put back, or its folder runs twice")

	ErrNotAdmitted       = errors.New("not admitted")
	ErrForeignEnterprise = errors.New("belongs to another enterprise")
	ErrExpired           = errors.New("credential ran out")
	ErrNotYetValid       = errors.New("credential is not valid yet")
	ErrRevoked           = errors.New("credential was revoked")
	ErrBusy              = errors.New("too many admissions at once, try again")
	ErrRole              = errors.New("credential lacks the role")

	ErrToken        = errors.New("not an invite token")
	ErrTokenUsed    = errors.New("token is used up: ask for a new one (`p2pnode invite`)")
	ErrTokenExpired = errors.New("token ran out: ask for a new one (`p2pnode invite`)")
	ErrTokenUnknown = errors.New("token is not known there, or was withdrawn: ask for a new one (`p2pnode invite`)")
	ErrUnreached    = errors.New("nobody who issues credentials was reached")
	ErrRekey        = errors.New("too many new keys for one device in a day")

	ErrNotIssuer     = errors.New("this node does not issue credentials: run the command on the node that does")
	ErrUnknownMember = errors.New("no such member")
	ErrEnvelope      = errors.New("not a valid signed envelope")
	ErrList          = errors.New("not a valid revocation list")
	ErrMessage       = errors.New("not a valid admission message")

	ErrRollback     = errors.New("older than a release seen before")
	ErrEquivocation = errors.New("two releases with one sequence number: the publisher made a mistake or lost its key")
)

// A refusal is the reason of a listener as it goes over the wire. It tells a
// stranger nothing that the stranger has not shown to know.
type refusal uint8

const (
	refusedForeign refusal = iota + 1
	refusedExpired
	refusedNotYet
	refusedRevoked
	refusedOther
	refusedBusy
	refusedTokenUnknown
	refusedTokenUsed
	refusedTokenExpired
	refusedRekey
	refusalCount
)

var refusalErrors = [refusalCount]error{
	refusedForeign:      ErrForeignEnterprise,
	refusedExpired:      ErrExpired,
	refusedNotYet:       ErrNotYetValid,
	refusedRevoked:      ErrRevoked,
	refusedBusy:         ErrBusy,
	refusedTokenUnknown: ErrTokenUnknown,
	refusedTokenUsed:    ErrTokenUsed,
	refusedTokenExpired: ErrTokenExpired,
	refusedRekey:        ErrRekey,
}

// refusalOf returns what a listener tells of err.
func refusalOf(err error) refusal {
	for r, e := range refusalErrors {
		if e != nil && errors.Is(err, e) {
			return refusal(r)
		}
	}
	return refusedOther
}

// err returns the refusal as the one refused sees it.
func (r refusal) err() error {
	if r < refusalCount && refusalErrors[r] != nil {
		return fmt.Errorf("%w; the other side says: %w", ErrNotAdmitted, refusalErrors[r])
	}
	return fmt.Errorf("%w by the other side", ErrNotAdmitted)
}
