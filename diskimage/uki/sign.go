// SPDX-License-Identifier: Apache-2.0

package uki

import (
	"bytes"
	"cmp"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"debug/pe"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
	"slices"
	"unicode/utf16"

	"github.com/smallstep/pkcs7"
)

// Signer signs EFI programs for Secure Boot, as sbsign(1) does. The same program always gets the
// same signature, because that has no time: it is made without signed attributes, as the PKCS #7
// standard permits.
type Signer struct {
	key         *rsa.PrivateKey
	certificate *x509.Certificate
}

// minKeyBits is the shortest key that firmware has to accept (UEFI specification 2.10, 32.4.1).
const minKeyBits = 2048

// ParseKey decodes an RSA private key in PEM, PKCS #1 or PKCS #8. Errors show nothing of it.
func ParseKey(text []byte) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	switch {
	case block == nil:
		return nil, errors.New("it is not a private key in PEM")
	case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
		return nil, errors.New("the private key is encrypted with a passphrase: openssl pkey -in FILE -out FILE2 decrypts it")
	case block.Type != "PRIVATE KEY" && block.Type != "RSA PRIVATE KEY":
		return nil, fmt.Errorf("it is not a private key, but a PEM block of type %q", block.Type)
	}
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if block.Type == "PRIVATE KEY" {
		var parsed any
		if parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			var ok bool
			if key, ok = parsed.(*rsa.PrivateKey); !ok {
				return nil, errors.New("it is not an RSA key; firmware verifies no others")
			}
		}
	}
	if err != nil {
		return nil, errors.New("the private key is damaged")
	}
	if bits := key.N.BitLen(); bits < minKeyBits {
		return nil, fmt.Errorf("the key has %d bits; at least %d are needed", bits, minKeyBits)
	}
	return key, nil
}

// NewSigner returns a Signer for a key and its certificate, in PEM, which the firmware trusts.
func NewSigner(key *rsa.PrivateKey, certificate []byte) (*Signer, error) {
	block, _ := pem.Decode(certificate)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("it is not a certificate in PEM")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	if !key.PublicKey.Equal(c.PublicKey) {
		return nil, errors.New("it is not the certificate of the private key")
	}
	return &Signer{key, c}, nil
}

// Sign returns an EFI program with a signature, which must not have one yet.
func (s *Signer) Sign(program []byte) ([]byte, error) {
	h, err := parse(program)
	if err != nil {
		return nil, fmt.Errorf("sign an EFI program: %w", err)
	}
	if h.securityEntry == 0 {
		return nil, errors.New("sign an EFI program: it has no place for a signature")
	}
	if h.security.Size != 0 {
		return nil, errors.New("sign an EFI program: it is signed already")
	}
	program = bytes.Clone(program)
	program = append(program, make([]byte, -len(program)&(certificateUnit-1))...)
	digest, err := h.authenticodeDigest(program)
	if err != nil {
		return nil, fmt.Errorf("sign an EFI program: %w", err)
	}
	signature, err := s.signature(digest)
	if err != nil {
		return nil, fmt.Errorf("sign an EFI program: %w", err)
	}
	const revision, pkcsSignedData = 0x0200, 2
	offset, length := len(program), 8+len(signature)
	if offset+length > math.MaxUint32-certificateUnit {
		return nil, errors.New("sign an EFI program: with the signature it is longer than 4 GiB, the limit of the format")
	}
	// WIN_CERTIFICATE of the PE format: length, revision, type, data.
	program = binary.LittleEndian.AppendUint32(program, uint32(length))
	program = binary.LittleEndian.AppendUint16(program, revision)
	program = binary.LittleEndian.AppendUint16(program, pkcsSignedData)
	program = append(program, signature...)
	program = append(program, make([]byte, -len(program)&(certificateUnit-1))...)
	binary.LittleEndian.PutUint32(program[h.securityEntry:], uint32(offset))
	binary.LittleEndian.PutUint32(program[h.securityEntry+4:], uint32(len(program)-offset))
	return program, nil
}

const (
	// certificateUnit is the alignment of signatures.
	certificateUnit = 8
	// checkSumPlace is the offset of the checksum in the optional header.
	checkSumPlace = 64
	// directorySize is the length of a data directory.
	directorySize = 8
)

