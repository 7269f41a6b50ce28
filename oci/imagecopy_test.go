// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/storage"
	"golang.org/x/sys/unix"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/owners"
	"github.com/vmdebootstrap/vmdebootstrap/oci/ocitest"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// capNetRaw is security.capability, version 2, with cap_net_raw=ep.
const capNetRaw = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// defaultACL is user::rwx,group::r-x,group:4:r-x,mask::r-x,other::r-x (linux/posix_acl_xattr.h).
const defaultACL = "\x02\x00\x00\x00" + "\x01\x00\x07\x00\xff\xff\xff\xff" + "\x04\x00\x05\x00\xff\xff\xff\xff" +
	"\x08\x00\x05\x00\x04\x00\x00\x00" + "\x10\x00\x05\x00\xff\xff\xff\xff" + "\x20\x00\x05\x00\xff\xff\xff\xff"

// testArchive returns an archive with a file of group 42 and one with a capability.
func testArchive(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range []tar.Header{
		{Typeflag: tar.TypeDir, Name: "./", Mode: 0o755},
		{Typeflag: tar.TypeDir, Name: "./etc/", Mode: 0o755,
			PAXRecords: map[string]string{"SCHILY.xattr.system.posix_acl_default": defaultACL}},
		{Typeflag: tar.TypeReg, Name: "./etc/shadow", Mode: 0o640, Gid: 42, Size: 1, ModTime: time.Unix(1700000000, 0)},
		{Typeflag: tar.TypeSymlink, Name: "./etc/link", Linkname: "shadow", Mode: 0o777, Gid: 42},
		{Typeflag: tar.TypeReg, Name: "./ping", Mode: 0o755, Size: 1,
			PAXRecords: map[string]string{"SCHILY.xattr.security.capability": capNetRaw}},
		{Typeflag: tar.TypeLink, Name: "./pong", Linkname: "./ping"},
	} {
		err := w.WriteHeader(&h)
		if h.Size > 0 {
			_, err = w.Write([]byte("x"))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// testLayout writes an OCI layout with one image for the test's architecture, and returns the
// digest of its manifest.
func testLayout(t *testing.T) (dir string, manifest digest.Digest) {
	t.Helper()
	dir = t.TempDir()
	blob := func(mediaType string, data []byte) imgspec.Descriptor {
		d := imgspec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
		writeTestFile(t, filepath.Join(dir, "blobs", "sha256", d.Digest.Encoded()), data)
		return d
	}
	encode := func(v any) []byte {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	layer := blob(imgspec.MediaTypeImageLayer, testArchive(t))
	config := blob(imgspec.MediaTypeImageConfig, encode(imgspec.Image{
		Platform: imgspec.Platform{OS: "linux", Architecture: "amd64"},
		RootFS:   imgspec.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer.Digest}},
	}))
	m := blob(imgspec.MediaTypeImageManifest, encode(imgspec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspec.MediaTypeImageManifest, Config: config,
		Layers:      []imgspec.Descriptor{layer},
		Annotations: map[string]string{"suite": "trixie"},
	}))
	writeTestFile(t, filepath.Join(dir, imgspec.ImageIndexFile), encode(imgspec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []imgspec.Descriptor{m},
	}))
	writeTestFile(t, filepath.Join(dir, imgspec.ImageLayoutFile),
		encode(imgspec.ImageLayout{Version: imgspec.ImageLayoutVersion}))
	return dir, m.Digest
}

