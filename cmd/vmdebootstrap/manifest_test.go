// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"

	"github.com/vmdebootstrap/vmdebootstrap/builder/manifest"
)

// readManifest reads a manifest of the working directory.
func (o *offline) readManifest(name string) (manifest.Manifest, []byte) {
	o.t.Helper()
	text, err := os.ReadFile(filepath.Join(o.dir, name))
	if err != nil {
		o.t.Fatal(err)
	}
	m, err := manifest.Read(bytes.NewReader(text))
	if err != nil {
		o.t.Fatal(err)
	}
	return m, text
}

// installs writes a hook that notes in dpkg's database that the packages less, of the archive, and own, of nobody, are
// installed, and makes files.
func (o *offline) installs() string {
	o.t.Helper()
	const text = `#!/bin/sh
set -e
for name in less own; do
	printf '\nPackage: %s\nStatus: install ok installed\nVersion: 1.0\nArchitecture: amd64\n' $name >>$1/var/lib/dpkg/status
done
mkdir -p $1/var/lib/dpkg/info $1/opt
echo /opt/less >$1/var/lib/dpkg/info/less.list
echo less >$1/opt/less
echo more >$1/opt/more
`
	if err := os.WriteFile(filepath.Join(o.dir, "installs.sh"), []byte(text), 0o755); err != nil {
		o.t.Fatal(err)
	}
	return "./installs.sh"
}

func sha256Text(data []byte) string {
	digest := sha256.Sum256(data)
	return hex.EncodeToString(digest[:])
}

// Issue 18, 1: what is in an image is described whether it comes from the cache or not.
func TestManifestOfTheCacheIsTheFirstOne(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	o := newOffline(t)
	state, hook := o.machine(), o.installs()
	o.build(state, "--customize="+hook, "--manifest=first.json", "--sbom=spdx:first.spdx", "--sbom=cyclonedx:first.cdx")
	text := o.build(state, "--customize="+hook, "--manifest=second.json", "--sbom=spdx:second.spdx",
		"--sbom=cyclonedx:second.cdx")
	if !strings.Contains(text, "cached: ") {
		t.Fatalf("nothing came from the cache:\n%s", text)
	}
	for _, suffix := range []string{".json", ".spdx", ".cdx"} {
		first, err := os.ReadFile(filepath.Join(o.dir, "first"+suffix))
		if err != nil {
			t.Fatal(err)
		}
		second, err := os.ReadFile(filepath.Join(o.dir, "second"+suffix))
		if err != nil || !bytes.Equal(first, second) {
			t.Errorf("%s: %v: got\n%s\nwant\n%s", suffix, err, second, first)
		}
	}

	m, _ := o.readManifest("second.json")
	if len(m.Packages) != 2 || m.Packages[0].Name != "less" || m.Packages[1].Name != "own" {
		t.Fatalf("got the packages %+v", m.Packages)
	}
	less, own := m.Packages[0], m.Packages[1]
	path := strings.TrimPrefix(less.Origin.URL, o.repo.URL()+"/")
	deb, ok := o.repo.Get(path)
	if want := sha256Text(deb); !ok || less.SHA256 != want || less.Origin.Suite != "trixie" {
		t.Errorf("less: got %s from %+v, want %s", less.SHA256, less.Origin, want)
	}
	if own.SHA256 != "" || own.Origin != nil {
		t.Errorf("a package of nobody has the origin %+v", own.Origin)
	}
	unowned := func(name string) bool {
		return slices.ContainsFunc(m.Unowned, func(f manifest.File) bool { return f.Name == name })
	}
	if unowned("/opt/less") || !unowned("/opt/more") {
		t.Errorf("got the files of no package %+v", m.Unowned)
	}
	script, err := os.ReadFile(filepath.Join(o.dir, hook))
	if err != nil {
		t.Fatal(err)
	}
	want := manifest.Input{Option: "--customize", Name: "installs.sh", SHA256: sha256Text(script)}
	if !slices.Contains(m.Inputs, want) {
		t.Errorf("got the inputs %+v, want %+v", m.Inputs, want)
	}
	release, _ := o.repo.Get("dists/trixie/InRelease")
	if len(m.Archives) != 2 || m.Archives[0].InRelease != sha256Text(release) {
		t.Errorf("got the archives %+v", m.Archives)
	}
	if len(m.Plan) == 0 || m.Plan[0].Kind != "debootstrap" || m.Disk != nil {
		t.Errorf("got the plan %+v and the disk %+v", m.Plan, m.Disk)
	}
}

