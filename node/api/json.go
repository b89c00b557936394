package api

import (
	"encoding/json"
	"fmt"
)

// Schema is the version of all answers. It changes only if a field changes its
// meaning or goes; a field that comes doesn't change it.
const Schema = 1

// A List is an answer of several.
type List[T any] struct {
	Items Many[T] `json:"items"`
}

// Many is a slice that is [] on the wire when it is empty, never null.
type Many[T any] []T

// MarshalJSON implements json.Marshaler.
func (m Many[T]) MarshalJSON() ([]byte, error) {
	if m == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]T(m))
}

// A LineKind says what a line of a long answer holds.
type LineKind string

// The kinds of lines.
const (
	StatusLine  LineKind = "status"
	SummaryLine LineKind = "summary"
	ErrorLine   LineKind = "error"
)

// Marshal returns v, which must become a JSON object, with the schema before its
// own fields: the form of every answer, on the wire and of --json.
func Marshal(v any) ([]byte, error) { return marshalObject(fmt.Sprintf(`{"schema":%d`, Schema), v) }

// MarshalLine returns v as a line of a long answer, newline included.
func MarshalLine(kind LineKind, v any) ([]byte, error) {
	b, err := marshalObject(fmt.Sprintf(`{"type":%q,"schema":%d`, kind, Schema), v)
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}

// marshalObject puts head, an object's opening brace and first fields, before
// the fields of v. So no type needs a field for what all have, and none can
// forget to fill it.
func marshalObject(head string, v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	if len(b) < 2 || b[0] != '{' {
		return nil, fmt.Errorf("encode %T: an answer is an object", v)
	}
	if len(b) == 2 {
		return append([]byte(head), '}'), nil
	}
	return append(append([]byte(head), ','), b[1:]...), nil
}
