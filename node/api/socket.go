package api

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

const (
	// dialTimeout bounds a connection attempt: the other end is this machine.
	dialTimeout = 2 * time.Second
	// hashChars of a data folder's hash tell it from the user's others.
	hashChars = 16
)

// errNobody says that no process listens where a node would.
var errNobody = errors.New("nobody listens")

// clean returns dataDir as server and client both name it, whatever the folder
// they were started in and the links that lead there.
func clean(dataDir string) (string, error) {
	dir, err := filepath.Abs(dataDir)
	if err != nil {
		return "", fmt.Errorf("data folder %s: %w", dataDir, err)
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	return dir, nil
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])[:hashChars]
}
