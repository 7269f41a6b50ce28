// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"

	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// Key signs snapshots for --cache-to and verifies those of --cache-from: an ed25519 key (RFC 8032).
type Key struct {
	public  ed25519.PublicKey
	private ed25519.PrivateKey // nil for a public key
}

// ParseKey parses a key: a private one in the format of OpenSSH or PKCS#8, or a public one in that of OpenSSH
// ("ssh-ed25519 …") or PKIX. Its errors reveal nothing of the key.
func ParseKey(data []byte) (*Key, error) {
	key, err := parseKey(data)
	if err != nil {
		return nil, err
	}
	switch key := key.(type) {
	case *ed25519.PrivateKey:
		return newSigner(*key), nil
	case ed25519.PrivateKey:
		return newSigner(key), nil
	case ed25519.PublicKey:
		return &Key{public: key}, nil
	default:
		return nil, errors.New("not an ed25519 key: make one with ssh-keygen -t ed25519")
	}
}

// newSigner returns a key that signs and verifies.
func newSigner(key ed25519.PrivateKey) *Key {
	public, _ := key.Public().(ed25519.PublicKey)
	return &Key{public, key}
}

// parseKey parses a key of any algorithm.
func parseKey(data []byte) (any, error) {
	block, _ := pem.Decode(data)
	switch {
	case block != nil && block.Type == "PUBLIC KEY":
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, errors.New("its PEM block holds no public key")
		}
		return key, nil
	case block != nil:
		key, err := ssh.ParseRawPrivateKey(data)
		var protected *ssh.PassphraseMissingError
		if errors.As(err, &protected) {
			return nil, errors.New("it is protected by a passphrase: a build cannot ask for that")
		}
		if err != nil {
			return nil, errors.New("its PEM block holds no private key in the form of OpenSSH or PKCS#8")
		}
		return key, nil
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey(data)
	if err != nil {
		return nil, errors.New("it holds no key in the form of OpenSSH or PEM")
	}
	key, ok := public.(ssh.CryptoPublicKey)
	if !ok {
		return public, nil
	}
	return key.CryptoPublicKey(), nil
}

// Signs reports whether the key can sign.
func (k *Key) Signs() bool { return k.private != nil }

// Sign returns the signature of a text.
func (k *Key) Sign(_ context.Context, text []byte) ([]byte, error) {
	if !k.Signs() {
		return nil, errors.New("a public key can only verify")
	}
	return k.private.Sign(nil, text, crypto.Hash(0))
}

// Verify returns an error if a signature of a text is not by this key.
func (k *Key) Verify(_ context.Context, text, signature []byte) error {
	if !ed25519.Verify(k.public, text, signature) {
		return errors.New("not signed by this key")
	}
	return nil
}

// KeyID returns the fingerprint of the key, as ssh-keygen(1) prints it.
func (k *Key) KeyID() (string, error) {
	public, err := ssh.NewPublicKey(k.public)
	if err != nil {
		return "", err
	}
	return ssh.FingerprintSHA256(public), nil
}

// Public returns the public key.
func (k *Key) Public() crypto.PublicKey { return k.public }

// String hides the key when it is printed.
func (k *Key) String() string { return "(secret)" }

// GoString implements fmt.GoStringer.
func (k *Key) GoString() string { return k.String() }

// annotationSignature is the annotation of a manifest that holds the signature, in base64.
const annotationSignature = "io.github.vmdebootstrap.snapshot.signature"

// signedAs is the prefix of the signed text, so that a signature of anything else does not pass for one.
const signedAs = "vmdebootstrap snapshot 1\n"

// imageDigest returns a digest of everything in a shared snapshot: its name, its configuration, whose labels have the
// chain of steps, and its layers.
func imageDigest(name string, image types.RemoteImage) Digest {
	texts := []string{name, image.Config.String()}
	for _, l := range image.Layers {
		texts = append(texts, l.Digest.String(), l.DiffID.String())
	}
	return HashOf(texts...)
}

// signatureOf returns the unverified signature in an image's annotations; nil if there is none.
func signatureOf(image types.RemoteImage) []byte {
	signature, err := base64.StdEncoding.DecodeString(image.Annotations[annotationSignature])
	if err != nil || len(signature) != ed25519.SignatureSize {
		return nil // like a missing signature
	}
	return signature
}

// sign returns the annotations of an image's manifest; nil without a private key.
func (k *Key) sign(image Digest) (map[string]string, error) {
	if k == nil || !k.Signs() {
		return nil, nil
	}
	signature, err := k.private.Sign(nil, []byte(signedAs+string(image)), crypto.Hash(0))
	if err != nil {
		return nil, fmt.Errorf("sign a snapshot: %w", err)
	}
	return map[string]string{annotationSignature: base64.StdEncoding.EncodeToString(signature)}, nil
}

// check returns why a signature is not one of this key; "" if it is. Without a key, everything passes.
func (k *Key) check(image Digest, signature []byte) string {
	switch {
	case k == nil:
		return ""
	case len(signature) == 0:
		return "is not signed, as --cache-key asks for"
	case !ed25519.Verify(k.public, []byte(signedAs+string(image)), signature):
		return "is not signed by the key of --cache-key"
	}
	return ""
}
