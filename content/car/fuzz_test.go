package car_test

import (
	"bytes"
	"io"
	"runtime"
	"testing"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/car"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// anything takes whatever it is given: what the reader let through.
type anything struct{}

func (anything) SetBlocks(int, []byte) error               { return nil }
func (anything) WriteBlock(int, int, []byte) (bool, error) { return true, nil }

// Whatever a file has in it, reading it allocates in proportion to its bytes, and
// what is taken would be written the same.
func FuzzRead(f *testing.F) {
	f.Add(write(f, storetest.File(f, 1, 6_000, storetest.Small), envelopes))
	f.Add(write(f, storetest.File(f, 1, 0, storetest.Small), nil))
	f.Add(write(f, storetest.Tree(f, 1), nil)[:2_000])
	f.Fuzz(func(t *testing.T, file []byte) {
		var err error
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err = read(bytes.NewReader(file), func(content.Encoded) car.Target { return anything{} })
		runtime.ReadMemStats(&after)
		// The buffers, and the manifest once as bytes and once decoded.
		if n, limit := after.TotalAlloc-before.TotalAlloc, 12*uint64(len(file))+256<<10; n > limit {
			t.Errorf("%d bytes allocated for %d of input", n, len(file))
		}
		if err != nil {
			if !hostile(err) {
				t.Errorf("%v", err)
			}
			return
		}
		in, err := car.NewReader(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		var again bytes.Buffer
		out, err := car.NewWriter(&again, in.Roots()...)
		for err == nil {
			c, data, e := in.Next()
			if e == io.EOF {
				break
			}
			if e != nil {
				t.Fatal(e)
			}
			err = out.Put(c, data)
		}
		if err != nil || out.Flush() != nil || !bytes.Equal(again.Bytes(), file) {
			t.Fatalf("taken, but not as it would be written (%v)", err)
		}
	})
}
