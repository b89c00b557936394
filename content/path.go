package content

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of a path. Windows' classic limit for a whole path is 260 UTF-16 units:
// 240 leave room for "C:\data\". Linux and macOS file systems hold names of 255 bytes.
const (
	MaxPath    = 240 // UTF-16 units of a path
	MaxSegment = 255 // bytes of one name in it
)

// forbidden are the characters with a meaning of their own in Windows' paths
// and patterns: drive or stream (:), separator (\), wildcards and redirections.
const forbidden = `<>:"\|?*`

// CheckPath reports whether p may stand in a manifest: a relative path with
// forward slashes that names the same thing on every system and can't lead out
// of the folder it is written to. The rules are the same everywhere, so that
// what one node publishes every other can write:
//
//   - valid UTF-8 in Unicode's composed form (NFC), at most MaxPath long, made of
//     names of at most MaxSegment bytes joined by "/"; "." alone is the root folder
//   - no name that is empty, ".", "..", or ends in a dot or a space
//   - graphic characters only (letters, marks, numbers, punctuation, symbols,
//     spaces): no control or formatting character, nothing invisible that turns
//     the direction of text or that some file systems ignore; none of <>:"\|?*
//   - no name that Windows gives to a device (CON, LPT1.txt, COM¹, CONIN$, ...)
//     or may give as short name to another file (SETUP~1.EXE)
//
// The error wraps ErrPath and says which rule p breaks and what to do.
func CheckPath(p string) error {
	return new(normalizer).checkPath(p)
}

func (n *normalizer) checkPath(p string) error {
	if p == "." {
		return nil
	}
	rule := n.brokenRule(p)
	if rule == "" {
		return nil
	}
	if len(p) > 4*MaxPath {
		p = p[:4*MaxPath] + "..." // a log line is no place for a megabyte
	}
	return fmt.Errorf("%w: %+q %s", ErrPath, p, rule)
}

// brokenRule names the first rule that p breaks, and the way out of it.
func (n *normalizer) brokenRule(p string) string {
	// Four bytes of UTF-8 for two UTF-16 units, three for one: no longer path
	// can pass, and nothing below runs over more than this.
	if len(p) > 3*MaxPath {
		return tooLong
	}
	if !utf8.ValidString(p) {
		return "is not valid UTF-8: rename it"
	}
	units := 0
	for _, r := range p {
		units++
		if r > 0xffff {
			units++
		}
		switch {
		case !unicode.IsGraphic(r):
			return fmt.Sprintf("has the control, formatting or unassigned character %U: rename it", r)
		case strings.ContainsRune(forbidden, r):
			return fmt.Sprintf("has the character %q, which Windows has other uses for: rename it", r)
		}
	}
	if units > MaxPath {
		return tooLong
	}
	if !n.composed(p) {
		return "is not in Unicode's composed form (NFC), so that two names would look the same: rename it"
	}
	for name := range strings.SplitSeq(p, "/") {
		if rule := brokenNameRule(name); rule != "" {
			return rule
		}
	}
	return ""
}

const tooLong = "is longer than 240 characters: shorten it"

// brokenNameRule names the first rule that one name of a path breaks.
func brokenNameRule(name string) string {
	switch {
	case name == "":
		return "is absolute, empty, or has an empty part: give a relative path"
	case name == "." || name == "..":
		return `has a part "." or "..": give a relative path without them`
	case len(name) > MaxSegment:
		return "has a name of more than 255 bytes: shorten it"
	case strings.HasSuffix(name, ".") || strings.HasSuffix(name, " "):
		return "has a name that ends in a dot or a space, which Windows drops: rename it"
	case device(name):
		return "has a name that is a device on Windows: rename it"
	case shortName(name):
		return "has a name that may be the short name of another file on Windows: rename it"
	}
	return ""
}

// device reports whether Windows takes name for a device. It does so whatever
// the case and extension, and skips spaces before the extension. See
// https://learn.microsoft.com/windows/win32/fileio/naming-a-file; COM0, LPT0 and
// CLOCK$ are devices only to some versions.
func device(name string) bool {
	base, _, _ := strings.Cut(name, ".")
	base = strings.TrimRight(base, " ")
	for _, d := range [...]string{"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"} {
		if strings.EqualFold(base, d) {
			return true
		}
	}
	if len(base) < len("COM1") {
		return false
	}
	kind, port := base[:3], base[3:]
	return (strings.EqualFold(kind, "COM") || strings.EqualFold(kind, "LPT")) &&
		utf8.RuneCountInString(port) == 1 && strings.ContainsAny(port, "0123456789¹²³")
}

// shortName reports whether name has the form that NTFS and FAT give to aliases
// of long names: at most eight characters ending in "~" and digits, then an
// extension of at most three. Written after the long name that it is the alias
// of, such a file would replace it.
func shortName(name string) bool {
	base, ext, _ := strings.Cut(name, ".")
	if len(base) > 8 || len(ext) > 3 {
		return false
	}
	stem := strings.TrimRight(base, "0123456789")
	return len(stem) < len(base) && strings.HasSuffix(stem, "~")
}

// ComparePaths orders paths as a walk meets them that goes through the names of
// a folder by their bytes and into each folder at once: "a", "a/b", "a.txt".
// That is the order of bytes, were "/" the smallest.
func ComparePaths(a, b string) int {
	for i := range min(len(a), len(b)) {
		x, y := a[i], b[i]
		switch {
		case x == y:
		case x == '/':
			return -1
		case y == '/':
			return +1
		case x < y:
			return -1
		default:
			return +1
		}
	}
	return len(a) - len(b)
}
