package content

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"
)

// HashSize is the length of a Hash in bytes.
const HashSize = sha256.Size

// A Hash is the SHA-256 digest of a block, of a chunk's block list, or of a
// manifest's root. Which of them it is depends on where it stands.
type Hash [HashSize]byte

// Sum returns the hash of b.
func Sum(b []byte) Hash { return sha256.Sum256(b) }

// Compare orders hashes by their bytes; it returns -1, 0 or +1.
func (h Hash) Compare(o Hash) int { return bytes.Compare(h[:], o[:]) }

// Multihash returns h as sha2-256 multihash: the key under which a DHT knows it.
func (h Hash) Multihash() mh.Multihash {
	m, err := mh.Encode(h[:], mh.SHA2_256)
	if err != nil {
		panic(err) // a fixed code with a digest of its length can't fail
	}
	return m
}

// Raw returns the CID of a block with this hash.
func (h Hash) Raw() cid.Cid { return cid.NewCidV1(cid.Raw, h.Multihash()) }

// Node returns the CID of a block list or manifest root with this hash.
func (h Hash) Node() cid.Cid { return cid.NewCidV1(cid.DagCBOR, h.Multihash()) }

// String returns the CID of a chunk or manifest with this hash, for logs.
func (h Hash) String() string { return h.Node().String() }

// An ID names a content: the hash of its manifest's root.
type ID Hash

// ErrID says that a text is no content id.
var ErrID = errors.New("not a content id")

// ParseID reads a content id in the form that String writes: CIDv1, dag-cbor,
// sha2-256, in any multibase.
func ParseID(s string) (ID, error) {
	c, err := cid.Decode(s)
	if err != nil {
		return ID{}, fmt.Errorf("%w: %q: %v", ErrID, s, err)
	}
	d, err := mh.Decode(c.Hash())
	switch {
	case err != nil:
		return ID{}, fmt.Errorf("%w: %q: %v", ErrID, s, err)
	case c.Version() != 1 || c.Type() != cid.DagCBOR || d.Code != mh.SHA2_256 || d.Length != HashSize:
		return ID{}, fmt.Errorf("%w: %q is another kind of CID (want version 1, dag-cbor, sha2-256)", ErrID, s)
	}
	return ID(d.Digest), nil
}

// String returns the content id as CIDv1 in base32: bafyrei...
func (id ID) String() string { return Hash(id).Node().String() }

// Short returns the first and last characters of the id, for a person's eyes.
func (id ID) Short() string {
	s := id.String()
	return s[:9] + "…" + s[len(s)-4:]
}
