// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/crypto/ssh"

	"github.com/vmdebootstrap/vmdebootstrap/builder/ociimage"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// keyFiles returns the formats of a key that --cache-key supports.
func keyFiles(t *testing.T, private ed25519.PrivateKey) (signing, checking map[string][]byte) {
	t.Helper()
	must := func(data []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	openSSH, err := ssh.MarshalPrivateKey(private, "comment")
	if err != nil {
		t.Fatal(err)
	}
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, data []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}) }
	signing = map[string][]byte{
		"OpenSSH": pem.EncodeToMemory(openSSH),
		"PKCS#8":  block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(private))),
	}
	checking = map[string][]byte{
		"OpenSSH": ssh.MarshalAuthorizedKey(public),
		"PKIX":    block("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(private.Public()))),
	}
	return signing, checking
}

func newKey(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return private
}

func TestKeyFormatsAreInterchangeable(t *testing.T) {
	t.Parallel()
	signing, checking := keyFiles(t, newKey(t))
	others, _ := keyFiles(t, newKey(t))
	parse := func(data []byte) *Key {
		t.Helper()
		key, err := ParseKey(data)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	image := types.RemoteImage{Config: digest.FromString("config"),
		Layers: []types.RemoteLayer{{Digest: digest.FromString("a"), DiffID: digest.FromString("b")}}}
	sum := imageDigest("name", image)
	for form, data := range signing {
		signer := parse(data)
		annotations, err := signer.sign(sum)
		if err != nil || !signer.Signs() {
			t.Fatalf("%s: %v", form, err)
		}
		image.Annotations = annotations
		if why := parse(others["OpenSSH"]).check(sum, signatureOf(image)); !strings.Contains(why,
			"not signed by the key") {
			t.Errorf("another key: %q", why)
		}
		for _, data := range slices.Concat(slices.Collect(maps.Values(signing)),
			slices.Collect(maps.Values(checking))) {
			key := parse(data)
			if why := key.check(sum, signatureOf(image)); why != "" {
				t.Errorf("%s: %s", form, why)
			}
			if why := key.check(sum, nil); !strings.Contains(why, "is not signed") {
				t.Errorf("no signature: %q", why)
			}
			for what, change := range map[string]func(*types.RemoteImage) string{
				"name":   func(*types.RemoteImage) string { return "other" },
				"config": func(i *types.RemoteImage) string { i.Config = digest.FromString("x"); return "name" },
				"layer": func(i *types.RemoteImage) string {
					i.Layers[0].Digest = digest.FromString(
						"x")
					return "name"
				},
				"order": func(i *types.RemoteImage) string {
					i.Layers = append(i.Layers, i.Layers[0])
					return "name"
				},
			} {
				changed := image
				changed.Layers = slices.Clone(image.Layers)
				name := change(&changed)
				if key.check(imageDigest(name, changed), signatureOf(changed)) == "" {
					t.Errorf("another %s passes with the same signature", what)
				}
			}
			if text := fmt.Sprintf("%v %+v %#v", key, key, Settings{Key: key}.Key); strings.Contains(text,
				fmt.Sprint(key.public[0])+" "+fmt.Sprint(key.public[1])) {
				t.Errorf("the key is in %s", text)
			}
		}
	}
	for form, data := range checking {
		if key := parse(data); key.Signs() {
			t.Errorf("%s: a public key signs", form)
		}
	}
}

func TestErrorsOfParseKeyRevealNoBytes(t *testing.T) {
	t.Parallel()
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(curve)
	if err != nil {
		t.Fatal(err)
	}
	locked, err := ssh.MarshalPrivateKeyWithPassphrase(newKey(t), "", []byte("geheim"))
	if err != nil {
		t.Fatal(err)
	}
	for want, data := range map[string]string{
		"not an ed25519 key":        string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"protected by a passphrase": string(pem.EncodeToMemory(locked)),
		"holds no private key":      "-----BEGIN PRIVATE KEY-----\nZ2VoZWlt\n-----END PRIVATE KEY-----\n",
		"holds no public key":       "-----BEGIN PUBLIC KEY-----\nZ2VoZWlt\n-----END PUBLIC KEY-----\n",
		"holds no key":              "geheim",
	} {
		key, err := ParseKey([]byte(data))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("got %v (%v), want %q", key, err, want)
		}
	}
}

// An attacker who can write to a --cache-to remote may give other layers the names of this build's layers. A signature
// must not cover these.
func TestUnsignedLayersAreNotSigned(t *testing.T) {
	t.Parallel()
	remote := Remote{"docker", "registry.example/cache"}
	signing, _ := keyFiles(t, newKey(t))
	key, err := ParseKey(signing["OpenSSH"])
	if err != nil {
		t.Fatal(err)
	}
	e := &registryEngine{sharingEngine: sharingEngine{images: map[string]types.RemoteImage{}}}
	c := newCacheTest()
	share := func(key *Key) {
		t.Helper()
		e.sent = nil
		r := finished(t, c, e, remote)
		r.store.Settings.Key = key
		if err := r.Push(t.Context(), ociimage.Image{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	wrong := func() int {
		n := 0
		for name, image := range e.images {
			own := StepPrefix + name[len(remote.image(StepPrefix)):]
			if key.check(imageDigest(own, image), signatureOf(image)) != "" {
				n++
			}
			for _, l := range image.Layers {
				if l.Digest == digest.FromString("evil") {
					n++
				}
			}
		}
		return n
	}
	share(nil)
	if got := wrong(); got != 4 {
		t.Errorf("%d of 4 images without a key have no signature", got)
	}
	for name, image := range e.images {
		image.Layers = slices.Clone(image.Layers)
		image.Layers[0].Digest = digest.FromString("evil")
		e.images[name] = image
	}
	share(key)
	if got := wrong(); got != 0 || len(e.sent) != 4 {
		t.Errorf("%d are wrong after sending %q", got, e.sent)
	}
	share(key)
	if len(e.sent) != 0 {
		t.Errorf("sent again: %q", e.sent)
	}
}
