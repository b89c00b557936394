//go:build race

package content

// The race detector makes small allocations larger.
const raced = true
