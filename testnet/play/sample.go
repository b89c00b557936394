package play

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"

	"github.com/p2pnode/p2pnode/testnet/scenario"
)

// Sample writes a file that nobody can compress. With changed, so many percent of it
// differ from the file of the same size and seed: a few ranges are overwritten, and a
// range is put in, behind which all is further on; what passes the end is cut off.
func Sample(path string, f File) error {
	if err := scenario.Sample(path, f.Size, f.Seed); err != nil || f.Changed == 0 {
		return err
	}
	if err := edit(path, f); err != nil {
		return fmt.Errorf("change sample: %w", err)
	}
	return nil
}

// overwrites is how many ranges are overwritten. A byte that changes costs the block
// that it is in, so many small ones would be another thing than 5 %.
const overwrites = 4

func edit(path string, f File) (err error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := file.Close(); err == nil {
			err = cerr
		}
	}()
	var seed [32]byte
	copy(seed[:], "edit")
	binary.LittleEndian.PutUint64(seed[8:], f.Seed)
	binary.LittleEndian.PutUint64(seed[16:], f.Edit)
	fresh := rand.NewChaCha8(seed)
	part := int64(float64(f.Size) * f.Changed / 100 / (overwrites + 1))
	if part == 0 {
		return nil
	}
	for i := range int64(overwrites) {
		// Each in its own fifth of the file, the first fifth being the insert's.
		at := f.Size / (overwrites + 1) * (i + 1)
		if _, err := io.CopyN(io.NewOffsetWriter(file, at), fresh, part); err != nil {
			return err
		}
	}
	return insert(file, f.Size/(overwrites+1)/2, part, f.Size, fresh)
}

// insert puts n fresh bytes in at a place, from the end on so that nothing that is yet
// to be moved is overwritten.
func insert(file *os.File, at, n, size int64, fresh io.Reader) error {
	buf := make([]byte, 1<<20)
	for end := size - n; end > at; {
		from := max(at, end-int64(len(buf)))
		b := buf[:end-from]
		if _, err := file.ReadAt(b, from); err != nil {
			return err
		}
		if _, err := file.WriteAt(b, from+n); err != nil {
			return err
		}
		end = from
	}
	_, err := io.CopyN(io.NewOffsetWriter(file, at), fresh, min(n, size-at))
	return err
}
