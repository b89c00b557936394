package content

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func goldenRelease() Release {
	return Release{
		Content:   ID(Sum([]byte("a content"))),
		Name:      "branch-image",
		Version:   "2024.02+1",
		Type:      "os-image",
		Sequence:  7,
		Published: goldenTime.Truncate(time.Second),
	}
}

func TestGoldenRelease(t *testing.T) {
	want := golden(t, "release.hex")
	got, err := goldenRelease().Encode()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the format has changed: releases that were signed can't be read\n got %x\nwant %x", got, want)
	}
	r, err := DecodeRelease(want)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(goldenRelease(), r); diff != "" {
		t.Errorf("decoded release differs (-want +got):\n%s", diff)
	}
	const key = "bafkreidaxy4h7yvljp5mbmwgwqd27adea5sc36ldhrrs4sddxxcjrrvrw4"
	if got := NameKey("branch-image").Raw().String(); got != key {
		t.Errorf("the key of a name is %s, want %s", got, key)
	}
}

func TestReleaseRules(t *testing.T) {
	for name, c := range map[string]struct {
		change func(r *Release)
		ok     bool
	}{
		"as it is": {func(r *Release) {}, true},
		"no type":  {func(r *Release) { r.Type = "" }, true},
		"longest of all": {func(r *Release) {
			r.Name, r.Version, r.Type = strings.Repeat("n", MaxName), strings.Repeat("9", MaxVersion), strings.Repeat("t", MaxType)
		}, true},
		"highest sequence":     {func(r *Release) { r.Sequence = maxSequence }, true},
		"1970":                 {func(r *Release) { r.Published = time.Unix(0, 0).UTC() }, true},
		"no content":           {func(r *Release) { r.Content = ID{} }, false},
		"no name":              {func(r *Release) { r.Name = "" }, false},
		"a name too long":      {func(r *Release) { r.Name = strings.Repeat("n", MaxName+1) }, false},
		"a name with a slash":  {func(r *Release) { r.Name = "a/b" }, false},
		"a name with an @":     {func(r *Release) { r.Name = "a@b" }, false},
		"a name from a dot on": {func(r *Release) { r.Name = ".a" }, false},
		"a name in Cyrillic":   {func(r *Release) { r.Name = "а" }, false},
		"no version":           {func(r *Release) { r.Version = "" }, false},
		"a version too long":   {func(r *Release) { r.Version = strings.Repeat("1", MaxVersion+1) }, false},
		"a version with space": {func(r *Release) { r.Version = "1 2" }, false},
		"a bad type":           {func(r *Release) { r.Type = "OS" }, false},
		"no sequence":          {func(r *Release) { r.Sequence = 0 }, false},
		"a sequence over 2^63": {func(r *Release) { r.Sequence = maxSequence + 1 }, false},
		"1969":                 {func(r *Release) { r.Published = time.Unix(-1, 0) }, false},
		"the year 10000":       {func(r *Release) { r.Published = time.Unix(maxPublished+1, 0) }, false},
		"half a second":        {func(r *Release) { r.Published = time.Unix(1, 5e8) }, false},
	} {
		r := goldenRelease()
		c.change(&r)
		b, err := r.Encode()
		if c.ok {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			} else if got, err := DecodeRelease(b); err != nil || got != r {
				t.Errorf("%s: decoded %+v, %v", name, got, err)
			}
			if len(b) > MaxRelease {
				t.Errorf("%s: %d bytes", name, len(b))
			}
		} else if !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v, want ErrFormat", name, err)
		}
	}
}

// Every byte of a release counts: a change makes another release, or none.
func TestReleaseTamper(t *testing.T) {
	b, err := goldenRelease().Encode()
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		for x := 1; x < 256; x++ {
			b[i] ^= byte(x)
			if r, err := DecodeRelease(b); err == nil {
				if again, err := r.Encode(); err != nil || !bytes.Equal(again, b) || r == goldenRelease() {
					t.Fatalf("byte %d xor %#x: taken as %+v (%v)", i, x, r, err)
				}
			}
			b[i] ^= byte(x)
		}
	}
	for n := range b {
		if _, err := DecodeRelease(b[:n]); !errors.Is(err, ErrFormat) {
			t.Errorf("the first %d bytes: %v, want ErrFormat", n, err)
		}
	}
	if _, err := DecodeRelease(append(b, 0)); !errors.Is(err, ErrFormat) {
		t.Errorf("with a byte too many: %v, want ErrFormat", err)
	}
}
