package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"

	"github.com/p2pnode/p2pnode/content"
)

// Limits of what a request can make the server allocate beyond its own bytes.
const (
	maxDepth   = 4                      // braces and brackets within each other
	maxMembers = content.MaxLabels + 16 // of all objects: fields, and the labels of an add
	maxValues  = 1024                   // in all: the paths of an add, for the most part
)

// read decodes a request's body: one JSON object, with known fields only.
func read[T any](r *http.Request) (T, error) {
	var req T
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return req, Errorf(Usage, "", "the request's content type must be application/json")
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return req, Errorf(Usage, "", "read the request: %w", err)
	}
	if !bounded(body) {
		return req, Errorf(Usage, "Add a folder instead of its files", "the request has more than %d values, %d fields and labels, or %d levels", maxValues, maxMembers, maxDepth)
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&req); err != nil {
		return req, Errorf(Usage, "", "read the request: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return req, Errorf(Usage, "", "read the request: more than one object")
	}
	return req, nil
}

// bounded reports whether b, if it is JSON at all, keeps to the limits above.
// encoding/json has none, and three bytes of an empty string become sixteen in a
// slice, and more in a map.
func bounded(b []byte) bool {
	depth, members, values, quoted := 0, 0, 1, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		case c == ',':
			values++
		case c == ':':
			members++
		}
		if depth > maxDepth || members > maxMembers || values > maxValues {
			return false
		}
	}
	return true
}
