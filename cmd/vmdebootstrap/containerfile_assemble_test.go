// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vmdebootstrap/vmdebootstrap/builder/ociimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/tarfile"
	"github.com/vmdebootstrap/vmdebootstrap/oci/ocitest"
)

// TestAssembleMakesADiskOfAContainerfile begins with our own exports, one of them in a registry (issue 19, 1).
func TestAssembleMakesADiskOfAContainerfile(t *testing.T) {
	o := newOffline(t)
	state := o.machine()
	image := ocitest.StartRegistry(t, diskimagetest.Tool(t, "docker-registry"), false) + "/base:1"
	o.build(state, "--export=oci-archive:base.tar:base", "--export=docker://"+image, "--no-tls-verify")
	dir := filepath.Join(o.dir, "server")
	must(t, os.Mkdir(dir, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "data"), []byte("data\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "Containerfile"), []byte(`ARG BASE=`+image+`
FROM oci-archive:base.tar AS tools
RUN --mount=type=secret,id=key cat /run/secrets/key | busybox md5sum >/made
FROM $BASE
ARG NAME
COPY --from=tools /made /etc/made
COPY --chown=7:8 data /opt/
RUN echo "$NAME" >/etc/name && busybox chown 5:6 /etc/name
ENTRYPOINT x
`), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "key"), []byte("key-secret"), 0o600))
	assemble := func(args ...string) (string, error) {
		t.Helper()
		cmd := vmdebootstrap(t, append([]string{"assemble", "--from=containerfile:server", "--image=x.img", "--verbose",
			"--state-dir=" + state, "--build-arg=NAME=ours", "--secret=id=key,src=server/key", "--no-tls-verify"}, args...)...)
		cmd.Dir, cmd.Env = o.dir, append(os.Environ(), "SOURCE_DATE_EPOCH=1750000000")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	said, err := assemble("--boot=none")
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if !strings.Contains(said, "ENTRYPOINT (line 9): a disk boots an init system") {
		t.Errorf("ENTRYPOINT is not named:\n%s", said)
	}
	cmd := vmdebootstrap(t, "extract", "x.img", "--directory=/", "--filename=out.tar")
	cmd.Dir = o.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	files, owners := o.files(), o.owners()
	for name, want := range map[string]string{
		"etc/name": "ours\n", "etc/made": fmt.Sprintf("%x  -\n", md5.Sum([]byte("key-secret"))), "opt/data": "data\n",
	} {
		if files[name] != want {
			t.Errorf("%s is %q, want %q", name, files[name], want)
		}
	}
	if owners["etc/name"] != "5:6 644" || owners["opt/data"] != "7:8 644" {
		t.Errorf("owners: %v", owners)
	}
	if said, err = assemble("--boot=none"); err != nil || !strings.Contains(said, "continue after: Containerfile:8: RUN") {
		t.Errorf("the second time: %v\n%s", err, said)
	}
	made, err := os.ReadFile(filepath.Join(o.dir, "x.img"))
	must(t, err)
	if said, err = assemble("--boot=none", "--no-cache"); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if again, err := os.ReadFile(filepath.Join(o.dir, "x.img")); err != nil || !bytes.Equal(again, made) {
		t.Errorf("the image has other bytes when its steps run again with SOURCE_DATE_EPOCH (%v)", err)
	}
	said, err = assemble("--grub")
	for _, want := range []string{
		"no kernel (/boot/vmlinuz-VERSION): add to the Containerfile: RUN apt-get update && apt-get install -y linux-image-",
		"no /sbin/init: add to the Containerfile: RUN apt-get update && apt-get install -y systemd-sysv",
		"apt-get install -y grub-pc",
	} {
		if err == nil || !strings.Contains(said, want) {
			t.Errorf("the error (%v) lacks %q:\n%s", err, want, said)
		}
	}
	grepTree(t, state, []string{"key-secret"})
	file := filepath.Join(dir, "Containerfile")
	must(t, os.WriteFile(file, []byte("FROM rootfs\nRUN x\nFROM oci:none\nRUUN x\n"), 0o644))
	if said, err = assemble(); err == nil || !strings.Contains(said, "server/Containerfile:4: unknown instruction: RUUN") {
		t.Errorf("a mistyped instruction: %v\n%s", err, said)
	}
	must(t, os.WriteFile(file, []byte("FROM rootfs\nRUN x\nFROM oci:none\nRUN x\n"), 0o644))
	said, err = assemble()
	for _, want := range []string{
		"Containerfile:1: FROM: rootfs is the system of a build", `Containerfile:3: FROM: there is no "none"`,
	} {
		if err == nil || !strings.Contains(said, want) {
			t.Errorf("the error (%v) lacks %q:\n%s", err, want, said)
		}
	}
}

// TestAssembleNamesWhatADiskDoesNotHaveOfAnImage reads a container image of a service (issue 19, 1).
func TestAssembleNamesWhatADiskDoesNotHaveOfAnImage(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "root/etc"), 0o755))
	layout, err := ociimage.Create(filepath.Join(dir, "image"))
	must(t, err)
	tree := diskimage.NewDirTree(filepath.Join(dir, "root"))
	must(t, layout.AddLayer(t.Context(), tree, "", ociimage.Compression{Method: tarfile.Gzip}))
	_, err = layout.Finish(ociimage.Image{Platform: imgspec.Platform{OS: "linux", Architecture: "amd64"},
		Config: imgspec.ImageConfig{User: "www", Env: []string{"PATH=/bin", "TOKEN=password"}, Cmd: []string{"httpd"}}})
	must(t, err)
	cmd := vmdebootstrap(t, "assemble", "--from=oci:image", "--image=x.img", "--boot=none", "--arch=amd64",
		"--state-dir=state")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	want := "WARNING: oci:image: ENV (TOKEN), USER, CMD: a disk boots an init system and not a container's process, so " +
		"that has no effect when it boots: set up a systemd unit for it\n"
	if err != nil || string(out) != want {
		t.Errorf("%v: got %s\nwant %s", err, out, want)
	}
}

// TestContainerfilesBeginWithEveryExport begins stages with what --export writes, and with podman's store, which is
// only read (issue 19, 1). That of a registry is in TestAssembleMakesADiskOfAContainerfile.
func TestContainerfilesBeginWithEveryExport(t *testing.T) {
	o := newOffline(t)
	state := o.machine()
	conf := filepath.Join(o.dir, "storage.conf")
	must(t, os.WriteFile(conf, fmt.Appendf(nil, "[storage]\ndriver = \"overlay\"\ngraphroot = \"%[1]s\"\n"+
		"rootless_storage_path = \"%[1]s\"\nrunroot = \"%[1]s-run\"\n", filepath.Join(o.dir, "graph")), 0o644))
	t.Setenv("CONTAINERS_STORAGE_CONF", conf)
	t.Cleanup(func() {
		remove := exec.Command(diskimagetest.Tool(t, "unshare"), "--map-root-user", "--map-auto", "rm", "-rf",
			filepath.Join(o.dir, "graph")) // some of it belongs to subordinate ids
		if out, err := remove.CombinedOutput(); err != nil && os.Getuid() != 0 {
			t.Errorf("%v\n%s", err, out)
		}
	})
	bases := []string{"oci:base.oci:base", "oci-archive:base.oci.tar:base", "docker-archive:base.docker.tar:base:1",
		"tar:base.tar", "containers-storage:base:1"}
	rootsStore := os.Getuid() == 0 // which a user namespace cannot read
	if rootsStore {
		bases = bases[:len(bases)-1]
	}
	var args []string
	var file, copies strings.Builder
	for i, base := range bases {
		args = append(args, "--export="+base)
		fmt.Fprintf(&file, "FROM %s AS stage%d\nRUN echo %d >/made%d\n", base, i, i, i)
		fmt.Fprintf(&copies, "COPY --from=stage%d /made%d /etc/\n", i, i)
	}
	o.build(state, args...)
	dir := filepath.Join(o.dir, "server")
	must(t, os.Mkdir(dir, 0o755))
	text := file.String() + "FROM scratch\n" + copies.String()
	must(t, os.WriteFile(filepath.Join(dir, "Containerfile"), []byte(text), 0o644))
	before := listTree(t, filepath.Join(o.dir, "graph"))
	run := func(args ...string) (string, error) {
		t.Helper()
		cmd := vmdebootstrap(t, args...)
		cmd.Dir = o.dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	assemble := func(from string) (string, error) {
		t.Helper()
		return run("assemble", "--from="+from, "--image=x.img", "--boot=none", "--distribution=trixie", "--state-dir="+state)
	}
	said, err := assemble("containerfile:server")
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if said, err := run("extract", "x.img", "--directory=/", "--filename=out.tar"); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	files := o.files()
	for i, base := range bases {
		if got, want := files[fmt.Sprintf("etc/made%d", i)], fmt.Sprintf("%d\n", i); got != want {
			t.Errorf("FROM %s: got %q, want %q", base, got, want)
		}
	}
	said, err = assemble("containers-storage:base:1")
	if rootsStore {
		if err == nil || !strings.Contains(said, "the store of root's podman cannot be used from a user namespace") {
			t.Errorf("the store of root's podman: %v\n%s", err, said)
		}
	} else if err != nil {
		t.Errorf("an image of the store as the source of assemble: %v\n%s", err, said)
	}
	if after := listTree(t, filepath.Join(o.dir, "graph")); after != before {
		t.Errorf("the store was\n%sand is\n%s", before, after)
	}
	if said, err := run("inspect", "containers-storage:base:1"); err == nil || !strings.Contains(said, "podman save") {
		t.Errorf("inspect: %v\n%s", err, said)
	}
}
