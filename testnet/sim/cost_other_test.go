//go:build !linux

package sim

// A use is what this process took of the machine; it is measured on Linux only.
type use struct{}

func used() use { return use{} }

func filesOf(string) string { return "counted on Linux only" }

func (use) since(use, int) string { return "measured on Linux only" }
