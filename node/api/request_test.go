package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
)

// FuzzRequest holds the decoders of requests to their bounds: no panic, no more
// memory than four times the input and 64 KiB, and what was read reads the same
// once written.
func FuzzRequest(f *testing.F) {
	var labels strings.Builder
	for i := range maxMembers - 1 {
		fmt.Fprintf(&labels, `"%x":"",`, i)
	}
	for _, s := range []string{
		`{"labels":{` + strings.TrimSuffix(labels.String(), ",") + `}}`,
		`{"paths":["/a","/b"],"name":"n","labels":{"k":"v"}}`,
		`{"ref":"n@1","output":"/x","overwrite":true,"timeout_seconds":1.5}`,
		`{"site":"b","uses":2,"expires_seconds":86400}`,
		`{"reason":"lost"}`,
		`{"paths":[` + strings.Repeat(`"",`, maxValues-2) + `""]}`,
		`{"paths":[` + strings.Repeat(`"",`, maxValues) + `""]}`,
		strings.Repeat("[", 10_000),
		`{"timeout_seconds":1e999}`,
		`{"expires_seconds":-9223372036.854776}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		again[AddRequest](t, body)
		again[GetRequest](t, body)
		again[InviteRequest](t, body)
		again[RevokeRequest](t, body)
	})
}

func again[T any](t *testing.T, body []byte) {
	t.Helper()
	first, err := readBytes[T](t, body)
	if err != nil {
		return
	}
	b, err := json.Marshal(first)
	if err != nil {
		t.Fatalf("write %+v: %v", first, err)
	}
	if !bounded(b) { // what wasn't set was left out, and is written now
		return
	}
	second, err := readBytes[T](t, b)
	if err != nil {
		t.Fatalf("read %s again: %v", b, err)
	}
	b2, err := json.Marshal(second)
	if err != nil || !bytes.Equal(b, b2) {
		t.Errorf("%s became %s (%v)", b, b2, err)
	}
}

func readBytes[T any](t *testing.T, body []byte) (T, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "POST", "/", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	req, err := read[T](r)
	runtime.ReadMemStats(&after)
	if got, limit := after.TotalAlloc-before.TotalAlloc, uint64(4*len(body)+64<<10); got > limit {
		t.Errorf("%d bytes made it allocate %d, limit %d", len(body), got, limit)
	}
	return req, err
}

func TestRequestsAreBoundedInShape(t *testing.T) {
	for body, want := range map[string]bool{
		`{"paths":["/a,,,","/b"]}`:                                         true,
		`{"reason":"` + strings.Repeat(`,[{\"`, 2*maxValues) + `"}`:        true, // inside a string
		`{"paths":[` + strings.Repeat(`"",`, maxValues) + `""]}`:           false,
		`{"labels":{` + strings.Repeat(`"a":"",`, maxMembers) + `"b":""}}`: false,
		`[[[[[`: false,
	} {
		if got := bounded([]byte(body)); got != want {
			t.Errorf("%.40s: %v", body, got)
		}
	}
}

func TestEmptyListIsNotNull(t *testing.T) {
	b, err := Marshal(List[Peer]{})
	if err != nil || string(b) != `{"schema":1,"items":[]}` {
		t.Errorf("%s %v", b, err)
	}
}
