package site

import (
	"net/netip"
	"testing"
)

func prefixes(s ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range s {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func parsed(t testing.TB, text string) Map {
	t.Helper()
	m, err := ParseMap([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestStrongestClaimSaysTheSite(t *testing.T) {
	m := parsed(t, "10.1.0.0/16 berlin\n10.1.7.0/24 berlin-lab\n10.2.0.0/16 bonn\nfd00:1::/32 six\n")
	for _, c := range []struct {
		claims Claims
		id     string
		from   Source
	}{
		{Claims{Config: "here", Map: m, Credential: "there", Addrs: prefixes("10.1.0.9/16")}, "here", FromConfig},
		{Claims{Map: m, Credential: "there", Addrs: prefixes("10.1.0.9/16")}, "berlin", FromMap},
		{Claims{Map: m, Credential: "there", Addrs: prefixes("10.2.0.9/16", "10.1.7.9/16")}, "berlin-lab", FromMap},
		{Claims{Map: m, Credential: "there", Addrs: prefixes("10.2.0.9/16", "10.1.8.9/16")}, "bonn", FromMap},
		{Claims{Map: m, Credential: "there", Addrs: prefixes("172.17.0.1/16", "fd00:1::7/64")}, "six", FromMap},
		{Claims{Map: m, Credential: "there", Addrs: prefixes("192.168.1.2/24")}, "there", FromCredential},
		{Claims{Credential: "there"}, "there", FromCredential},
		{Claims{Map: m, Addrs: prefixes("127.0.0.1/8", "fe80::1/64", "192.168.1.2/24")}, "192.168.1.0-24", FromSubnet},
		{Claims{Addrs: prefixes("fd00:1::7/64")}, "fd00-1-0-0-0-0-0-0-64", FromSubnet},
		{Claims{Addrs: prefixes("127.0.0.1/8")}, Lonely, FromSubnet},
	} {
		id, from := Resolve(c.claims)
		if id != c.id || from != c.from {
			t.Errorf("%+v: %s by %s, want %s by %s", c.claims, id, from, c.id, c.from)
		}
		if err := checkID(id); err != nil {
			t.Error(err)
		}
	}
}

func TestMapIsRead(t *testing.T) {
	m := parsed(t, "# ours\n\n 10.1.0.0/16\tberlin # head office\r\n::/0 elsewhere\n")
	if m.Len() != 2 {
		t.Errorf("%d networks", m.Len())
	}
	for _, bad := range []string{
		"10.1.0.0/16", "10.1.0.0/16 a b", "10.1.0.1/16 a", "10.1.0.0 a", "10.1.0.0/33 a", "10.1.0.0/16 Berlin",
		"10.1.0.0/16 -a", "10.1.0.0/16 a\n10.1.0.0/16 a", "::ffff:10.1.0.0/112 a", "berlin 10.1.0.0/16",
		"10.1.0.0/16 " + string(make([]byte, maxMapLine)), string(make([]byte, maxMap+1)),
	} {
		if m, err := ParseMap([]byte(bad)); err == nil {
			t.Errorf("%.40q was read as %v", bad, m)
		}
	}
}

func FuzzParseMap(f *testing.F) {
	f.Add([]byte("10.1.0.0/16 berlin\nfd00::/8 six # all\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMap(b)
		if err != nil {
			return
		}
		for _, n := range m.networks {
			if id, ok := m.Of([]netip.Prefix{n.prefix}); checkID(n.site) != nil || ok && checkID(id) != nil || n.prefix != n.prefix.Masked() {
				t.Errorf("%v of %q", n, b)
			}
		}
	})
}
