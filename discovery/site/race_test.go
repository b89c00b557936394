//go:build race

package site

// The race detector makes everything several times slower.
const raced = true
