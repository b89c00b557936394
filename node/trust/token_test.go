package trust

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"unicode/utf16"

	ma "github.com/multiformats/go-multiaddr"
)

func someToken() Token {
	return newToken([32]byte{1, 2, 3}, []ma.Multiaddr{ma.StringCast(anyAddress),
		ma.StringCast("/dns4/hq.example/udp/4001/quic-v1/p2p/12D3KooWMiz2yEwEGucQjBY48KNpz88bcv785LYP5Jypxw7hGtUZ")})
}

func utf16Text(s string, order binary.AppendByteOrder) string {
	b := order.AppendUint16(nil, 0xfeff)
	for _, u := range utf16.Encode([]rune(s)) {
		b = order.AppendUint16(b, u)
	}
	return string(b)
}

func TestTokenSurvivesTheWayToTheJoiner(t *testing.T) {
	tok := someToken()
	s := tok.String()
	for name, text := range map[string]string{
		"as made": s, "line end": s + "\r\n", "spaces": "  " + s + "\t\n", "byte order mark": "\ufeff" + s,
		"wrapped": s[:40] + "\n" + s[40:80] + "\r\n  " + s[80:], "PowerShell >": utf16Text(s+"\r\n", binary.LittleEndian),
		"UTF-16 big endian": utf16Text(s, binary.BigEndian),
	} {
		got, err := ParseToken(text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got.String() != s {
			t.Errorf("%s: another token", name)
		}
	}
	t.Logf("%d characters: %s", len(s), s)
}

func TestTokenSaysWhatIsWrong(t *testing.T) {
	s := someToken().String()
	part := strings.Split(s, ".")
	remade := func(do func([]string)) string {
		p := strings.Split(s, ".")
		do(p)
		head := strings.Join(p[:len(p)-1], ".")
		return head + "." + tokenCheck(head)
	}
	for text, want := range map[string]string{
		"": "empty", "  \n": "empty", "hello": "doesn't start", "p2p2" + s[4:]: "doesn't start", s[:len(s)-1]: "cut short", s[:50]: "cut short",
		strings.Join(part[:5], "."): "cut short", s + s: "two tokens", s + "." + s: "two tokens", strings.ToUpper(s): "doesn't start",
		s[:20] + strings.Map(func(r rune) rune { return map[bool]rune{true: 'B', false: 'A'}[r == 'A'] }, s[20:21]) + s[21:]: "mistyped",
		strings.Repeat("x", 5*maxTokenText):                         "too long",
		remade(func(p []string) { p[1] = p[1][:10] }):               "part 2",
		remade(func(p []string) { p[2] = "" }):                      "part 3",
		remade(func(p []string) { p[3] = p[3] + "AAAA" }):           "part 4",
		remade(func(p []string) { p[4] = "" }):                      "no address",
		remade(func(p []string) { p[4] = "AAAAAAAA" }):              "address",
		remade(func(p []string) { p[4] = "__8A" }):                  "address",
		remade(func(p []string) { p[4] = strings.Repeat("A", 64) }): "address",
	} {
		_, err := ParseToken(text)
		if !errors.Is(err, ErrToken) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	s := someToken().String()
	f.Add(s)
	f.Add(utf16Text(s, binary.LittleEndian))
	f.Add("p2p1.....")
	f.Fuzz(func(t *testing.T, text string) {
		// Addresses and UTF-16 take more than their text; the bound is the parts'.
		bounded(t, len(text), 32, func() {
			tok, err := ParseToken(text)
			if err != nil {
				if !errors.Is(err, ErrToken) {
					t.Fatal(err)
				}
				return
			}
			again, err := ParseToken(tok.String())
			if err != nil || !bytes.Equal(again.Secret[:], tok.Secret[:]) || again.String() != tok.String() {
				t.Fatalf("%q comes back as %q, %v", tok, again, err)
			}
		})
	})
}
