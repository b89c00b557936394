package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// writeSample writes a file of bytes that nothing can compress, the same for the
// same seed.
func writeSample(path string, size int64, seed byte) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, rand.NewChaCha8([32]byte{seed}), size)
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// digest returns a hash of the names and bytes of the file or tree at path. It
// knows nothing of blocks and manifests: it is there to check on them.
func digest(path string) (string, error) {
	sum := sha256.New()
	err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(path, p)
		if err != nil {
			return err
		}
		if d.IsDir() {
			fmt.Fprintf(sum, "folder %q\n", filepath.ToSlash(rel))
			return nil
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		file := sha256.New()
		n, err := io.Copy(file, f)
		fmt.Fprintf(sum, "file %q %d %x\n", filepath.ToSlash(rel), n, file.Sum(nil))
		return err
	})
	return hex.EncodeToString(sum.Sum(nil)), err
}
