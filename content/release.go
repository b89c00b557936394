package content

import (
	"fmt"
	"time"
)

// A Release is a publisher's statement that a content is version Version of
// name Name. It is signed and carried in an envelope (node/trust); this is what
// the envelope holds.
type Release struct {
	Content ID
	Name    string // 1 to 128 of a-z A-Z 0-9 . _ - , starting with a letter or digit
	Version string // 1 to 64 of the same characters and '+' ; no order is read into it
	Type    string // content type, as in the manifest
	// Sequence orders the releases of a name, from 1. It never goes back: a node
	// that has seen n takes nothing below n for the newest, and two contents with
	// the same n are refused as a publisher's mistake or a theft of its key.
	Sequence  uint64
	Published time.Time // UTC, to the second
}

// Limits of a release.
const (
	MaxName    = 128     // bytes of a name
	MaxVersion = 64      // bytes of a version
	MaxRelease = 1 << 10 // bytes of the encoding: more than the longest has
)

// maxSequence leaves room below 2^63 for systems that count with a sign.
const maxSequence = 1<<63 - 1

// maxPublished is the last second of the year 9999, where RFC 3339 ends.
const maxPublished = 253402300799

// A release's encoding is a map of "v" and these keys, with "type" left out when
// empty; "published" is in seconds since 1970.
var releaseKeys = []string{"name", "type", "content", "version", "sequence", "published"}

// CheckName reports whether name may name releases; the error wraps ErrFormat.
func CheckName(name string) error {
	if !word(name, MaxName, "._-") {
		return fmt.Errorf("%w: name %+.200q (want 1 to %d of a-z A-Z 0-9 . _ - , first a letter or digit)", ErrFormat, name, MaxName)
	}
	return nil
}

// CheckVersion reports whether v may be the version of a release; the error
// wraps ErrFormat.
func CheckVersion(v string) error {
	if !word(v, MaxVersion, "._-+") {
		return fmt.Errorf("%w: version %+.200q (want 1 to %d of a-z A-Z 0-9 . _ - + , first a letter or digit)", ErrFormat, v, MaxVersion)
	}
	return nil
}

// Check reports the first rule that r breaks; the error wraps ErrFormat.
func (r Release) Check() error {
	if err := CheckName(r.Name); err != nil {
		return err
	}
	if err := CheckVersion(r.Version); err != nil {
		return err
	}
	if r.Type != "" {
		if err := checkType(r.Type); err != nil {
			return err
		}
	}
	switch at := r.Published.Unix(); {
	case r.Content == ID{}:
		return fmt.Errorf("%w: a release of no content", ErrFormat)
	case r.Sequence == 0 || r.Sequence > maxSequence:
		return fmt.Errorf("%w: sequence %d (want 1 to %d)", ErrFormat, r.Sequence, uint64(maxSequence))
	case at < 0 || at > maxPublished || r.Published.Nanosecond() != 0:
		return fmt.Errorf("%w: published %v (want whole seconds from 1970 to 9999)", ErrFormat, r.Published)
	}
	return nil
}

// Encode checks r and returns its one encoding.
func (r Release) Encode() ([]byte, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	keys := 1 + len(releaseKeys)
	if r.Type == "" {
		keys--
	}
	b := appendHead(nil, majorMap, uint64(keys))
	b = appendHead(appendText(b, "v"), majorUint, version)
	b = appendText(appendText(b, "name"), r.Name)
	if r.Type != "" {
		b = appendText(appendText(b, "type"), r.Type)
	}
	b = appendBytes(appendText(b, "content"), r.Content[:])
	b = appendText(appendText(b, "version"), r.Version)
	b = appendHead(appendText(b, "sequence"), majorUint, r.Sequence)
	b = appendHead(appendText(b, "published"), majorUint, uint64(r.Published.Unix()))
	return b, nil
}

// DecodeRelease returns the release that b holds. It takes what Encode writes
// and nothing else; the error wraps ErrFormat. Whether the publisher may say so
// is for the envelope's verifier.
func DecodeRelease(b []byte) (Release, error) {
	if len(b) > MaxRelease {
		return Release{}, fmt.Errorf("%w: a release of %d bytes is over the limit of %d", ErrFormat, len(b), MaxRelease)
	}
	var rel Release
	var published uint64
	seen := 0
	r := newReader(b)
	r.fields(releaseKeys, func(key string) {
		seen++
		switch key {
		case "name":
			rel.Name = r.text(MaxName)
		case "type":
			seen-- // may be missing
			if rel.Type = r.text(MaxType); rel.Type == "" {
				r.fail("an empty type")
			}
		case "content":
			rel.Content = ID(r.hash())
		case "version":
			rel.Version = r.text(MaxVersion)
		case "sequence":
			rel.Sequence = r.number(maxSequence)
		case "published":
			published = r.number(maxPublished)
		}
	})
	if r.err == nil && seen != len(releaseKeys)-1 {
		r.fail("a key is missing")
	}
	if err := r.end(); err != nil {
		return Release{}, fmt.Errorf("decode release: %w", err)
	}
	rel.Published = time.Unix(int64(published), 0).UTC()
	if err := rel.Check(); err != nil {
		return Release{}, fmt.Errorf("decode release: %w", err)
	}
	return rel, nil
}

// NameKey returns the key under which holders of releases of name are found in
// the enterprise's DHT.
func NameKey(name string) Hash { return Sum([]byte("p2pnode name\x00" + name)) }
