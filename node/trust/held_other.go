//go:build !windows

package trust

// heldOpen reports whether a rename failed because someone has the file open:
// only Windows minds.
func heldOpen(error) bool { return false }
