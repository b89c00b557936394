package meter

// A Reading is a value that this machine may not be able to tell. The zero
// Reading is absent.
type Reading[T any] struct {
	value T
	how   string
}

// Read returns a value that was read, and how: a file, a system call, a program.
func Read[T any](value T, how string) Reading[T] { return Reading[T]{value, how} }

// Value returns the value, and whether there is one.
func (r Reading[T]) Value() (T, bool) { return r.value, r.how != "" }

// How tells where the value is from, "" if there is none.
func (r Reading[T]) How() string { return r.how }
