package content

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// goodPaths are names that people have, and that every system can write.
var goodPaths = []string{
	".", "a", "a/b/c", "setup.exe", "README", ".profile", ".config/x", "...a", "a..b", "..a",
	"Größe.txt", "日本語/ファイル.txt", "Ελληνικά", "עברית", "العربية", "हिन्दी", "emoji 😀.png",
	"heart ❤\ufe0f", "two  spaces", " leading space", "no-break\u00a0space", "Screenshot at 3.45.12\u202fPM.png",
	"(1) copy [2] {3} 'x' & y; $z #1 @home %20 ^ + = , ! ~", "`tick`", "con1", "console", "acon", "CONS", "COM10", "COMX",
	"LPT", "com", "aux1", "nul0", "prnt.txt", "CONIN", "conin$x", "file~1.config", "report~", "~1x", "~", "~lock.report.odt#",
	"longername~1.txt", "node_modules/@types/node/index.d.ts", strings.Repeat("n", 240), strings.Repeat("d/", 119) + "f",
	strings.Repeat("語", 85), strings.Repeat("😀", 60) + "/" + strings.Repeat("😀", 59),
}

func TestCheckPathTakesWhatPeopleHave(t *testing.T) {
	for _, p := range goodPaths {
		if err := CheckPath(p); err != nil {
			t.Error(err)
		}
	}
}

