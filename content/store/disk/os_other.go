//go:build !linux && !darwin && !windows

package disk

import "os"

func syncData(f *os.File) error { return f.Sync() }

func blockSize(string) int64 { return usualBlock }

// Clone isn't known of this system.
func Clone(_, _ *os.File) error { return ErrNoClone }

// CloneTo isn't known of this system.
func CloneTo(string, *os.File) error { return ErrNoClone }

// Forget does nothing.
func Forget(*os.File, int64, int64) {}

// WriteOut does nothing.
func WriteOut(*os.File, int64, int64, bool) error { return nil }

// InMemory returns 0: that can't be told.
func InMemory(*os.File, int64) int64 { return 0 }

// Prefetch does nothing.
func Prefetch(*os.File, int64, int64) {}

// Expect does nothing.
func Expect(*os.File) {}
