package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
	"github.com/spf13/pflag"

	"github.com/p2pnode/p2pnode/node/api"
)

const (
	configName = "config.yaml"
	configDir  = "conf.d" // beside it: what is in there counts above the file, in order of names
	maxConfig  = 1 << 20
)

// systemConfigDir is where an administrator puts a machine's configuration.
func systemConfigDir(env func(string) (string, bool)) string {
	if runtime.GOOS != "windows" {
		return "/etc/p2pnode"
	}
	dir, ok := env("ProgramData")
	if !ok || dir == "" {
		dir = `C:\ProgramData`
	}
	return filepath.Join(dir, "p2pnode")
}

func shownConfigFile() string {
	if runtime.GOOS == "windows" {
		return `%ProgramData%\p2pnode\config.yaml`
	}
	return "/etc/p2pnode/config.yaml"
}

// configFiles returns the files to read, the least first: that of --config or
// P2PNODE_CONFIG, else the one in the data folder, else the system's; then those
// in conf.d beside it.
func (a *app) configFiles(flags *pflag.FlagSet) ([]string, error) {
	chosen := ""
	if f := flags.Lookup("config"); f != nil && f.Changed {
		chosen = f.Value.String()
	} else if v, ok := a.env("P2PNODE_CONFIG"); ok {
		chosen = v
	}
	switch chosen {
	case "none":
		return nil, nil
	case "":
		for _, dir := range []string{a.data, systemConfigDir(a.env)} {
			files, err := configsIn(filepath.Join(dir, configName), false)
			if err != nil || len(files) > 0 {
				return files, err
			}
		}
		return nil, nil
	}
	return configsIn(chosen, true)
}

func configsIn(file string, must bool) ([]string, error) {
	var files []string
	if _, err := os.Stat(file); err == nil {
		files = append(files, file)
	} else if must || !errors.Is(err, fs.ErrNotExist) {
		return nil, usageError{fmt.Errorf("read configuration: %w", err)}
	}
	dir := filepath.Join(filepath.Dir(file), configDir)
	entries, err := os.ReadDir(dir) // sorted
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, usageError{fmt.Errorf("read configuration: %w", err)}
	}
	for _, e := range entries {
		if !e.IsDir() && strings.HasSuffix(e.Name(), ".yaml") && !strings.HasPrefix(e.Name(), ".") {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	return files, nil
}

// readConfig returns what a file says, in its order, with each value checked.
func readConfig(name string) ([]given, error) {
	fi, err := os.Stat(name)
	if err != nil {
		return nil, usageError{fmt.Errorf("read configuration: %w", err)}
	}
	if fi.Size() > maxConfig {
		return nil, usageError{fmt.Errorf("configuration %s: %d bytes, at most %d allowed", name, fi.Size(), maxConfig)}
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, usageError{fmt.Errorf("read configuration: %w", err)}
	}
	return parseConfig(name, b)
}

// A configText is a file's text while it is read, to show where something is
// wrong.
type configText struct {
	name  string
	lines []string
	given []given
	seen  map[string]int // line by key
}

func parseConfig(name string, b []byte) ([]given, error) {
	text, err := asUTF8(b)
	if err != nil {
		return nil, usageError{fmt.Errorf("configuration %s: %w", name, err)}
	}
	c := &configText{name: name, lines: strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n"), seen: make(map[string]int)}
	f, err := parser.ParseBytes([]byte(strings.Join(c.lines, "\n")), 0)
	if err != nil {
		var at yaml.Error
		if errors.As(err, &at) && at.GetToken() != nil {
			what := at.GetMessage()
			if line := at.GetToken().Position.Line; line <= len(c.lines) && tabbed(c.lines[line-1]) {
				what = "a tab: YAML wants blanks before a key"
			}
			return nil, c.wrong(at.GetToken(), "%s", what)
		}
		return nil, usageError{fmt.Errorf("configuration %s: %w", name, err)}
	}
	docs := slices.DeleteFunc(f.Docs, func(d *ast.DocumentNode) bool { return d.Body == nil })
	for i, d := range docs {
		if i > 0 {
			return nil, c.wrong(d.Body.GetToken(), "a second document: there can be one")
		}
		if err := c.mapping("", d.Body); err != nil {
			return nil, err
		}
	}
	return c.given, nil
}

// tabbed reports whether a line is indented with tabs.
func tabbed(line string) bool {
	return strings.Contains(line[:len(line)-len(strings.TrimLeft(line, " \t"))], "\t")
}

// asUTF8 returns a file's text; editors and PowerShell on Windows write UTF-16
// with a byte order mark, or UTF-8 with one.
func asUTF8(b []byte) (string, error) {
	var order binary.ByteOrder
	switch {
	case strings.HasPrefix(string(b), "\xff\xfe"):
		order = binary.LittleEndian
	case strings.HasPrefix(string(b), "\xfe\xff"):
		order = binary.BigEndian
	}
	text := strings.TrimPrefix(string(b), "\ufeff")
	if order != nil {
		var units []uint16
		for rest := b[2:]; len(rest) > 1; rest = rest[2:] {
			units = append(units, order.Uint16(rest))
		}
		text = string(utf16.Decode(units))
	}
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return "", errors.New("it is neither UTF-8 nor UTF-16 with a byte order mark: save it as UTF-8")
	}
	return text, nil
}

// wrong is an error at a place of the file, which it shows.
func (c *configText) wrong(at *token.Token, format string, args ...any) error {
	line, column := at.Position.Line, max(at.Position.Column, 1)
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: %s", c.name, line, column, fmt.Sprintf(format, args...))
	for n := max(line-2, 1); n <= min(line, len(c.lines)); n++ {
		fmt.Fprintf(&b, "\n%5d | %s", n, strings.ReplaceAll(c.lines[n-1], "\t", " "))
	}
	if line <= len(c.lines) {
		fmt.Fprintf(&b, "\n      | %s^", strings.Repeat(" ", column-1))
	}
	return api.Errorf(api.Usage, "See every key: p2pnode config schema", "%s", b.String())
}

// mapping reads the keys of a node that has to be a mapping; prefix ends in a dot
// unless it is empty.
func (c *configText) mapping(prefix string, n ast.Node) error {
	var values []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	default:
		if prefix == "" {
			return c.wrong(n.GetToken(), "want KEY: VALUE, one to a line")
		}
		return c.wrong(n.GetToken(), "%s has keys of its own: %s", strings.TrimSuffix(prefix, "."), strings.Join(keysBelow(prefix), ", "))
	}
	for _, v := range values {
		if err := c.key(prefix, v); err != nil {
			return err
		}
	}
	return nil
}

