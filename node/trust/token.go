package trust

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// Limits of a token.
const (
	tokenIDSize  = 8
	secretSize   = 16 // 128 random bits
	maxBootstrap = 8  // addresses
	maxTokenText = 4 << 10
	tokenStart   = "p2p1"
	checkSize    = 4
)

// A Token invites nodes into an enterprise. As text it is
//
//	p2p1.<root>.<id>.<secret>.<addresses>.<check>
//
// root is the SHA-256 of the trust root: whoever joins sends the secret only to a
// node that proves to belong to it. addresses are multiaddrs with the peer id,
// binary, each behind a length of two bytes. check is the start of the SHA-256 of
// everything before the last dot: it finds tokens cut short by a terminal. All
// parts are base64url without padding.
type Token struct {
	Root      [sha256.Size]byte
	ID        [tokenIDSize]byte
	Secret    [secretSize]byte
	Bootstrap []ma.Multiaddr // ends in /p2p/<peer>
}

func newToken(rootHash [sha256.Size]byte, bootstrap []ma.Multiaddr) Token {
	t := Token{Root: rootHash, Bootstrap: bootstrap}
	rand.Read(t.ID[:])
	rand.Read(t.Secret[:])
	return t
}

// String returns the token as text, secret included.
func (t Token) String() string {
	var addrs []byte
	for _, a := range t.Bootstrap {
		b := a.Bytes()
		addrs = append(append(addrs, byte(len(b)>>8), byte(len(b))), b...)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	s := strings.Join([]string{tokenStart, b64(t.Root[:]), b64(t.ID[:]), b64(t.Secret[:]), b64(addrs)}, ".")
	return s + "." + tokenCheck(s)
}

func tokenCheck(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.EncodeToString(sum[:checkSize])
}

// Short names the token where its secret must not be shown.
func (t Token) Short() string { return hex.EncodeToString(t.ID[:]) }

// ParseToken reads a token as a person or a script hands it over: around and
// inside it there may be white space and line breaks, and the text may be UTF-16
// with a byte order mark, as PowerShell writes files.
func ParseToken(text string) (Token, error) {
	var t Token
	if len(text) > 4*maxTokenText {
		return t, fmt.Errorf("%w: %d bytes is too long", ErrToken, len(text))
	}
	s := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || r == '\ufeff' || r == 0 {
			return -1
		}
		return r
	}, fromUTF16(text))
	part := strings.Split(s, ".")
	switch {
	case s == "":
		return t, fmt.Errorf("%w: it is empty", ErrToken)
	case part[0] != tokenStart:
		return t, fmt.Errorf("%w: it doesn't start with %q", ErrToken, tokenStart+".")
	case len(part) < 6:
		return t, fmt.Errorf("%w: it is cut short (%d of 6 parts)", ErrToken, len(part))
	case len(part) > 6:
		return t, fmt.Errorf("%w: it has %d parts instead of 6: is it two tokens?", ErrToken, len(part))
	case part[5] != tokenCheck(strings.Join(part[:5], ".")):
		return t, fmt.Errorf("%w: it is cut short or mistyped (the check at its end doesn't match)", ErrToken)
	}
	var addrs []byte
	for i, dst := range [][]byte{t.Root[:], t.ID[:], t.Secret[:], nil} {
		b, err := base64.RawURLEncoding.Strict().DecodeString(part[i+1])
		if err != nil || dst != nil && len(b) != len(dst) {
			return t, fmt.Errorf("%w: part %d can't be read", ErrToken, i+2)
		}
		copy(dst, b)
		addrs = b
	}
	for len(addrs) > 0 {
		if len(addrs) < 2 || len(addrs) < 2+int(addrs[0])<<8+int(addrs[1]) || len(t.Bootstrap) == maxBootstrap {
			return t, fmt.Errorf("%w: its addresses can't be read", ErrToken)
		}
		n := int(addrs[0])<<8 + int(addrs[1])
		a, err := ma.NewMultiaddrBytes(slices.Clone(addrs[2 : 2+n]))
		if err == nil {
			_, err = peer.AddrInfoFromP2pAddr(a)
		}
		if err != nil {
			return t, fmt.Errorf("%w: an address in it: %v", ErrToken, err)
		}
		t.Bootstrap = append(t.Bootstrap, a)
		addrs = addrs[2+n:]
	}
	if len(t.Bootstrap) == 0 {
		return t, fmt.Errorf("%w: it has no address to join at", ErrToken)
	}
	return t, nil
}

// fromUTF16 returns text as UTF-8 if it starts with a byte order mark of UTF-16.
func fromUTF16(s string) string {
	var order func(hi, lo byte) uint16
	switch {
	case strings.HasPrefix(s, "\xff\xfe"):
		order = func(a, b byte) uint16 { return uint16(b)<<8 | uint16(a) }
	case strings.HasPrefix(s, "\xfe\xff"):
		order = func(a, b byte) uint16 { return uint16(a)<<8 | uint16(b) }
	default:
		return s
	}
	var units []uint16
	for i := 2; i+1 < len(s); i += 2 {
		units = append(units, order(s[i], s[i+1]))
	}
	return string(utf16.Decode(units))
}
