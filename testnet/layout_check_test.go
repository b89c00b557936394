package main

import (
	"bufio"
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A layout says what a source tree must look like. Lists of packages are
// separated by spaces; packages are named by their folder.
type layout struct {
	module  string
	top     string            // names that may stand at the top
	imports map[string]string // package -> packages of ours that it may import
	inTests map[string]string // and these in its tests
	pure    string            // packages without clocks, goroutines, sockets, disks
	foreign map[string]string // package -> what it decodes; has a fuzz target
	own     map[string]string // package -> why its decoding needs no fuzz target
	skips   []string          // how the reason of a skipped test may begin
	lines   int               // of a file
	long    map[string]string // file -> why it may have more
}

// Importing one of these means that a package decodes something.
var decodes = []string{
	"crypto/x509", "encoding/asn1", "encoding/binary", "encoding/gob", "encoding/json", "encoding/pem",
	"github.com/fxamacker/cbor/v2", "golang.org/x/net/dns/dnsmessage", "google.golang.org/protobuf/proto",
}

// What a pure package doesn't import, and doesn't call.
var (
	impure = []string{"context", "crypto/rand", "math/rand", "math/rand/v2", "net", "os", "os/exec", "runtime", "sync", "sync/atomic", "syscall", "go.uber.org/zap"}
	clock  = []string{"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until"}
)

// source is one file, parsed whatever its build tags say.
type source struct {
	name  string // slash-separated, from the top
	test  bool
	lines int
	ast   *ast.File
	fset  *token.FileSet
}

// check returns what is wrong with the tree at top, sorted.
func (l *layout) check(top string) []string {
	var c checker
	c.layout = l
	packages, err := read(top)
	if err != nil {
		return []string{err.Error()}
	}
	c.top(top)
	for name, files := range packages {
		c.pkg(name, files)
	}
	for name := range l.imports {
		if packages[name] == nil {
			c.addf("%s: stands in the table of imports and does not exist", name)
		}
	}
	for name := range l.long {
		if _, err := os.Stat(filepath.Join(top, filepath.FromSlash(name))); err != nil {
			c.addf("%s: stands in the table of long files and does not exist", name)
		}
	}
	slices.Sort(c.problems)
	return c.problems
}

// read parses the Go files below top, by folder.
func read(top string) (map[string][]source, error) {
	packages := map[string][]source{}
	err := filepath.WalkDir(top, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if n := d.Name(); file != top && (n == "testdata" || strings.HasPrefix(n, ".") || strings.HasPrefix(n, "_")) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") {
			return nil
		}
		rel, err := filepath.Rel(top, file)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		s := source{name: filepath.ToSlash(rel), test: strings.HasSuffix(file, "_test.go"), fset: token.NewFileSet()}
		s.lines = bytes.Count(text, []byte("\n"))
		if s.ast, err = parser.ParseFile(s.fset, s.name, text, parser.ParseComments|parser.SkipObjectResolution); err != nil {
			return err
		}
		dir := path.Dir(s.name)
		packages[dir] = append(packages[dir], s)
		return nil
	})
	return packages, err
}

type checker struct {
	*layout
	problems []string
}

func (c *checker) addf(format string, args ...any) {
	c.problems = append(c.problems, fmt.Sprintf(format, args...))
}

// top checks the names at the top of the tree.
func (c *checker) top(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		c.addf("%v", err)
	}
	free := ignored(filepath.Join(dir, ".gitignore"))
	for _, e := range entries {
		n := e.Name()
		if strings.HasPrefix(n, ".") || in(c.layout.top, n) {
			continue
		}
		if slices.ContainsFunc(free, func(p string) bool { ok, _ := path.Match(p, n); return ok }) {
			continue
		}
		c.addf("%s: not one of the names that may stand at the top", n)
	}
}

// ignored returns the patterns of a .gitignore that concern the top.
func ignored(file string) []string {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	var patterns []string
	for s := bufio.NewScanner(f); s.Scan(); {
		if p := strings.Trim(s.Text(), "/ "); p != "" && !strings.HasPrefix(p, "#") {
			patterns = append(patterns, p)
		}
	}
	return patterns
}

