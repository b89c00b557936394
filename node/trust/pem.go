package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"

	ic "github.com/libp2p/go-libp2p/core/crypto"
)

func encodePEM(certs ...[]byte) []byte {
	var out []byte
	for _, der := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return out
}

// A reader returns a file by its name: of a folder, or of a state.
type reader = func(name string) ([]byte, error)

// readPEM returns the 1 to most blocks of a file, all of the given kind.
func readPEM(read reader, name, kind string, most int) ([][]byte, error) {
	b, err := read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s is missing", ErrDamaged, name)
	}
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for len(b) > 0 {
		block, rest := pem.Decode(b)
		if block == nil || block.Type != kind || len(out) == most {
			return nil, fmt.Errorf("%w: %s can't be read", ErrDamaged, name)
		}
		out, b = append(out, block.Bytes), rest
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: %s is empty", ErrDamaged, name)
	}
	return out, nil
}

// pair joins a CA's certificate with its key.
func pair(name string, c *x509.Certificate, key any) (*signer, error) {
	k, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: %s.key is of another kind", ErrDamaged, name)
	}
	pub, ok := k.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !pub.Equal(c.PublicKey) {
		return nil, fmt.Errorf("%w: %s.key and %s.pem don't belong together", ErrDamaged, name, name)
	}
	return &signer{cert: c, key: k}, nil
}

// stdKey returns a host key in the form that crypto/x509 takes.
func stdKey(key ic.PubKey) (crypto.PublicKey, error) {
	std, err := ic.PubKeyToStdKey(key)
	if err != nil {
		return nil, err
	}
	switch k := std.(type) {
	case *ed25519.PublicKey:
		return *k, nil
	case ed25519.PublicKey, *ecdsa.PublicKey:
		return k, nil
	}
	return nil, fmt.Errorf("host key of type %s, want Ed25519 or P-256", key.Type())
}

func marshalSPKI(key ic.PubKey) ([]byte, error) {
	std, err := stdKey(key)
	if err != nil {
		return nil, err
	}
	return x509.MarshalPKIXPublicKey(std)
}
