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

// TestWhatComesFromAPlaceIsUsedByBuildsThatNameIt has somebody put a back door into all images of a place, those of a
// toolbox among them (issue 12, B9). Who names the place has it; nobody else, whatever was built before.
func TestWhatComesFromAPlaceIsUsedByBuildsThatNameIt(t *testing.T) {
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
		t.Errorf("a build that trusts the place has %q:\n%s", got, text)
	}
	if got := o.has("etc/above"); got == "" {
		t.Error("the command did not run")
	}
	for _, args := range [][]string{
		{"--package=less"},
		{"--package=less", "--run=echo above >/etc/above"},
		{"--package=less", "--hostname=elsewhere", "--run=echo more >/etc/more"},
		{"--package=less", "--debootstrapopts=include=less"}, // which has debootstrap run, and the toolbox with it
		{"--package=less", "--cache-from=oci:other", "--run=echo above >/etc/above"},
	} {
		// Nor does it matter that the name of another place leads there.
		if err := os.Mkdir(other, 0o755); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
		text = o.build(there, args...)
		if got := o.has(backdoors...); got != "" || strings.Contains(text, "share: ") &&
			!strings.Contains(text, "not used: ") {
			t.Errorf("a build that does not trust the place (%q) has %s:\n%s", args, got, text)
		}
	}
	// The machine's own results are good for everybody, and go first.
	text = o.build(there, "--package=less", "--cache-from=oci:share", "--run=echo above >/etc/above")
	if got := o.has(backdoors...); got != "" || strings.Contains(text, "run: ") {
		t.Errorf("after a clean build there is %q:\n%s", got, text)
	}
	if text := o.build(here, "--package=less"); o.has(backdoors...) != "" || strings.Contains(text, "run: ") {
		t.Errorf("the machine that shared:\n%s", text)
	}
}

// TestASnapshotAboveSharedOnesIsNotForOthers: a chain's later snapshots carry where the first came from.
func TestASnapshotAboveSharedOnesIsNotForOthers(t *testing.T) {
	o := newOffline(t)
	here, there := o.machine(), o.machine()
	o.build(here, "--cache-to=oci:share", "--user=joe/secret")
	poison(t, filepath.Join(o.dir, "share"), "etc/backdoor")
	above := []string{"--user=joe/secret", "--run=echo above >/etc/above"}
	text := o.build(there, append(above, "--cache-from=oci:share")...)
	if o.has("etc/backdoor") == "" {
		t.Fatalf("the place was not used:\n%s", text)
	}
	text = o.build(there, append(above, "--cache-from=oci:share")...)
	if o.has("etc/backdoor") == "" || strings.Contains(text, "run: ") {
		t.Errorf("a second build that trusts the place runs steps again:\n%s", text)
	}
	text = o.build(there, above...)
	if got := o.has("etc/backdoor"); got != "" || !strings.Contains(text, "not used: ") ||
		strings.Contains(text, "cached: ") {
		t.Errorf("a build that does not name the place has %q:\n%s", got, text)
	}
}

// TestSharingMakesItsDirectory (issue 12, B13): the form of README and --help names one that is not there.
func TestSharingMakesItsDirectory(t *testing.T) {
	o := newOffline(t)
	here := o.machine()
	if err := os.Mkdir(filepath.Join(o.dir, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"new", "empty"} {
		o.build(here, "--cache-to=oci:"+name, "--cache-from=oci:"+name)
		if !exists(t, filepath.Join(o.dir, name, imgspec.ImageIndexFile)) {
			t.Errorf("%s is no image layout", name)
		}
		text := o.build(o.machine(), "--cache-from=oci:"+name)
		if strings.Contains(text, "run: ") || !strings.Contains(text, "cached: ") {
			t.Errorf("another machine does not begin with what is in %s:\n%s", name, text)
		}
	}
}

// TestAPlaceThatCannotBeWrittenIsRefusedAtOnce: not after the work (issue 12, B13).
func TestAPlaceThatCannotBeWrittenIsRefusedAtOnce(t *testing.T) {
	o := newOffline(t)
	here := o.machine()
	for _, place := range []string{"oci:/proc/new", "oci:/sys", "oci:missing/new"} {
		text, err := o.try(here, "--cache-to="+place)
		if err == nil || !strings.Contains(text, "ERROR: --cache-to: ") || strings.Contains(text, "bootstrap trixie") {
			t.Errorf("%s: %v\n%s", place, err, text)
		}
	}
	if n := o.repo.Count("pool/"); n > 0 {
		t.Errorf("%d packages were downloaded first", n)
	}
}

// poison puts a file into the lowest layer of each image of a layout, and gives the number of images.
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

// TestCacheKeySignsAndChecks: with --cache-key, what nobody with the key has shared is not used, whenever it came.
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
		t.Errorf("what the key has signed is not used:\n%s", text)
	}
	if text := o.build(o.machine(), "--cache-from=oci:signed"); !all(text) {
		t.Errorf("without a key, what is signed is not used:\n%s", text)
	}
	if text := o.build(o.machine(), "--cache-from=oci:signed", "--cache-key="+otherPublic); !none(text,
		"is not signed by the key of --cache-key") {
		t.Errorf("what another key has signed is used:\n%s", text)
	}
	there := o.machine()
	if text := o.build(there, "--cache-from=oci:plain"); !all(text) {
		t.Errorf("without a key, what is not signed is not used:\n%s", text)
	}
	if text := o.build(there, "--cache-from=oci:plain", "--cache-key="+public); !none(text, "is not signed") {
		t.Errorf("what came without a signature is used by a build that asks for one:\n%s", text)
	}
	poison(t, filepath.Join(o.dir, "signed"), "etc/backdoor")
	if text := o.build(o.machine(), "--cache-from=oci:signed", "--cache-key="+key); o.has("etc/backdoor") != "" ||
		!none(text, "is not signed by the key") {
		t.Errorf("what was changed after it was signed is used:\n%s", text)
	}
	if text, err := o.try(here, "--cache-to=oci:signed", "--cache-key="+public); err == nil ||
		!strings.Contains(text, "ERROR: --cache-key: ") {
		t.Errorf("signing with a public key: %v\n%s", err, text)
	}

	// Neither name nor bytes of the key are in what is kept and shared.
	private, err := os.ReadFile(filepath.Join(o.dir, key))
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{key, strings.Split(string(private), "\n")[2]}
	for _, dir := range []string{here, filepath.Join(o.dir, "signed")} {
		grepTree(t, dir, secrets)
	}
}
