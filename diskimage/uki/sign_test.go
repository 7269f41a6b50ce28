// SPDX-License-Identifier: Apache-2.0

package uki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"debug/pe"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// newKey returns an RSA key and a certificate of it.
func newKey(t testing.TB, bits int) (key *rsa.PrivateKey, certificate []byte) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "Secure Boot test"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// sbverify checks the signature of a program.
func sbverify(t *testing.T, program, certificate []byte) (string, error) {
	t.Helper()
	dir := t.TempDir()
	name, cert := filepath.Join(dir, "program.efi"), filepath.Join(dir, "cert.pem")
	for file, data := range map[string][]byte{name: program, cert: certificate} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), diskimagetest.Tool(t, "sbverify"), "--cert", cert, name)
	output, err := cmd.CombinedOutput()
	return string(output), err
}

func TestSbverifyAcceptsTheSignature(t *testing.T) {
	t.Parallel()
	key, certificate := newKey(t, minKeyBits)
	_, other := newKey(t, minKeyBits)
	signer, err := NewSigner(key, certificate)
	if err != nil {
		t.Fatal(err)
	}
	image, err := Assemble(parts(t))
	if err != nil {
		t.Fatal(err)
	}
	loader := read(t, diskimagetest.File(t, "/usr/lib/systemd/boot/efi/systemd-bootx64.efi",
		"/usr/lib/systemd/boot/efi/systemd-bootaa64.efi"))
	image32, err := Assemble(parts32(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, program := range map[string][]byte{
		"a kernel image": image, "a kernel image of 32 bits": image32, "systemd-boot": loader,
		"a length that is not a multiple of 8": append(loader, 1, 2, 3),
	} {
		signed, err := signer.Sign(program)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		output, err := sbverify(t, signed, certificate)
		if err != nil || !strings.Contains(output, "Signature verification OK") {
			t.Errorf("%s: %v: %s", name, err, output)
		}
		if _, err := sbverify(t, signed, other); err == nil {
			t.Errorf("%s: another certificate verifies it", name)
		}
		changed := bytes.Clone(signed)
		changed[len(program)/2] ^= 1
		if _, err := sbverify(t, changed, certificate); err == nil {
			t.Errorf("%s: a flipped bit is not found", name)
		}
		if again, err := signer.Sign(program); err != nil || !bytes.Equal(again, signed) {
			t.Errorf("%s: the second signature differs (%v)", name, err)
		}
		if _, err := signer.Sign(signed); err == nil || !strings.Contains(err.Error(), "signed already") {
			t.Errorf("%s: signed again: got %v", name, err)
		}
	}
}

func TestSignRejectsWhatIsNoProgram(t *testing.T) {
	t.Parallel()
	key, certificate := newKey(t, minKeyBits)
	signer, err := NewSigner(key, certificate)
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(*headers)) []byte {
		program := stub(t)
		h, err := parse(program)
		if err != nil {
			t.Fatal(err)
		}
		f(&h)
		if err := h.write(program); err != nil {
			t.Fatal(err)
		}
		return program
	}
	for _, tt := range []struct {
		name    string
		program []byte
		want    string
	}{
		{"nothing", nil, "not an EFI program"},
		{"few data directories", withDirectories(t, stub(t), 4, pe.DataDirectory{}), "no place for a signature"},
		{"long headers", change(func(h *headers) { h.optional.SizeOfHeaders = 1 << 31 }), "not possible"},
		{"a long section", change(func(h *headers) {
			h.sections[0].SizeOfRawData = 1 << 31
		}), "section .text ends beyond the file"},
		{"signed", withDirectories(t, stub(t), 16, pe.DataDirectory{Size: 8}), "signed already"},
	} {
		if _, err := signer.Sign(tt.program); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestKeysAndCertificatesAreChecked(t *testing.T) {
	t.Parallel()
	key, certificate := newKey(t, minKeyBits)
	_, other := newKey(t, minKeyBits)
	short, _ := newKey(t, 1024)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	pkcs8 := func(key any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return encode("PRIVATE KEY", der)
	}
	for _, good := range [][]byte{pkcs8(key), encode("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))} {
		if got, err := ParseKey(good); err != nil || !got.Equal(key) {
			t.Errorf("got %v", err)
		}
	}
	for _, tt := range []struct {
		name string
		key  []byte
		want string
	}{
		{"DER", x509.MarshalPKCS1PrivateKey(key), "not a private key in PEM"},
		{"a certificate", certificate, `type "CERTIFICATE"`},
		{"an encrypted key", encode("ENCRYPTED PRIVATE KEY", []byte("x")), "encrypted with a passphrase"},
		{"an elliptic curve", pkcs8(ec), "not an RSA key"},
		{"a short key", pkcs8(short), "1024 bits; at least 2048"},
		{"damaged", encode("PRIVATE KEY", []byte("x")), "damaged"},
		{"damaged PKCS #1", encode("RSA PRIVATE KEY", []byte("x")), "damaged"},
	} {
		if _, err := ParseKey(tt.key); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
	for _, tt := range []struct {
		name, want  string
		certificate []byte
	}{
		{"of another key", "not the certificate of the private key", other},
		{"a key", "not a certificate in PEM", pkcs8(key)},
		{"damaged", "read the certificate", encode("CERTIFICATE", []byte("x"))},
	} {
		if _, err := NewSigner(key, tt.certificate); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}