func writeTestFile(t *testing.T, name string, data []byte) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(name), 0o755)
	if err == nil {
		err = os.WriteFile(name, data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// home returns an environment with a store and credentials of the test.
func home(t *testing.T) (dir string, environ []string) {
	t.Helper()
	dir = t.TempDir()
	for _, sub := range []string{"run", "data"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	conf := filepath.Join(dir, "storage.conf")
	writeTestFile(t, conf,
		fmt.Appendf(nil, "[storage]\ndriver = \"overlay\"\ngraphroot = \"%[1]s/data\"\nrunroot = \"%[1]s/run\"\nrootless_storage_path = \"%[1]s/data\"\n", dir))
	return dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "XDG_RUNTIME_DIR=" + dir + "/run",
		"CONTAINERS_STORAGE_CONF=" + conf}
}

func TestCopyImageWritesADockerArchive(t *testing.T) {
	t.Parallel()
	e := openEngine(t)
	dir, _ := testLayout(t)
	f, err := os.Create(filepath.Join(t.TempDir(), "image.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, environ := home(t)
	// The file may have another name than the destination.
	c := types.ImageCopy{Layout: dir, Destination: "docker-archive:/nowhere.tar:localhost/debian:test", File: f,
		Environ: environ}
	if err := e.CopyImage(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(diskimagetest.Tool(t, "skopeo"), "inspect",
		"docker-archive:"+f.Name()+":localhost/debian:test").CombinedOutput()
	if err != nil || !strings.Contains(string(out), `"amd64"`) {
		t.Errorf("got %s (%v)", out, err)
	}
}

func TestCopyImageWritesToThePodmanStore(t *testing.T) {
	needsNamespaces(t)
	t.Parallel()
	e := openEngine(t)
	dir, manifest := testLayout(t)
	place, environ := home(t)
	c := types.ImageCopy{Layout: dir, Destination: "containers-storage:localhost/debian:test", Environ: environ}
	if here.SingleID() || here.Isolation == host.IsolationUserNS && here.Caller == 0 {
		var lack *HostError
		if err := e.CheckDestination(t.Context(), c); !errors.As(err, &lack) {
			t.Errorf("got %v with the isolation %s, want a *HostError", err, here.Isolation)
		}
		return
	}
	if err := errors.Join(e.CheckDestination(t.Context(), c), e.CopyImage(t.Context(), c)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(place); err != nil {
			t.Error(err)
		}
	})
	store, err := storage.GetStore(storage.StoreOptions{
		GraphRoot: filepath.Join(place, "data"), RunRoot: filepath.Join(place, "run"),
		GraphDriverName: host.DriverOverlay,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Free()
	image, err := store.Image("localhost/debian:test")
	if err != nil || image.Digest != manifest {
		t.Fatalf("got %+v (%v), want digest %s", image, err, manifest)
	}
	root := filepath.Join(place, "data", "overlay", image.TopLayer, "diff")
	checkUnpacked(t, root)
	if _, err := store.Shutdown(true); err != nil {
		t.Error(err)
	}
	graph := filepath.Join(place, "data")
	before := listStates(t, graph)
	for _, source := range []string{"localhost/debian:test", "debian:test", "[overlay@" + graph + "]localhost/debian:test",
		"[" + graph + "]debian:test", image.ID[:12]} {
		p := ImagePull{Source: "containers-storage:" + source, Dir: filepath.Join(place, "images"), Architecture: "amd64"}
		layout, remove, err := e.PullLocal(t.Context(), p, environ)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		config := filepath.Join(layout, "blobs", "sha256", image.ID)
		if _, err := os.Stat(config); err != nil {
			t.Errorf("%s is another image: %v", source, err)
		}
		if err := remove(); err != nil {
			t.Error(err)
		}
	}
	for source, want := range map[string]string{
		"debian:none": "identifier is not an image", "[/nowhere]a": "/nowhere is no container store",
	} {
		p := ImagePull{Source: "containers-storage:" + source, Dir: filepath.Join(place, "images")}
		if _, _, err := e.PullLocal(t.Context(), p, environ); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", source, err, want)
		}
	}
	if after := listStates(t, graph); !maps.Equal(after, before) {
		for name, state := range after {
			if before[name] != state {
				t.Errorf("reading has changed %s from %q to %q", name, before[name], state)
			}
		}
		t.Errorf("%d files in the store before, %d after", len(before), len(after))
	}
	if left, err := os.ReadDir(filepath.Join(place, "images")); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

// listStates returns what a program can change of each file below a directory, times included, except when it was read.
func listStates(t *testing.T, dir string) map[string]string {
	t.Helper()
	states := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		err = errors.Join(err, unix.Lstat(name, &st))
		states[name] = fmt.Sprintf("inode %d mode %o size %d changed %d", st.Ino, st.Mode, st.Size, st.Ctim.Nano())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return states
}

// checkUnpacked checks that testArchive was unpacked correctly.
func checkUnpacked(t *testing.T, root string) {
	t.Helper()
	var shadow, ping, pong unix.Stat_t
	err := errors.Join(unix.Lstat(root+"/etc/shadow", &shadow), unix.Lstat(root+"/ping", &ping),
		unix.Lstat(root+"/pong", &pong))
	if err != nil {
		t.Fatal(err)
	}
	if here.Isolation == host.IsolationSingle {
		o, err := owners.Read(root+"/etc/shadow", shadow.Mode)
		if err != nil {
			t.Error(err)
		}
		shadow.Gid = o.GID
	}
	if shadow.Gid != 42 || shadow.Mode&0o777 != 0o640 || shadow.Mtim.Sec != 1700000000 {
		t.Errorf("got %+v", shadow)
	}
	if ping.Ino != pong.Ino {
		t.Error("a hard link became a separate file")
	}
	value := make([]byte, 64)
	if n, err := unix.Lgetxattr(root+"/ping", "security.capability", value); err != nil ||
		string(value[:n]) != capNetRaw {
		t.Errorf("got %q (%v)", value[:max(n, 0)], err)
	}
}

func TestUnpackCreatesACompleteDirectoryOrNothing(t *testing.T) {
	t.Parallel()
	e := openEngine(t)
	data := testArchive(t)
	dir := filepath.Join(t.TempDir(), "root")
	if err := e.CheckDestination(t.Context(), types.ImageCopy{Destination: "dir:" + dir}); errors.Is(err,
		errors.ErrUnsupported) != (here.Isolation == host.IsolationSingle) {
		t.Errorf("unpacking a broken archive with %s: got %v", here.Isolation, err)
	}
	if err := e.Unpack(t.Context(), bytes.NewReader(data[:len(data)/2-300]), dir); err == nil {
		t.Error("half an archive was unpacked")
	}
	if left, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(left) != 0 {
		t.Errorf("left over: %v (%v)", left, err)
	}
	if err := e.Unpack(t.Context(), bytes.NewReader(data), dir); err != nil {
		t.Fatal(err)
	}
	checkUnpacked(t, dir)
	if err := e.Unpack(t.Context(), bytes.NewReader(data), dir); !errors.Is(err, os.ErrExist) {
		t.Errorf("got %v", err)
	}
}

// A directory of the user is not mistaken for a leftover of a killed build (issue 12, A5).
func TestUnpackRemovesOnlyItsOwnLeftovers(t *testing.T) {
	t.Parallel()
	e := openEngine(t)
	parent := t.TempDir()
	dir := filepath.Join(parent, "root")
	working, lock, err := makePartialDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	killed, ended, err := makePartialDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	write(t, killed+"/file", "left over")
	if err := ended.Close(); err != nil {
		t.Fatal(err)
	}
	own := []string{dir + ".partial", filepath.Join(parent, ".root.vmdebootstrap-mine"),
		filepath.Join(parent, ".other"+partialMark+strings.Repeat("A", 26))}
	for _, name := range own {
		write(t, name+"/file", "the user's")
	}
	if err := e.Unpack(t.Context(), bytes.NewReader(testArchive(t)), dir); err != nil {
		t.Fatal(err)
	}
	checkUnpacked(t, dir)
	for _, name := range own {
		if text, err := os.ReadFile(name + "/file"); err != nil || string(text) != "the user's" {
			t.Errorf("%s holds %q (%v)", name, text, err)
		}
	}
	if _, err := os.Lstat(working); err != nil {
		t.Errorf("another build's directory is gone: %v", err)
	}
	if _, err := os.Lstat(killed); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory of a killed build still exists: %v", err)
	}
}

// layerBytes returns the length of an image's layers in a layout.
func layerBytes(t *testing.T, layout string, manifest digest.Digest) int64 {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(layout, "blobs", "sha256", manifest.Encoded()))
	if err != nil {
		t.Fatal(err)
	}
	var m imgspec.Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	var total int64
	for _, l := range m.Layers {
		total += l.Size
	}
	return total
}

func TestCopyImagePushesToARegistry(t *testing.T) {
	t.Parallel()
	e := openEngine(t)
	dir, manifest := testLayout(t)
	_, environ := home(t)
	host := ocitest.StartRegistry(t, diskimagetest.Tool(t, "docker-registry"), false)
	c := types.ImageCopy{Layout: dir, Destination: "docker://" + host + "/os/debian:13", Environ: environ}
	if err := e.CheckDestination(t.Context(), c); err == nil || !strings.Contains(err.Error(), "HTTP") {
		t.Errorf("a registry without TLS: got %v", err)
	}
	c.SkipTLSVerify = true
	// What is there already counts as copied, so the second copy ends with the same number.
	for _, what := range []string{"copied", "skipped"} {
		var last int64
		c.Progress = func(bytes int64) { last = bytes }
		if err := errors.Join(e.CheckDestination(t.Context(), c), e.CopyImage(t.Context(), c)); err != nil {
			t.Fatal(err)
		}
		if want := layerBytes(t, dir, manifest); last < want { // the configuration may count as well
			t.Errorf("%s %d bytes of layers, want %d", what, last, want)
		}
	}
	out, err := exec.Command(diskimagetest.Tool(t, "skopeo"), "inspect", "--tls-verify=false",
		"--no-creds", c.Destination).CombinedOutput()
	if err != nil || !strings.Contains(string(out), manifest.String()) {
		t.Errorf("got %s (%v), want digest %s", out, err, manifest)
	}
}

// Issue 18, 1: bills of materials refer to the image. Debian's registry does not list referrers, so that the list is an
// index with a tag; oras-go finds them there, with a password or without.
func TestCopyImagePushesArtifacts(t *testing.T) {
	t.Parallel()
	e := openEngine(t)
	dir, image := testLayout(t)
	artifact := testArtifact(t, dir, image)
	for _, login := range []bool{false, true} {
		_, environ := home(t)
		host := ocitest.StartRegistry(t, diskimagetest.Tool(t, "docker-registry"), login)
		credential := auth.EmptyCredential
		if login {
			file := filepath.Join(t.TempDir(), "auth.json")
			writeTestFile(t, file, fmt.Appendf(nil, `{"auths": {%q: {"auth": "YWxpY2U6c2VjcmV0"}}}`, host)) // alice:secret
			environ = append(environ, "REGISTRY_AUTH_FILE="+file)
			credential = auth.Credential{Username: "alice", Password: "secret"}
		}
		c := types.ImageCopy{Layout: dir, Destination: "docker://" + host + "/os/debian:13", Environ: environ,
			SkipTLSVerify: true, Artifacts: []types.Artifact{artifact}}
		for range 2 { // again, it is listed once
			if err := e.CopyImage(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		repository, err := remote.NewRepository(host + "/os/debian")
		if err != nil {
			t.Fatal(err)
		}
		repository.PlainHTTP = true
		repository.Client = &auth.Client{Credential: auth.StaticCredential(host, credential)}
		tagged, err := repository.Resolve(t.Context(), "13")
		if err != nil || tagged.Digest != image {
			t.Fatalf("login %v: the image is %v (%v), want %s", login, tagged, err, image)
		}
		var found []imgspec.Descriptor
		err = repository.Referrers(t.Context(), tagged, "application/spdx+json", func(page []imgspec.Descriptor) error {
			found = append(found, page...)
			return nil
		})
		if err != nil || len(found) != 1 || found[0].Digest != artifact.Digest {
			t.Errorf("login %v: got %v (%v), want %s", login, found, err, artifact.Digest)
		}
	}
}

// testArtifact adds an artifact that refers to an image of a layout.
func testArtifact(t *testing.T, dir string, image digest.Digest) types.Artifact {
	t.Helper()
	const mediaType = "application/spdx+json"
	blob := func(mediaType string, data []byte) imgspec.Descriptor {
		d := imgspec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
		writeTestFile(t, filepath.Join(dir, "blobs/sha256", d.Digest.Encoded()), data)
		return d
	}
	info, err := os.Stat(filepath.Join(dir, "blobs/sha256", image.Encoded()))
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(imgspec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspec.MediaTypeImageManifest, ArtifactType: mediaType,
		Config:  blob(imgspec.MediaTypeEmptyJSON, []byte("{}")),
		Layers:  []imgspec.Descriptor{blob(mediaType, []byte(`{"spdxVersion": "SPDX-2.3"}`))},
		Subject: &imgspec.Descriptor{MediaType: imgspec.MediaTypeImageManifest, Digest: image, Size: info.Size()},
	})
	if err != nil {
		t.Fatal(err)
	}
	manifest := blob(imgspec.MediaTypeImageManifest, data)
	return types.Artifact{Type: mediaType, Digest: manifest.Digest, Size: manifest.Size}
}

func TestCredentialsComeFromTheUsualFiles(t *testing.T) {
	t.Parallel()
	e := openEngine(t)
	host := ocitest.StartRegistry(t, diskimagetest.Tool(t, "docker-registry"), true)
	auth := fmt.Appendf(nil, `{"auths": {%q: {"auth": "YWxpY2U6c2VjcmV0"}}}`, host) // alice:secret
	for name, place := range map[string]func(dir string) (file string, environ []string){
		"none": func(string) (string, []string) { return "", nil },
		"REGISTRY_AUTH_FILE": func(dir string) (string, []string) {
			return dir + "/own.json", []string{"REGISTRY_AUTH_FILE=" + dir + "/own.json"}
		},
		"auth.json":   func(dir string) (string, []string) { return dir + "/run/containers/auth.json", nil },
		"config.json": func(dir string) (string, []string) { return dir + "/.docker/config.json", nil },
		"DOCKER_CONFIG": func(dir string) (string, []string) {
			return dir + "/d/config.json", []string{"DOCKER_CONFIG=" + dir + "/d"}
		},
	} {
		dir, environ := home(t)
		file, more := place(dir)
		if file != "" {
			writeTestFile(t, file, auth)
		}
		c := types.ImageCopy{Destination: "docker://" + host + "/debian:13", Environ: slices.Concat(environ, more),
			SkipTLSVerify: true}
		err := e.CheckDestination(t.Context(), c)
		if file != "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if file == "" && (err == nil || !strings.Contains(err.Error(), "authentication required")) {
			t.Errorf("without credentials: got %v", err)
		}
	}
}

func TestCopyImageEndsWithItsContext(t *testing.T) {
	t.Parallel()
	e := openEngine(t)
	l, err := net.Listen("tcp", "127.0.0.1:0") // never responds
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, environ := home(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		if c, err := l.Accept(); err == nil {
			defer c.Close()
		}
		cancel()
	}()
	c := types.ImageCopy{Destination: "docker://" + l.Addr().String() + "/x:1", Environ: environ, SkipTLSVerify: true}
	if err := e.CheckDestination(ctx, c); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestBeforeReturnsTheStateOfASnapshot(t *testing.T) {
	t.Parallel()
	c, err := openEngine(t).Scratch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(
		c.WriteFile("/one", nil, 0o644), c.Snapshot(t.Context(), "first", nil), c.Remove("/one"),
		c.WriteFile("/two", nil, 0o644), c.Snapshot(t.Context(), "second", nil), c.WriteFile("/three", nil, 0o644),
	)
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range map[int][]string{1: {"one"}, 2: {"two"}} {
		before, err := c.Before(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		entries, err := before.ReadDir("/")
		for _, e := range entries {
			got = append(got, e.Name())
		}
		if err := errors.Join(err, before.Close()); err != nil || !slices.Equal(got, want) {
			t.Errorf("%d: got %v (%v), want %v", n, got, err, want)
		}
	}
	for _, n := range []int{0, 3} {
		if _, err := c.Before(t.Context(), n); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%d: got %v", n, err)
		}
	}
}
