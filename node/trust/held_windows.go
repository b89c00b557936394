package trust

import (
	"errors"

	"golang.org/x/sys/windows"
)

// heldOpen reports whether a rename failed because someone has the file open.
func heldOpen(err error) bool {
	return errors.Is(err, windows.ERROR_ACCESS_DENIED) || errors.Is(err, windows.ERROR_SHARING_VIOLATION) || errors.Is(err, windows.ERROR_LOCK_VIOLATION)
}
