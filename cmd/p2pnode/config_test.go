package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/spf13/pflag"

	"github.com/p2pnode/p2pnode/node/api"
)

// Every key can be given by file, variable and flag, and its example is good.
func TestEveryKeyFromEverySource(t *testing.T) {
	file := filepath.Join(t.TempDir(), configName)
	var lines []string
	for line := range strings.Lines(commentedFile()) {
		if strings.HasPrefix(line, "# ") {
			lines = append(lines, strings.TrimPrefix(line, "# "))
		}
	}
	example := strings.Join(lines[2:], "") // without the two lines of the head
	if err := os.WriteFile(file, []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	resolve := func(env map[string]string, args ...string) *settings {
		t.Helper()
		a := &app{data: t.TempDir(), env: func(k string) (string, bool) { v, ok := env[k]; return v, ok }}
		c := a.runCommand()
		if err := c.ParseFlags(args); err != nil {
			t.Fatal(err)
		}
		s, err := a.resolve(c.Flags())
		if err != nil {
			t.Fatalf("%v\n%s", err, example)
		}
		return s
	}
	env := map[string]string{"P2PNODE_CONFIG": "none"}
	args := []string{"--config", "none"}
	for _, s := range keyTable {
		env[s.variable()] = s.example
		args = append(args, "--"+s.flag(), s.example)
		if s.doc == "" || s.builtin == "" || s.kind == "" || s.example == "" {
			t.Errorf("%s is not described", s.key)
		}
	}
	byFile, byEnv, byFlag := resolve(nil, "--config", file), resolve(env), resolve(nil, args...)
	none := resolve(nil, "--config", "none")
	for _, s := range keyTable {
		set := func(x *settings) string { return fmt.Sprint(s.value(x)) }
		if set(byFile) != set(byEnv) || set(byEnv) != set(byFlag) || set(byFile) == set(none) {
			t.Errorf("%s: %q by file, %q by variable, %q by flag, %q by nothing", s.key, set(byFile), set(byEnv), set(byFlag), set(none))
		}
		if o := byFile.origin(s.key); !strings.HasPrefix(o, file+":") {
			t.Errorf("%s: by file from %s", s.key, o)
		}
		if byEnv.origin(s.key) != s.variable() || byFlag.origin(s.key) != "--"+s.flag() || none.origin(s.key) != "built-in" {
			t.Errorf("%s: from %s, %s, %s", s.key, byEnv.origin(s.key), byFlag.origin(s.key), none.origin(s.key))
		}
	}
}

// Windows' editors write what they write.
func TestConfigInOtherEncodings(t *testing.T) {
	text := "site: zürich\r\n"
	utf16With := func(order binary.AppendByteOrder) string {
		b := order.AppendUint16
		out := b(nil, 0xfeff)
		for _, u := range utf16.Encode([]rune("name: till-7\r\nsite: zurich\r\n")) {
			out = b(out, u)
		}
		return string(out)
	}
	for name, b := range map[string]string{
		"UTF-8 with a mark": "\ufeffname: till-7\nsite: zurich\n", "UTF-8 with CRLF": "name: till-7\r\nsite: zurich\r\n",
		"UTF-16 little": utf16With(binary.LittleEndian), "UTF-16 big": utf16With(binary.BigEndian),
	} {
		all, err := parseConfig("x.yaml", []byte(b))
		if err != nil || len(all) != 2 || all[1].texts[0] != "zurich" || all[1].origin != "x.yaml:2" {
			t.Errorf("%s: %+v, %v", name, all, err)
		}
	}
	for name, b := range map[string]string{"Latin-1": "site: z\xfcrich\n", "UTF-16 without a mark": "s\x00i\x00", "zeros": "\x00\x00\x00"} {
		if _, err := parseConfig("x.yaml", []byte(b)); err == nil || !strings.Contains(err.Error(), "save it as UTF-8") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := parseConfig("x.yaml", []byte(text)); !errors.Is(err, &api.Error{Code: api.Usage}) {
		t.Errorf("%v", err)
	}
}

func TestCoresAreAShareOfTheMachine(t *testing.T) {
	for text, want := range map[string]int{"100%": runtime.NumCPU(), "1%": 1, "50 %": max(1, runtime.NumCPU()/2), "3": 3} {
		var got int
		if err := (coresValue{&got}).Set(text); err != nil || got != want {
			t.Errorf("%s: %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "-1", "0%", "101%", "half", "nan%", "5000"} {
		var got int
		if err := (coresValue{&got}).Set(text); err == nil {
			t.Errorf("%q taken as %d", text, got)
		}
	}
}

func TestProxyIsOneWithoutPassword(t *testing.T) {
	for text, want := range map[string]string{"http://p:3128": "http://p:3128", "https://p/": "https://p/", "socks5://p:1080": "socks5://p:1080", "none": "<nil>"} {
		var s settings
		if err := (proxyValue{&s.proxy, &s.node.Origin.Proxy}).Set(text); err != nil {
			t.Fatal(err)
		}
		if u, err := s.node.Origin.Proxy(nil); fmt.Sprint(u) != want || err != nil {
			t.Errorf("%s: %v, %v", text, u, err)
		}
	}
	for _, text := range []string{"", "proxy:3128", "ftp://p", "http://", "http://p/path", "http://me:secret@p:1", "http://me:secret@p:x"} {
		var s settings
		if err := (proxyValue{&s.proxy, &s.node.Origin.Proxy}).Set(text); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte("site: berlin\nlisten: [/ip4/127.0.0.1/tcp/1]\ncache: {quota: 10%}\n"))
	f.Add([]byte("a: &x [*x]\n<<: *x\n? b\n: |\n  c\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := parseConfig("x", b)
		if err != nil {
			return
		}
		for _, g := range all {
			if err := new(settings).apply(g); err != nil {
				t.Fatalf("%s: %v", g.setting.key, err)
			}
		}
	})
}

// reference is the table of keys as node/README.md has it.
func reference() string {
	var b strings.Builder
	b.WriteString("| key | value | default | what it is |\n|---|---|---|---|\n")
	for _, s := range keyTable {
		kind := "`" + strings.ReplaceAll(s.kind, "|", "` or `") + "`"
		if s.list() {
			kind = "list of " + kind
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", s.key, kind, s.builtin, s.doc)
	}
	return b.String()
}

// The documents say what the table says. With UPDATE=1 they take it over.
func TestReferenceIsTheTable(t *testing.T) {
	const begin, end = "<!-- keys -->\n", "<!-- end of keys -->\n"
	path := filepath.Join("..", "..", "node", "README.md")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no marks for the table", path)
	}
	want := before + begin + reference() + end + after
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(b) != want {
		t.Errorf("%s differs from the table of keys: UPDATE=1 go test ./cmd/p2pnode -run Reference", path)
	}
}

// No flag of run is forgotten by the table, and no two keys get the same.
func TestFlagsOfRunAreKeys(t *testing.T) {
	a := &app{env: os.LookupEnv}
	var flags []string
	a.runCommand().Flags().VisitAll(func(f *pflag.Flag) { flags = append(flags, f.Name) })
	want := []string{"join", "join-file", "config"}
	for _, s := range keyTable {
		want = append(want, s.flag())
	}
	slices.Sort(flags)
	slices.Sort(want)
	if !slices.Equal(flags, want) {
		t.Errorf("flags are %v, want %v", flags, want)
	}
}
