// SPDX-License-Identifier: Apache-2.0

package provenance

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	slsa "github.com/in-toto/attestation/go/predicates/provenance/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/snapshot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/lockfile"
	"github.com/vmdebootstrap/vmdebootstrap/builder/manifest"
)

var digest = strings.Repeat("0a", 32)

var made = []Subject{{"debian.img", digest}, {"updates/debian_1.efi", digest}}

// testKey returns a key that is made of a seed.
func testKey(t testing.TB, seed byte) *snapshot.Key {
	t.Helper()
	data, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	key, err := snapshot.ParseKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: data}))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func statement(t testing.TB, key Key) []byte {
	t.Helper()
	lock := lockfile.File{Program: "vmdebootstrap 1.8.0", Time: time.Unix(1_700_000_000, 0), Seed: uuid.Max,
		Settings: []lockfile.Setting{{Name: "image", Value: "debian.img"}},
		Suites: []lockfile.Suite{{Mirror: "http://mirror.example/debian", Suite: "trixie",
			Files: []lockfile.Digest{{Name: "InRelease", SHA256: digest}}}},
		Inputs:   []lockfile.Input{{Option: "--customize", Name: "a.sh", SHA256: digest}},
		Packages: []lockfile.Package{{Name: "less", Version: "1.0", Architecture: "amd64", SHA256: digest, From: "less.deb"}}}
	var text bytes.Buffer
	err := Write(t.Context(), &text, lock, []manifest.Step{{Kind: "clean", Title: "clean up"}}, made, key)
	if err != nil {
		t.Fatal(err)
	}
	return text.Bytes()
}

// The libraries of in-toto judge the statement and its predicate.
func TestStatementIsOneOfSLSA(t *testing.T) {
	t.Parallel()
	var s intoto.Statement
	if err := protojson.Unmarshal(statement(t, nil), &s); err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
	data, err := protojson.Marshal(s.Predicate)
	if err != nil {
		t.Fatal(err)
	}
	var p slsa.Provenance
	if err := protojson.Unmarshal(data, &p); err != nil {
		t.Fatal(err)
	}
	if err := p.Validate(); err != nil {
		t.Error(err)
	}
	first := p.BuildDefinition.ResolvedDependencies[0]
	if first.Uri != "http://mirror.example/debian/dists/trixie/InRelease" || first.Digest["sha256"] != digest {
		t.Errorf("got the dependency %v", first)
	}
	if !bytes.Equal(statement(t, nil), statement(t, nil)) {
		t.Error("two statements of one build differ")
	}
}

func TestSignaturesAreVerified(t *testing.T) {
	t.Parallel()
	key, other := testKey(t, 1), testKey(t, 2)
	signed, plain := statement(t, key), statement(t, nil)
	var envelope map[string]any
	if err := json.Unmarshal(signed, &envelope); err != nil {
		t.Fatal(err)
	}
	payload, _ := envelope["payload"].(string)
	changed := bytes.Replace(signed, []byte(payload[100:104]), []byte("AAAA"), 1)
	for _, tt := range []struct {
		name   string
		data   []byte
		key    Key
		signed bool
		want   string
	}{
		{"plain", plain, nil, false, ""},
		{"signed", signed, key, true, ""},
		{"signed, without a key", signed, nil, true, ""},
		{"unsigned", plain, key, false, "no signature"},
		{"signed by another", signed, other, true, "not signed by this key"},
		{"changed", changed, key, true, "not signed by this key"},
		{"another file", []byte("[]"), nil, false, "no statement"},
		{"another JSON", []byte(`{"a": 1}`), nil, false, "no statement of in-toto"},
		{"another type", bytes.Replace(plain, []byte("slsa.dev/provenance"), []byte("slsa.dev/other"), 1), nil, false,
			"not of a build"},
		{"file above", bytes.Replace(plain, []byte("debian.img"), []byte("../x"), 1), nil, false, "no name of a file"},
		{"file above, hidden", bytes.Replace(plain, []byte("updates/"), []byte("a/../../"), 1), nil, false,
			"no name of a file"},
		{"absolute file", bytes.Replace(plain, []byte("updates/"), []byte("/etc/"), 1), nil, false, "no name of a file"},
	} {
		files, isSigned, err := Read(t.Context(), bytes.NewReader(tt.data), tt.key)
		if tt.want == "" && (err != nil || !slices.Equal(files, made) || isSigned != tt.signed) {
			t.Errorf("%s: got %v, %v (%v)", tt.name, files, isSigned, err)
		}
		if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || len(files) > 0) {
			t.Errorf("%s: got %v (%v), want an error with %q", tt.name, files, err, tt.want)
		}
	}
	if _, _, err := Read(t.Context(), bytes.NewReader(plain), key); !errors.Is(err, ErrUnsigned) {
		t.Errorf("got %v, want ErrUnsigned", err)
	}
}

func FuzzStatement(f *testing.F) {
	key := testKey(f, 1)
	for _, seed := range [][]byte{statement(f, nil), statement(f, key), nil, []byte("{}"), []byte(`{"payload":"e30="}`)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		files, _, err := Read(t.Context(), bytes.NewReader(data), nil)
		if err == nil && len(files) == 0 {
			t.Error("a statement about nothing was accepted")
		}
		for _, file := range files {
			if !filepath.IsLocal(file.Name) {
				t.Errorf("accepted the name %q", file.Name)
			}
		}
	})
}
