package trust

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/fxamacker/cbor/v2"
)

// Everything of ours that is signed, sent or kept is CBOR in core deterministic
// encoding (RFC 8949, section 4.2): one value has one encoding, and decode
// refuses all others.
var (
	encMode = must(cbor.CoreDetEncOptions().EncMode())
	decMode = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		MaxNestedLevels:   8,
		MaxArrayElements:  4096,
		MaxMapPairs:       32,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // fixed options, can't fail at run time
	}
	return v
}

func encode(v any) []byte { return must(encMode.Marshal(v)) }

// decode reads b, whole and canonical, into v.
func decode(b []byte, v any) error {
	if err := decMode.Unmarshal(b, v); err != nil {
		return err
	}
	if again, err := encMode.Marshal(v); err != nil || !bytes.Equal(again, b) {
		return fmt.Errorf("not in the deterministic encoding")
	}
	return nil
}

// A frame is a length of 4 bytes, big endian, and that many bytes.

func writeFrame(w io.Writer, b []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(b)), uint32(len(b))), b...))
	return err
}

// readFrame reads a frame of at most limit bytes. Memory grows with what
// arrived, not with what the length claims.
func readFrame(r io.Reader, limit int) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int64(binary.BigEndian.Uint32(head[:]))
	if n > int64(limit) {
		return nil, fmt.Errorf("frame of %d bytes, at most %d allowed", n, limit)
	}
	if n <= 16<<10 {
		b := make([]byte, n)
		_, err := io.ReadFull(r, b)
		return b, err
	}
	var b bytes.Buffer
	if m, err := io.Copy(&b, io.LimitReader(r, n)); err != nil {
		return nil, err
	} else if m < n {
		return nil, io.ErrUnexpectedEOF
	}
	return b.Bytes(), nil
}