func (c *checker) pkg(name string, files []source) {
	if _, ok := c.imports[name]; !ok {
		c.addf("%s: not in the table of imports", name)
	}
	var shipped, documented, fuzzed bool
	decoder := ""
	for _, f := range files {
		if f.lines > c.lines && c.long[f.name] == "" {
			c.addf("%s: %d lines, more than %d: look for the second thing in it", f.name, f.lines, c.lines)
		}
		c.files(name, f)
		if f.test {
			c.skipping(f)
			fuzzed = fuzzed || fuzzes(f)
			continue
		}
		shipped = true
		documented = documented || opens(f)
		if slices.Contains(strings.Fields(c.pure), name) {
			c.purity(f)
		}
		for _, i := range f.ast.Imports {
			if p := importPath(i); slices.Contains(decodes, p) {
				decoder = p
			}
		}
	}
	if shipped && !documented {
		c.addf("%s: no package comment whose first sentence says what it is", name)
	}
	if !shipped {
		return
	}
	switch bytes, reads := c.foreign[name]; {
	case reads && !fuzzed:
		c.addf("%s: reads %s without a fuzz target", name, bytes)
	case !reads && !fuzzed && decoder != "" && c.own[name] == "":
		c.addf("%s: imports %s and has no fuzz target, nor a reason to need none", name, decoder)
	}
}

// files checks what one file imports of ours.
func (c *checker) files(pkg string, f source) {
	for _, i := range f.ast.Imports {
		of, ours := strings.CutPrefix(importPath(i), c.module+"/")
		if !ours {
			continue
		}
		allowed := in(c.imports[pkg], of) || f.test && (in(c.inTests[pkg], of) || of == pkg)
		if !allowed {
			c.addf("%s: imports %s, which %s may not", f.name, of, pkg)
		}
		if i.Name != nil && i.Name.Name != "_" {
			c.addf("%s: imports %s under another name", f.name, of)
		}
	}
}

// opens reports whether the file's package comment begins with a sentence that
// names the package (or, for a command, says anything).
func opens(f source) bool {
	text := strings.TrimSpace(f.ast.Doc.Text())
	if f.ast.Name.Name != "main" && !strings.HasPrefix(text, "Package "+f.ast.Name.Name+" ") {
		return false
	}
	return strings.Contains(text, ".")
}

// fuzzes reports whether the file has a fuzz target.
func fuzzes(f source) bool {
	return slices.ContainsFunc(f.ast.Decls, func(d ast.Decl) bool {
		fn, ok := d.(*ast.FuncDecl)
		return ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Fuzz") && len(testingParams(fn.Type)) == 1
	})
}

// purity reports clocks, goroutines and whatever else reaches out of f.
func (c *checker) purity(f source) {
	for _, i := range f.ast.Imports {
		if p := importPath(i); slices.Contains(impure, p) {
			c.addf("%s: a pure package imports %s", f.name, p)
		}
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			c.addf("%s: a pure package starts a goroutine", f.name)
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clock, n.Sel.Name) {
				c.addf("%s: a pure package calls time.%s", f.name, n.Sel.Name)
			}
		}
		return true
	})
}

// skipping checks the reasons that f gives for skipping a test.
func (c *checker) skipping(f source) {
	params := map[string]bool{}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if t, ok := n.(*ast.FuncType); ok {
			for _, p := range testingParams(t) {
				params[p] = true
			}
		}
		return true
	})
	ast.Inspect(f.ast, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || !slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, sel.Sel.Name) {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); !ok || !params[x.Name] {
			return true
		}
		reason := ""
		if len(call.Args) > 0 {
			if lit, ok := call.Args[0].(*ast.BasicLit); ok {
				reason, _ = strconv.Unquote(lit.Value)
			}
		}
		if !slices.ContainsFunc(c.skips, func(p string) bool { return strings.HasPrefix(reason, p) }) {
			c.addf("%s: skips a test for a reason that is not in the list: %q", f.name, reason)
		}
		return true
	})
}

// testingParams returns the names of t's parameters of type *testing.T and kin.
func testingParams(t *ast.FuncType) []string {
	var names []string
	for _, p := range t.Params.List {
		typ := p.Type
		if star, ok := typ.(*ast.StarExpr); ok {
			typ = star.X
		}
		sel, ok := typ.(*ast.SelectorExpr)
		if !ok || !slices.Contains([]string{"T", "B", "F", "TB"}, sel.Sel.Name) {
			continue
		}
		if x, ok := sel.X.(*ast.Ident); ok && x.Name == "testing" {
			for _, n := range p.Names {
				names = append(names, n.Name)
			}
		}
	}
	return names
}

func importPath(i *ast.ImportSpec) string {
	p, _ := strconv.Unquote(i.Path.Value)
	return p
}

func in(list, name string) bool { return slices.Contains(strings.Fields(list), name) }
