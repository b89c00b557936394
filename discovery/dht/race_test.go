//go:build race

package dht

// The race detector makes everything several times slower.
const raced = true