// Issue 18, 1: a container image has the manifest and the bills of materials as artifacts that refer to it.
func TestExportedImageHasTheManifestAsArtifact(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	o.build(o.machine(), "--customize="+o.installs(), "--manifest=debian.json", "--sbom=spdx:debian.spdx",
		"--sbom=cyclonedx:debian.cdx", "--export=oci:layout:v1", "--export=oci:unnamed")
	layout, err := oci.New(filepath.Join(o.dir, "layout"))
	if err != nil {
		t.Fatal(err)
	}
	image, err := layout.Resolve(t.Context(), "v1")
	if err != nil {
		t.Fatal(err)
	}
	artifacts, err := layout.Predecessors(t.Context(), image)
	if err != nil || len(artifacts) != 3 {
		t.Fatalf("got %v (%v), want three", artifacts, err)
	}
	types := map[string]string{"debian.json": manifest.MediaType, "debian.spdx": "application/spdx+json",
		"debian.cdx": "application/vnd.cyclonedx+json"}
	for _, a := range artifacts {
		files, err := content.Successors(t.Context(), layout, a)
		if err != nil {
			t.Fatal(err)
		}
		file := files[len(files)-1] // after the subject and the configuration
		name := file.Annotations["org.opencontainers.image.title"]
		got, err := content.FetchAll(t.Context(), layout, file)
		want := readFile(t, filepath.Join(o.dir, name))
		if err != nil || string(got) != want || types[name] != file.MediaType {
			t.Errorf("%q of type %q: %v: got\n%s\nwant\n%s", name, file.MediaType, err, got, want)
		}
		delete(types, name)
	}
	// Programs read a layout without a name only if it has one image and nothing else.
	if text := readFile(t, filepath.Join(o.dir, "unnamed/index.json")); strings.Count(text, "mediaType") != 2 {
		t.Errorf("unnamed: %s", text)
	}
}

// Issue 18, 1: the layout is that of the image that was written, whose size was not known before.
func TestManifestHasTheDiskThatWasWritten(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	o.build(o.machine(), "--tarball=", "--image=out.img", "--size=auto", "--free=7M", "--no-extlinux", "--no-mbr",
		"--manifest=out.json")
	info, err := os.Stat(filepath.Join(o.dir, "out.img"))
	if err != nil {
		t.Fatal(err)
	}
	m, _ := o.readManifest("out.json")
	if m.Disk == nil || m.Disk.Size != uint64(info.Size()) || m.Disk.Table != "msdos" || len(m.Disk.Partitions) != 1 {
		t.Fatalf("got the disk %+v, want one of %d bytes", m.Disk, info.Size())
	}
	p := m.Disk.Partitions[0]
	if p.ID == "" || p.Filesystem.Type != "ext4" ||
		p.Filesystem.ID != o.readUUID("out.img", int64(p.Start)+superblockUUID) {
		t.Errorf("got the partition %+v", p)
	}
}

// superblockUUID is the offset of s_uuid in an ext file system (Documentation/filesystems/ext4/super.rst).
const superblockUUID = 1024 + 0x68

// readUUID returns the UUID at an offset of a file of the working directory.
func (o *offline) readUUID(name string, offset int64) string {
	o.t.Helper()
	f, err := os.Open(filepath.Join(o.dir, name))
	if err != nil {
		o.t.Fatal(err)
	}
	defer f.Close()
	data := make([]byte, 16)
	if _, err := f.ReadAt(data, offset); err != nil {
		o.t.Fatal(err)
	}
	text := hex.EncodeToString(data)
	return strings.Join([]string{text[:8], text[8:12], text[12:16], text[16:20], text[20:]}, "-")
}
