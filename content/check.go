package content

import (
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Check reports the first rule that m breaks: what Encode refuses to write, and
// Decode to take. The error wraps ErrPath if it is about a name, else ErrFormat.
func (m *Manifest) Check() error {
	if m.Type != "" {
		if err := checkType(m.Type); err != nil {
			return err
		}
	}
	if err := checkLabels(m.Labels); err != nil {
		return err
	}
	if err := m.checkFiles(); err != nil {
		return err
	}
	if err := m.checkChunks(); err != nil {
		return err
	}
	return m.checkOrigins()
}

func (m *Manifest) checkFiles() error {
	if len(m.Files) == 0 || len(m.Files) > MaxFiles {
		return fmt.Errorf("%w: %d files (want 1 to %d)", ErrFormat, len(m.Files), MaxFiles)
	}
	switch first := m.Files[0]; {
	case m.Single() && (first.Path == "." || strings.Contains(first.Path, "/")):
		return fmt.Errorf("%w: %+q can't name a single file, which is in no folder", ErrPath, first.Path)
	case !m.Single() && (first.Path != "." || !first.Mode.IsDir()):
		return fmt.Errorf("%w: a tree begins with its folder \".\", not with %+q", ErrPath, first.Path)
	}
	var norm normalizer
	var size int64
	for i, f := range m.Files {
		if err := norm.checkPath(f.Path); err != nil {
			return err
		}
		if err := checkFile(f); err != nil {
			return err
		}
		if i > 0 {
			if err := checkPlace(f.Path, m.Files[i-1]); err != nil {
				return err
			}
		}
		if size += f.Size; size > MaxSize {
			return fmt.Errorf("%w: the files have more than %d bytes", ErrFormat, int64(MaxSize))
		}
	}
	return norm.checkCollisions(m.Files)
}

// checkFile checks what can be told of a file by itself, its path apart.
func checkFile(f File) error {
	switch {
	case f.Mode&^(fs.ModePerm|fs.ModeDir) != 0:
		return fmt.Errorf("%w: %+q is neither a plain file nor a folder (%v)", ErrFormat, f.Path, f.Mode)
	case f.Size < 0 || f.Size > MaxSize || f.Mode.IsDir() && f.Size != 0:
		return fmt.Errorf("%w: %+q can't have %d bytes", ErrFormat, f.Path, f.Size)
	case !f.ModTime.Equal(time.Unix(0, f.ModTime.UnixNano())):
		return fmt.Errorf("%w: %+q was modified in the year %d (want 1678 to 2262)", ErrFormat, f.Path, f.ModTime.Year())
	}
	return nil
}

// checkPlace checks that p may follow prev in a tree: in order, and in a folder
// that was listed. It needs to look at prev only: in this order whatever is
// between a folder and p is in that folder too, or prev is the folder.
func checkPlace(p string, prev File) error {
	if prev.Path != "." && ComparePaths(prev.Path, p) >= 0 || p == "." {
		return fmt.Errorf("%w: %+q is doubled or out of order after %+q", ErrPath, p, prev.Path)
	}
	folder := path.Dir(p)
	switch {
	case folder == ".":
	case folder == prev.Path && prev.Mode.IsDir():
	case strings.HasPrefix(prev.Path, folder+"/"):
	default:
		return fmt.Errorf("%w: the folder of %+q is not listed before it", ErrPath, p)
	}
	return nil
}

func (m *Manifest) checkChunks() error {
	var sum int64
	for i, c := range m.Chunks {
		if c.Size == 0 || c.Size > MaxChunk {
			return fmt.Errorf("%w: chunk %d can't have %d bytes", ErrFormat, i, c.Size)
		}
		sum += int64(c.Size) // can't overflow: 2^24 times what fits in memory
	}
	if size := m.Size(); sum != size {
		return fmt.Errorf("%w: chunks of %d bytes for files of %d", ErrFormat, sum, size)
	}
	return nil
}

func (m *Manifest) checkOrigins() error {
	if len(m.Origins) > MaxOrigins {
		return fmt.Errorf("%w: %d origins are over the limit of %d", ErrFormat, len(m.Origins), MaxOrigins)
	}
	for _, o := range m.Origins {
		if o.File < 0 || o.File >= len(m.Files) || m.Files[o.File].Mode.IsDir() {
			return fmt.Errorf("%w: an origin is of file %d, which is none", ErrFormat, o.File)
		}
		if err := CheckURL(o.URL); err != nil {
			return err
		}
	}
	return nil
}

// CheckURL reports whether address may be that of an Origin: http or https, with
// a host, without user, password and fragment, at most MaxURL bytes. The error
// wraps ErrFormat.
func CheckURL(address string) error {
	if len(address) > MaxURL {
		return fmt.Errorf("%w: the address of an origin has %d bytes, over the limit of %d", ErrFormat, len(address), MaxURL)
	}
	u, err := url.Parse(address)
	if err != nil {
		return fmt.Errorf("%w: origin: %v", ErrFormat, err)
	}
	// A manifest goes to every endpoint: no place for a password.
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return fmt.Errorf("%w: origin %q is not an http or https address without user and fragment", ErrFormat, u.Redacted())
	}
	return nil
}

func checkType(t string) error {
	if len(t) > MaxType || strings.Trim(t, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || strings.HasPrefix(t, "-") || t == "" {
		return fmt.Errorf("%w: content type %+.80q (want up to %d of a-z 0-9 -)", ErrFormat, t, MaxType)
	}
	return nil
}

func checkLabels(labels map[string]string) error {
	if len(labels) > MaxLabels {
		return fmt.Errorf("%w: %d labels are over the limit of %d", ErrFormat, len(labels), MaxLabels)
	}
	for _, key := range slices.Sorted(maps.Keys(labels)) { // the same error each time
		if !word(key, MaxLabel, "._/-") {
			return fmt.Errorf("%w: label %+.80q (want up to %d of a-z A-Z 0-9 . _ / - , first a letter or digit)", ErrFormat, key, MaxLabel)
		}
		value := labels[key]
		hidden := func(r rune) bool { return !unicode.IsGraphic(r) }
		if len(value) > MaxValue || !utf8.ValidString(value) || strings.ContainsFunc(value, hidden) {
			return fmt.Errorf("%w: the value of label %q (want up to %d bytes of visible text)", ErrFormat, key, MaxValue)
		}
	}
	return nil
}

// word reports whether s is 1 to limit ASCII letters, digits and extra
// characters, and starts with a letter or digit.
func word(s string, limit int, extra string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case i == 0 || strings.IndexByte(extra, c) < 0:
			return false
		}
	}
	return 0 < len(s) && len(s) <= limit
}
