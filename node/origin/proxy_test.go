package origin

import (
	"net/url"
	"testing"
	"testing/synctest"
	"time"
)

const scutilPrinted = `<dictionary> {
  ExceptionsList : <array> {
    0 : *.local
    1 : 169.254/16
    2 : 10.1.0.0/16
    3 : files.example
  }
  FTPPassive : 1
  HTTPEnable : 1
  HTTPPort : 3128
  HTTPProxy : proxy.example
  HTTPSEnable : 1
  HTTPSPort : 3129
  HTTPSProxy : fd00::1
}
`

func TestScutil(t *testing.T) {
	for _, c := range []struct{ printed, url, want string }{
		{scutilPrinted, "http://a.example/x", "http://proxy.example:3128"},
		{scutilPrinted, "https://a.example/x", "http://[fd00::1]:3129"},
		{scutilPrinted, "https://printer.local/x", ""},
		{scutilPrinted, "http://169.254.3.4/x", ""},
		{scutilPrinted, "http://10.1.2.3/x", ""},
		{scutilPrinted, "http://10.2.2.3/x", "http://proxy.example:3128"},
		{scutilPrinted, "https://files.example/x", ""},
		{"<dictionary> {\n  HTTPEnable : 0\n  HTTPProxy : proxy.example\n}\n", "http://a.example/x", ""},
		{"<dictionary> {\n  HTTPEnable : 1\n  HTTPProxy : proxy.example\n}\n", "http://a.example/x", "http://proxy.example"},
		{"", "http://a.example/x", ""},
		{"No such key", "http://a.example/x", ""},
	} {
		u, err := url.Parse(c.url)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseScutil(c.printed)(u)
		if err != nil {
			t.Fatal(err)
		}
		if s := text(got); s != c.want {
			t.Errorf("%s: %q, want %q", c.url, s, c.want)
		}
	}
}

func text(u *url.URL) string {
	if u == nil {
		return ""
	}
	return u.String()
}

func TestSystemProxyIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reads := 0
		c := &cachedProxy{read: func() proxyFunc {
			reads++
			return func(*url.URL) (*url.URL, error) { return nil, nil }
		}}
		for range 3 {
			if _, err := c.of(&url.URL{}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(proxyAge / 2)
		}
		if reads != 2 {
			t.Errorf("read %d times in 1.5 times its age", reads)
		}
	})
}

func FuzzScutil(f *testing.F) {
	f.Add(scutilPrinted)
	f.Fuzz(func(t *testing.T, printed string) {
		if proxy, err := parseScutil(printed)(&url.URL{Scheme: "http", Host: "a.example"}); err == nil && proxy != nil && proxy.Host == "" {
			t.Errorf("a proxy without a host: %v", proxy)
		}
	})
}
