package trust

import (
	"fmt"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Roles is a set of what a credential allows.
type Roles uint8

// The roles. Every credential has Member.
const (
	Member    Roles = 1 << iota // may connect, fetch and serve
	Publisher                   // may sign releases
	Operator                    // may sign statements
	Issuer                      // may admit others, and signs the time

	allRoles = Member | Publisher | Operator | Issuer
)

var roleNames = []struct {
	role Roles
	name string
}{{Member, "member"}, {Publisher, "publisher"}, {Operator, "operator"}, {Issuer, "issuer"}}

// Has reports whether r includes all of want.
func (r Roles) Has(want Roles) bool { return r&want == want }

// Strings returns the names of the roles, member first.
func (r Roles) Strings() []string {
	var names []string
	for _, n := range roleNames {
		if r.Has(n.role) {
			names = append(names, n.name)
		}
	}
	return names
}

func (r Roles) String() string { return strings.Join(r.Strings(), ",") }

// A Credential is what a verified certificate says of a node.
type Credential struct {
	Peer      peer.ID
	Device    string // stays when key or certificate change
	Name      string // for people; an issuer gives it once
	Site      string
	Roles     Roles
	Serial    string // hexadecimal
	NotBefore time.Time
	NotAfter  time.Time
}

// maxName bounds names, sites and device ids, in bytes: they are labels of URIs
// and of what people read.
const maxName = 63

// CheckSite returns an error unless s can be the id of a site: 1 to 63 of a-z,
// 0-9, '-', '_' and '.', starting with a letter or digit.
func CheckSite(s string) error {
	if !label(s, false) {
		return fmt.Errorf("site %q: want 1 to %d of a-z 0-9 . _ - starting with a letter or digit", s, maxName)
	}
	return nil
}

// CheckName returns an error unless s can be the name of a node: as a site, with
// capitals allowed.
func CheckName(s string) error {
	if !label(s, true) {
		return fmt.Errorf("name %q: want 1 to %d of A-Z a-z 0-9 . _ - starting with a letter or digit", s, maxName)
	}
	return nil
}

func label(s string, capitals bool) bool {
	if len(s) == 0 || len(s) > maxName {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case 'A' <= c && c <= 'Z' && capitals:
		case (c == '.' || c == '_' || c == '-') && i > 0:
		default:
			return false
		}
	}
	return true
}
