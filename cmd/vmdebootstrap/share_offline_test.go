// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/crypto/ssh"
)

// TestSharedResultsAreUsedOnlyByBuildsThatNameTheirLocation puts a back door into all images of a location, including
// those of a toolbox (issue 12, B9). Only builds that name the location get it, whatever was built before.
func TestSharedResultsAreUsedOnlyByBuildsThatNameTheirLocation(t *testing.T) {
	o := newOffline(t)
	share, other := filepath.Join(o.dir, "share"), filepath.Join(o.dir, "other")
	here, there := o.machine(), o.machine()
	o.build(here, "--package=less", "--cache-to=oci:share")
	if poison(t, share, "etc/backdoor") == 0 {
		t.Fatal("nothing was shared")
	}
	backdoors := []string{"etc/backdoor", "etc/from-toolbox"}

	text := o.build(there, "--package=less", "--cache-from=oci:share", "--run=echo above >/etc/above")
	if got := o.has(backdoors...); got != "etc/backdoor" || strings.Count(text, ", in oci:share") != 2 {
		t.Errorf("a build that trusts the location has %q:\n%s", got, text)
	}
	if got := o.has("etc/above"); got == "" {
		t.Error("the command did not run")
	}
	for _, args := range [][]string{
		{"--package=less"},
		{"--package=less", "--run=echo above >/etc/above"},
		{"--package=less", "--hostname=elsewhere", "--run=echo more >/etc/more"},
		{"--package=less", "--debootstrapopts=include=less"}, // which runs debootstrap in the toolbox
		{"--package=less", "--cache-from=oci:other", "--run=echo above >/etc/above"},
	} {
		// Naming another location makes no difference.
		if err := os.Mkdir(other, 0o755); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
		text = o.build(there, args...)
		if got := o.has(backdoors...); got != "" || strings.Contains(text, "share: ") &&
			!strings.Contains(text, "not used: ") {
			t.Errorf("a build that does not trust the location (%q) has %s:\n%s", args, got, text)
		}
	}
	// All builds may use the machine's own results, which take precedence.
	text = o.build(there, "--package=less", "--cache-from=oci:share", "--run=echo above >/etc/above")
	if got := o.has(backdoors...); got != "" || strings.Contains(text, "run: ") {
		t.Errorf("after a clean build there is %q:\n%s", got, text)
	}
	if text := o.build(here, "--package=less"); o.has(backdoors...) != "" || strings.Contains(text, "run: ") {
		t.Errorf("the machine that shared:\n%s", text)
	}
}

// TestSnapshotAboveSharedOnesHasTheirOrigin checks that later snapshots of a chain inherit the origin of the first.
func TestSnapshotAboveSharedOnesHasTheirOrigin(t *testing.T) {
	o := newOffline(t)
	here, there := o.machine(), o.machine()
	o.build(here, "--cache-to=oci:share", "--user=joe/secret")
	poison(t, filepath.Join(o.dir, "share"), "etc/backdoor")
	above := []string{"--user=joe/secret", "--run=echo above >/etc/above"}
	text := o.build(there, append(above, "--cache-from=oci:share")...)
	if o.has("etc/backdoor") == "" {
		t.Fatalf("the location was not used:\n%s", text)
	}
	text = o.build(there, append(above, "--cache-from=oci:share")...)
	if o.has("etc/backdoor") == "" || strings.Contains(text, "run: ") {
		t.Errorf("a second build that trusts the location runs steps again:\n%s", text)
	}
	text = o.build(there, above...)
	if got := o.has("etc/backdoor"); got != "" || !strings.Contains(text, "not used: ") ||
		strings.Contains(text, "cached: ") {
		t.Errorf("a build that does not name the location has %q:\n%s", got, text)
	}
}

