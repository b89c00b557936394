// Package b runs.
package b

import (
	_ "encoding/json"

	w "example.org/bad/words"
)

func Run() { _ = w.Hash }