// authenticodeDigest returns the hash of a program without its checksum and signature ("Windows
// Authenticode Portable Executable Signature Format", Calculating the PE Image Hash).
func (h headers) authenticodeDigest(program []byte) ([]byte, error) {
	sum := sha256.New()
	checkSum, entry, end := h.optionalPlace()+checkSumPlace, h.securityEntry, uint64(h.optional.SizeOfHeaders)
	if end < uint64(entry+directorySize) || end > uint64(len(program)) {
		return nil, fmt.Errorf("its headers have %d bytes, which is not possible", end)
	}
	sum.Write(program[:checkSum])
	sum.Write(program[checkSum+4 : entry])
	sum.Write(program[entry+directorySize : end])
	sections := slices.Clone(h.sections)
	slices.SortFunc(sections, func(a, b pe.SectionHeader32) int {
		return cmp.Compare(a.PointerToRawData, b.PointerToRawData)
	})
	for _, s := range sections {
		if s.SizeOfRawData == 0 {
			continue
		}
		start, length := uint64(s.PointerToRawData), uint64(s.SizeOfRawData)
		if start+length > uint64(len(program)) {
			return nil, fmt.Errorf("section %s ends beyond the file", bytes.TrimRight(s.Name[:], "\x00"))
		}
		sum.Write(program[start : start+length])
		end += length
	}
	if end < uint64(len(program)) {
		sum.Write(program[end:])
	}
	return sum.Sum(nil), nil
}

// The objects of Authenticode.
var (
	oidIndirectData = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 4}  // SPC_INDIRECT_DATA_OBJID
	oidPEImageData  = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 15} // SPC_PE_IMAGE_DATAOBJ
)

// indirectData is SpcIndirectDataContent, which is what is signed.
type indirectData struct {
	Data struct {
		Type  asn1.ObjectIdentifier
		Value struct {
			Flags asn1.BitString
			File  asn1.RawValue
		}
	}
	Digest struct {
		Algorithm pkix.AlgorithmIdentifier
		Digest    []byte
	}
}

// signature returns the PKCS #7 message that signs a digest.
func (s *Signer) signature(digest []byte) ([]byte, error) {
	file, err := obsoleteFile()
	if err != nil {
		return nil, err
	}
	var d indirectData
	d.Data.Type, d.Data.Value.File = oidPEImageData, file
	d.Digest.Algorithm = pkix.AlgorithmIdentifier{Algorithm: pkcs7.OIDDigestAlgorithmSHA256, Parameters: asn1.NullRawValue}
	d.Digest.Digest = digest
	content, err := asn1.Marshal(d)
	if err != nil {
		return nil, err
	}
	// Signed is the content without its tag and length.
	var inner asn1.RawValue
	if _, err := asn1.Unmarshal(content, &inner); err != nil {
		return nil, err
	}
	message, err := pkcs7.NewSignedData(inner.Bytes)
	if err != nil {
		return nil, err
	}
	message.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256)
	message.SetEncryptionAlgorithm(pkcs7.OIDEncryptionAlgorithmRSA)
	if err := message.SignWithoutAttr(s.certificate, s.key, pkcs7.SignerInfoConfig{}); err != nil {
		return nil, err
	}
	signed := message.GetSignedData()
	signed.ContentInfo.ContentType = oidIndirectData
	signed.ContentInfo.Content = context(0, content)
	// The parameters that RFC 4055 wants; pkcs7 leaves them out.
	signed.DigestAlgorithmIdentifiers[0].Parameters = asn1.NullRawValue
	signed.SignerInfos[0].DigestAlgorithm.Parameters = asn1.NullRawValue
	signed.SignerInfos[0].DigestEncryptionAlgorithm.Parameters = asn1.NullRawValue
	return message.Finish()
}

// context returns a value with a context-specific tag that holds an encoded one.
func context(tag int, encoded []byte) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: true, Bytes: encoded}
}

// obsoleteFile returns the SpcLink that the format requires, with the text that it requires.
func obsoleteFile() (asn1.RawValue, error) {
	var text []byte
	for _, unit := range utf16.Encode([]rune("<<<Obsolete>>>")) {
		text = binary.BigEndian.AppendUint16(text, unit)
	}
	name, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, Bytes: text})
	if err != nil {
		return asn1.RawValue{}, err
	}
	file, err := asn1.Marshal(context(2, name))
	return context(0, file), err
}