// TestSharingMakesItsDirectory shares to a directory that does not exist, as README and --help suggest (issue 12, B13).
func TestSharingMakesItsDirectory(t *testing.T) {
	o := newOffline(t)
	here := o.machine()
	if err := os.Mkdir(filepath.Join(o.dir, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"new", "empty"} {
		o.build(here, "--cache-to=oci:"+name, "--cache-from=oci:"+name)
		if !exists(t, filepath.Join(o.dir, name, imgspec.ImageIndexFile)) {
			t.Errorf("%s is not an image layout", name)
		}
		text := o.build(o.machine(), "--cache-from=oci:"+name)
		if strings.Contains(text, "run: ") || !strings.Contains(text, "cached: ") {
			t.Errorf("another machine does not reuse what is in %s:\n%s", name, text)
		}
	}
}

// TestUnwritableLocationIsRejectedFirst checks that the error comes before the work (issue 12, B13).
func TestUnwritableLocationIsRejectedFirst(t *testing.T) {
	o := newOffline(t)
	here := o.machine()
	for _, location := range []string{"oci:/proc/new", "oci:/sys", "oci:missing/new"} {
		text, err := o.try(here, "--cache-to="+location)
		if err == nil || !strings.Contains(text, "ERROR: --cache-to: ") || strings.Contains(text, "bootstrap trixie") {
			t.Errorf("%s: %v\n%s", location, err, text)
		}
	}
	if n := o.repo.Count("pool/"); n > 0 {
		t.Errorf("%d packages were downloaded first", n)
	}
}

// poison adds a file to the lowest layer of each image in a layout, and returns the number of images.
func poison(t *testing.T, dir, name string) int {
	t.Helper()
	blob := func(d digest.Digest) string { return filepath.Join(dir, "blobs/sha256", d.Encoded()) }
	read := func(file string, v any) {
		t.Helper()
		data, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(data, v)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(data []byte) (digest.Digest, int64) {
		t.Helper()
		d := digest.FromBytes(data)
		if err := os.WriteFile(blob(d), data, 0o644); err != nil {
			t.Fatal(err)
		}
		return d, int64(len(data))
	}
	marshal := func(v any) []byte {
		t.Helper()
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	indexFile := filepath.Join(dir, imgspec.ImageIndexFile)
	var index imgspec.Index
	read(indexFile, &index)
	for i := range index.Manifests {
		var manifest imgspec.Manifest
		var config imgspec.Image
		read(blob(index.Manifests[i].Digest), &manifest)
		read(blob(manifest.Config.Digest), &config)
		packed, plain := addFile(t, blob(manifest.Layers[0].Digest), name)
		manifest.Layers[0].Digest, manifest.Layers[0].Size = write(packed)
		config.RootFS.DiffIDs[0] = digest.FromBytes(plain)
		manifest.Config.Digest, manifest.Config.Size = write(marshal(config))
		index.Manifests[i].Digest, index.Manifests[i].Size = write(marshal(manifest))
	}
	if err := os.WriteFile(indexFile, marshal(index), 0o644); err != nil {
		t.Fatal(err)
	}
	return len(index.Manifests)
}

// addFile adds a file to a layer.
func addFile(t *testing.T, layer, name string) (packed, plain []byte) {
	t.Helper()
	data, err := os.ReadFile(layer)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var out bytes.Buffer
	r, w := tar.NewReader(z), tar.NewWriter(&out)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = w.WriteHeader(h)
		}
		if err == nil {
			_, err = io.Copy(w, r)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	const text = "open\n"
	err = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "./" + name, Mode: 0o644, Size: int64(len(text))})
	if err == nil {
		_, err = io.WriteString(w, text)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return encoder.EncodeAll(out.Bytes(), nil), out.Bytes()
}

// TestCacheKeySignsAndChecks checks that with --cache-key, only results signed by the key are used, even if
// others are in the store already.
func TestCacheKeySignsAndChecks(t *testing.T) {
	o := newOffline(t)
	writeKey := func(name string) (private, public string) {
		t.Helper()
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		block, err := ssh.MarshalPrivateKey(key, "")
		if err != nil {
			t.Fatal(err)
		}
		line, err := ssh.NewPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		for suffix, data := range map[string][]byte{"": pem.EncodeToMemory(block),
			".pub": ssh.MarshalAuthorizedKey(line)} {
			if err := os.WriteFile(filepath.Join(o.dir, name+suffix), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return name, name + ".pub"
	}
	key, public := writeKey("team-key")
	_, otherPublic := writeKey("other-key")
	here := o.machine()
	o.build(here, "--cache-to=oci:signed", "--cache-key="+key)
	o.build(here, "--cache-to=oci:plain")
	all := func(text string) bool { return strings.Contains(text, "cached: ") && !strings.Contains(text, "run: ") }
	none := func(text, why string) bool {
		return !strings.Contains(text, "cached: ") && strings.Contains(text, "not used: ") &&
			strings.Contains(text, why)
	}
	if text := o.build(o.machine(), "--cache-from=oci:signed", "--cache-key="+public); !all(text) {
		t.Errorf("results signed by the key are not used:\n%s", text)
	}
	if text := o.build(o.machine(), "--cache-from=oci:signed"); !all(text) {
		t.Errorf("without a key, signed results are not used:\n%s", text)
	}
	if text := o.build(o.machine(), "--cache-from=oci:signed", "--cache-key="+otherPublic); !none(text,
		"is not signed by the key of --cache-key") {
		t.Errorf("results signed by another key are used:\n%s", text)
	}
	there := o.machine()
	if text := o.build(there, "--cache-from=oci:plain"); !all(text) {
		t.Errorf("without a key, unsigned results are not used:\n%s", text)
	}
	if text := o.build(there, "--cache-from=oci:plain", "--cache-key="+public); !none(text, "is not signed") {
		t.Errorf("unsigned results are used by a build with a key:\n%s", text)
	}
	poison(t, filepath.Join(o.dir, "signed"), "etc/backdoor")
	if text := o.build(o.machine(), "--cache-from=oci:signed", "--cache-key="+key); o.has("etc/backdoor") != "" ||
		!none(text, "is not signed by the key") {
		t.Errorf("results that were changed after they were signed are used:\n%s", text)
	}
	if text, err := o.try(here, "--cache-to=oci:signed", "--cache-key="+public); err == nil ||
		!strings.Contains(text, "ERROR: --cache-key: ") {
		t.Errorf("signing with a public key: %v\n%s", err, text)
	}

	// Neither the name nor the bytes of the key are in the store or the share.
	private, err := os.ReadFile(filepath.Join(o.dir, key))
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{key, strings.Split(string(private), "\n")[2]}
	for _, dir := range []string{here, filepath.Join(o.dir, "signed")} {
		grepTree(t, dir, secrets)
	}
}
