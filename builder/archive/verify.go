// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/vmdebootstrap/vmdebootstrap/builder/guard"
)

// UntrustedError says that no key of the keyring has signed a Release file in a way that can be trusted.
type UntrustedError struct {
	URL string
	// KeyIDs are the IDs of the keys that signed it, as 16 hexadecimal digits.
	KeyIDs []string
	// Bad is why the signature of a known key was rejected; nil if no known key has signed it.
	Bad error
}

func (e *UntrustedError) Error() string {
	switch {
	case e.Bad != nil:
		return fmt.Sprintf("verify %s: %v", Redact(e.URL), e.Bad)
	case len(e.KeyIDs) == 0:
		return fmt.Sprintf("verify %s: it has no signature", Redact(e.URL))
	}
	return fmt.Sprintf("verify %s: signed by %s, none of which is in the keyring", Redact(e.URL),
		strings.Join(e.KeyIDs, ", "))
}

func (e *UntrustedError) Unwrap() error { return e.Bad }

// verifyInline checks an InRelease file and returns the signed text, without anything around it, and its good
// signatures. With check false, it only strips the signature.
func verifyInline(url string, data []byte, keys openpgp.KeyRing, check bool) (text []byte, signers []goodSignature,
	err error) {
	var block *clearsign.Block
	err = guard.Parse(func() error {
		block, _ = clearsign.Decode(data)
		return nil
	})
	if err != nil {
		return nil, nil, &UntrustedError{URL: url, Bad: fmt.Errorf("read signed text: %w", err)}
	}
	if block == nil {
		if !check {
			return data, nil, nil
		}
		return nil, nil, &UntrustedError{URL: url}
	}
	if check {
		if signers, err = verify(url, block.Bytes, block.ArmoredSignature.Body, keys); err != nil {
			return nil, nil, err
		}
	}
	return block.Plaintext, signers, nil
}

// verifyDetached checks a Release file against its Release.gpg and returns the good signatures.
func verifyDetached(url string, data, signature []byte, keys openpgp.KeyRing) ([]goodSignature, error) {
	var body io.Reader = bytes.NewReader(signature)
	err := guard.Parse(func() error {
		if block, err := armor.Decode(bytes.NewReader(signature)); err == nil {
			body = block.Body
		}
		return nil
	})
	if err != nil {
		return nil, &UntrustedError{URL: url, Bad: fmt.Errorf("read signature: %w", err)}
	}
	return verify(url, data, body, keys)
}

// verify returns the good signatures by keys of the keyring, and an error if there are none. Debian signs each
// file with several keys, old and new. A key must only have been valid when it signed: that is how releases
// outlive their keys (gpgv, which debootstrap runs, is as lenient). checkSigners judges the time and the suite.
func verify(url string, signed []byte, signatures io.Reader, keys openpgp.KeyRing) (good []goodSignature, err error) {
	failure := &UntrustedError{URL: url}
	packets := packet.NewReader(signatures)
	for {
		var p packet.Packet
		err = guard.Parse(func() (err error) {
			p, err = packets.Next()
			return err
		})
		if errors.Is(err, io.EOF) && len(good) > 0 {
			return good, nil
		}
		if errors.Is(err, io.EOF) {
			return nil, failure
		}
		if err != nil {
			failure.Bad = fmt.Errorf("read signature: %w", err)
			return nil, failure
		}
		signature, ok := p.(*packet.Signature)
		if !ok || signature.IssuerKeyId == nil {
			continue
		}
		id := *signature.IssuerKeyId
		failure.KeyIDs = append(failure.KeyIDs, fmt.Sprintf("%016X", id))
		if len(keys.KeysById(id)) == 0 {
			continue
		}
		var key *openpgp.Entity
		err = guard.Parse(func() (err error) {
			key, err = verifyOne(signed, signature, keys)
			return err
		})
		if err != nil {
			failure.Bad = fmt.Errorf("signature by key %016X: %w", id, err)
			continue
		}
		good = append(good, goodSignature{key, signature.CreationTime})
	}
}

// verifyOne returns the key that made a good signature.
func verifyOne(signed []byte, signature *packet.Signature, keys openpgp.KeyRing) (*openpgp.Entity, error) {
	var one bytes.Buffer
	if err := signature.Serialize(&one); err != nil {
		return nil, err
	}
	then := &packet.Config{Time: func() time.Time { return signature.CreationTime }}
	strong := []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}
	_, key, err := openpgp.VerifyDetachedSignatureAndHash(keys, bytes.NewReader(signed), &one, strong, then)
	return key, err
}