// hostilePaths are names that lead out of a folder, mean something else on some
// system, or can't be told from another name. G17 wants 500 or more.
func hostilePaths() []string {
	all := []string{
		"", "/", "//", "///", "a/", "/a", "a//b", "./a", "a/.", "a/./b", "..", "../", "../a", "a/..", "a/../b", "a/../../b",
		"a/b/../../..", "....//", ". /a", ".. /a", "../ ", ".. ", ". ", " .", "...", "a/...", "a....", "a /b", "a./b",
		`\`, `\a`, `a\b`, `..\a`, `a\..\b`, `\\server\share`, `\\?\C:\a`, `\\.\PhysicalDrive0`, `\??\C:\a`, `\\server\share\..\x`,
		"//server/share", "//?/C:/a", "//./COM1", "C:", "C:a", "C:/a", `C:\a`, "c:..", "Z:/", "a:b", "a:$DATA", "a::$DATA",
		"a.txt::$INDEX_ALLOCATION", "a:stream:$DATA", ":a", "a:", "file:///etc/passwd", "http://a/b",
		"a\x00", "a\x00b", "\x00", "a\nb", "a\rb", "a\tb", "\x1b[2J", "a\x7f", "a\u0080", "a\u009f", "a\u0085b",
		"a\xff", "\xc0\xae\xc0\xae/a", "a\xed\xa0\x80", "\xe2\x80", "a\xf4\x90\x80\x80", "\xc0\xaf",
		"a\u202eexe.txt", "\u202aa", "a\u2066b", "\u200ea", "a\u200f", "\u061ca", "a\u200bb", "a\u200cb", "a\u200db", "\ufeffa",
		"a\u2060", "a\u00adb", "a\u2028b", "a\u2029b", "a\ue000", "a\ufdd0", "a\uffff", "a\U000e0001", "a\U000f0000", "a\U0010ffff",
		"e\u0301", "A\u030a", "\u212b", "\u2126", "\u212a", "\u1100\u1161", "a\u0323\u0307\u0301x\u0307\u0323", "\u0344", "\uf900", "\u2000",
		strings.Repeat("a", 241), strings.Repeat("a/", 120) + "a", strings.Repeat("😀", 121), strings.Repeat("語", 86),
		strings.Repeat("a", 1<<20), strings.Repeat("é", 128), strings.Repeat("../", 50), strings.Repeat("a/", 1<<16),
		"SETUP~1.EXE", "PROGRA~1", "a/GIT~1", "ab~12.x", "A~1", "~1", "~1.txt", "abcdef~1.htm", "git~1/config",
	}
	for _, c := range `<>:"\|?*` {
		for _, form := range []string{"%c", "a%c", "%ca", "a%cb", "a/%c", "%c/a", "a/b%cc/d"} {
			all = append(all, fmt.Sprintf(form, c))
		}
	}
	for c := rune(0); c < 0x20; c++ {
		all = append(all, fmt.Sprintf("a%cb", c), string(c), "a/"+string(c))
	}
	devices := []string{"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"}
	for _, n := range "0123456789¹²³" {
		devices = append(devices, "COM"+string(n), "LPT"+string(n))
	}
	for _, d := range devices {
		mixed := strings.ToLower(d[:1]) + d[1:]
		for _, name := range []string{d, strings.ToLower(d), mixed, d + ".txt", d + ".tar.gz", d + " .txt", d + "   .x", mixed + ".a b"} {
			all = append(all, name, "a/"+name, name+"/a")
		}
	}
	for _, p := range goodPaths[1:20] {
		all = append(all, "../"+p, p+"/..", "/"+p, p+"/", p+".", p+" ", p+"\x00", `..\`+p, "C:"+p, p+":x", p+"\u202e")
	}
	return all
}

func TestCheckPathRefusesHostileNames(t *testing.T) {
	all := hostilePaths()
	for _, p := range all {
		err := CheckPath(p)
		if !errors.Is(err, ErrPath) {
			t.Errorf("%.100q: %v, want ErrPath", p, err)
			continue
		}
		text := err.Error()
		if len(text) > 8*4*MaxPath || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' && r != '…' }) {
			t.Errorf("%.100q: the error isn't plain text: %.200q", p, text)
		}
	}
	slices.Sort(all)
	if n := len(slices.Compact(all)); n < 500 {
		t.Errorf("only %d names", n)
	} else {
		t.Logf("%d names", n)
	}
}

func TestCollisions(t *testing.T) {
	file := func(p string) File { return File{Path: p} }
	for _, c := range []struct {
		a, b    string
		collide bool
	}{
		{"a", "A", true}, {"a", "b", false}, {"dir/File", "dir/fILE", true}, {"ä", "Ä", true}, {"ﬁ", "fi", true},
		{"straße", "STRASSE", true}, {"ς", "Σ", true}, {"ǰ", "J\u030c", true}, {"ΐ", "Ι\u0308\u0301", true},
		{"\u1fb4", "\u0386\u0399", true}, // ᾴ: where folding needs decomposed text
		{"x\ufe0f", "x", true}, {"\u3164x", "x", true}, {"\u034fx", "X", true},
		{"Ⅷ", "ⅷ", true}, {"Ａ", "ａ", true}, {"Ａ", "A", false}, {"ı", "i", false}, {"é", "e", false}, {"Ꭰ", "ꭰ", true},
	} {
		var n normalizer
		err := n.checkCollisions([]File{file("before"), file(c.a), file("between"), file(c.b)})
		if c.collide != errors.Is(err, ErrPath) {
			t.Errorf("%q and %q: %v", c.a, c.b, err)
		}
	}
}

func TestPathsAreInOrderOfAWalk(t *testing.T) {
	want := []string{"a", "a/b", "a/b/c", "a/c", "a!", "a.txt", "a0", "b", "é"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, ComparePaths)
	if !slices.Equal(got, want) {
		t.Errorf("sorted: %q", got)
	}
}

func FuzzCheckPath(f *testing.F) {
	for _, p := range goodPaths {
		f.Add(p)
	}
	for i, p := range hostilePaths() {
		if i%10 == 0 && len(p) < 1000 {
			f.Add(p)
		}
	}
	f.Fuzz(func(t *testing.T, p string) {
		var n normalizer
		err := n.checkPath(p)
		if allocs := allocated(func() { _ = new(normalizer).checkPath(p) }); allocs > 4*uint64(len(p))+64<<10 {
			t.Errorf("%d bytes allocated for %d", allocs, len(p))
		}
		n.fold(strings.ToValidUTF8(p, "?"))
		if err != nil {
			if !errors.Is(err, ErrPath) {
				t.Errorf("%q: %v", p, err)
			}
			return
		}
		// What a taken path can't be, checked by other means.
		switch {
		case !utf8.ValidString(p), !norm.NFC.IsNormalString(p), strings.ContainsAny(p, `\:*?"<>|`):
			t.Errorf("took %q", p)
		case p != "." && !filepath.IsLocal(p), strings.ContainsFunc(p, unicode.IsControl):
			t.Errorf("took %q", p)
		}
		for name := range strings.SplitSeq(p, "/") {
			if name == "" || name == ".." || p != "." && strings.TrimRight(name, ". ") != name {
				t.Errorf("took %q", p)
			}
		}
		// A path is in collision with itself, whatever its letters.
		if err := n.checkCollisions([]File{{Path: p}, {Path: p}}); err == nil {
			t.Errorf("%q does not collide with itself", p)
		}
	})
}
