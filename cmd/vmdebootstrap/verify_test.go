// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ed25519Key returns a private key in PEM that is made of a seed.
func ed25519Key(t *testing.T, seed byte) string {
	t.Helper()
	data, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: data}))
}

// Issue 18, 7: a statement about the outputs is signed and verified.
func TestProvenanceIsVerified(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	for name, text := range map[string]string{"key": ed25519Key(t, 1), "other": ed25519Key(t, 2)} {
		if err := os.WriteFile(filepath.Join(o.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	must(t, os.Mkdir(filepath.Join(o.dir, "sub"), 0o755))
	o.build(o.machine(), "--provenance=out.json", "--sign-key=key", "--manifest=sub/out.manifest", "--user=alice/secret")
	verify := func(args ...string) (string, error) {
		cmd := vmdebootstrap(t, append([]string{"verify", "out.json"}, args...)...)
		cmd.Dir = o.dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	text, err := verify("--key=key")
	want := "out.json is signed by the key key\nout.tar has the digest of the statement\n" +
		"sub/out.manifest has the digest of the statement\n"
	if err != nil || text != want {
		t.Errorf("%v: got %s\nwant %s", err, text, want)
	}
	text, err = verify()
	if err != nil || !strings.HasPrefix(text, "WARNING: out.json is signed, and the signature is not verified") {
		t.Errorf("without a key: %v: got %s", err, text)
	}
	text, err = verify("--key=other")
	if want := "ERROR: verify out.json: it is not signed by this key\n"; err == nil || text != want {
		t.Errorf("%v: got %s\nwant %s", err, text, want)
	}
	if err := os.WriteFile(filepath.Join(o.dir, "out.tar"), []byte(o.content("out.tar")+"x"), 0o644); err != nil {
		t.Fatal(err)
	}
	text, err = verify("--key=key")
	if err == nil || !strings.HasPrefix(text, "ERROR: verify out.json: out.tar is another file: digest mismatch: want ") {
		t.Errorf("a changed output: %v: got %s", err, text)
	}
	must(t, os.Remove(filepath.Join(o.dir, "sub/out.manifest")))
	if text, err = verify("--key=key"); err == nil ||
		!strings.HasSuffix(text, "\nERROR: verify out.json: sub/out.manifest is missing\n") {
		t.Errorf("a missing output as well: %v: got %s", err, text)
	}
}