func (c *configText) key(prefix string, v *ast.MappingValueNode) error {
	at := v.Key.GetToken()
	key := prefix + at.Value
	if len(keysBelow(key+".")) > 0 {
		return c.mapping(key+".", v.Value)
	}
	i := slices.IndexFunc(keyTable, func(s setting) bool { return s.key == key })
	if i < 0 {
		hint := ""
		if like := nearest(key); like != "" {
			hint = "; did you mean " + like + "?"
		}
		return c.wrong(at, "unknown key %q%s", key, hint)
	}
	s := &keyTable[i]
	if line, dup := c.seen[key]; dup {
		return c.wrong(at, "%s stands in line %d already", key, line)
	}
	c.seen[key] = at.Position.Line
	nodes := []ast.Node{v.Value}
	if q, ok := v.Value.(*ast.SequenceNode); ok {
		if !s.list() {
			return c.wrong(v.Value.GetToken(), "%s takes one value", key)
		}
		nodes = q.Values
	}
	g := given{setting: s, origin: fmt.Sprintf("%s:%d", c.name, at.Position.Line), fault: func(err error) error { return c.wrong(v.Value.GetToken(), "%s: %v", key, err) }}
	for _, n := range nodes {
		text, ok := scalar(n)
		if !ok {
			return c.wrong(n.GetToken(), "%s: want a plain value, as in %s: %s", key, at.Value, s.example)
		}
		one := given{setting: s, texts: []string{text}, fault: func(err error) error { return c.wrong(n.GetToken(), "%s: %v", key, err) }}
		if err := new(settings).apply(one); err != nil {
			return err
		}
		g.texts = append(g.texts, text)
	}
	c.given = append(c.given, g)
	return nil
}

// scalar returns a plain value as it is written.
func scalar(n ast.Node) (string, bool) {
	switch v := n.(type) {
	case *ast.StringNode:
		return v.Value, v.Value != ""
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	}
	return "", false
}

func keysBelow(prefix string) []string {
	var keys []string
	for _, s := range keyTable {
		if strings.HasPrefix(s.key, prefix) {
			keys = append(keys, s.key)
		}
	}
	return keys
}

// nearest returns the key that was probably meant: the one with the fewest
// letters to change, if those are few; also one that only lacks its first part.
func nearest(key string) string {
	best, least := "", 4
	for _, s := range keyTable {
		if strings.HasSuffix(s.key, "."+key) || strings.EqualFold(s.key, strings.ReplaceAll(key, "-", ".")) {
			return s.key
		}
		if d := distance(s.key, strings.ToLower(key)); d < least && d <= len(key)/2 {
			best, least = s.key, d
		}
	}
	return best
}

// distance is Levenshtein's: how many letters to put in, leave out or change.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
