package scenario

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Sample writes a file of size bytes that no one can compress or find twice;
// the same seed gives the same bytes.
func Sample(path string, size int64, seed uint64) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("make sample: %w", err)
	}
	defer func() {
		if cerr := f.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("make sample: %w", cerr)
		}
	}()
	if _, err := io.CopyN(f, random(seed), size); err != nil {
		return fmt.Errorf("make sample: %w", err)
	}
	return nil
}

func random(seed uint64) io.Reader {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return rand.NewChaCha8(key)
}

// SampleTree makes a folder with files small files (0 to 8 KiB) in nested
// folders, with different modes and times.
func SampleTree(dir string, files int, seed uint64) error {
	r := rand.New(rand.NewPCG(seed, 0))
	bytes := random(seed)
	modes := []fs.FileMode{0o644, 0o755, 0o600, 0o444}
	day := time.Date(2024, 2, 29, 12, 0, 0, 123456789, time.UTC)
	for i := range files {
		sub := filepath.Join(dir, fmt.Sprintf("d%d", i%7), fmt.Sprintf("e%d", i%31))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return fmt.Errorf("make sample: %w", err)
		}
		text := make([]byte, r.IntN(8<<10+1))
		_, _ = io.ReadFull(bytes, text) // ChaCha8 never fails
		name := filepath.Join(sub, fmt.Sprintf("file %d é.bin", i))
		mode := modes[i%len(modes)]
		if err := os.WriteFile(name, text, 0o644); err != nil {
			return fmt.Errorf("make sample: %w", err)
		}
		if err := os.Chmod(name, mode); err != nil {
			return fmt.Errorf("make sample: %w", err)
		}
		when := day.Add(time.Duration(i) * time.Hour)
		if err := os.Chtimes(name, when, when); err != nil {
			return fmt.Errorf("make sample: %w", err)
		}
	}
	return nil
}

// Listing describes a file or tree, a line each: path, mode, time, digest. Two
// that are alike have equal listings. The top is called ".".
func Listing(top string) (string, error) {
	var b strings.Builder
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, path)
		if err != nil {
			return err
		}
		digest := "-"
		if !d.IsDir() {
			if digest, err = Digest(path); err != nil {
				return err
			}
		}
		_, err = fmt.Fprintf(&b, "%s %v %s %s\n", rel, info.Mode(), info.ModTime().UTC().Format(time.RFC3339Nano), digest)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("list %s: %w", top, err)
	}
	return b.String(), nil
}

// Digest returns the SHA-256 of a file, in hex.
func Digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("digest: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("digest: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
