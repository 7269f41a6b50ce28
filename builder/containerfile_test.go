// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
)

// writeFiles writes files to a new directory and returns it.
func writeFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// containerfileSpec checks the options of a tarball with the Containerfile of a directory.
func containerfileSpec(dir string, args ...string) (Spec, error) {
	action, err := ParseAction("--containerfile", dir)
	if err != nil {
		return Spec{}, err
	}
	o := DefaultOptions()
	o.Tarball, o.NoKernel, o.UpdateInitramfs, o.Mirror = filepath.Join(dir, "out.tar"), true, false,
		secret.NewURL("http://build.example/debian")
	o.Actions, o.BuildArgs, o.LockRootPassword = []Action{action}, args, true
	return NewSpec(o, World{Stat: os.Stat, ReadFile: os.ReadFile, Dir: dir, HostArch: "amd64",
		Today: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)})
}

// containerSteps takes the files of a directory, and returns the JSON of the steps of its Containerfile.
func containerSteps(t *testing.T, dir string) (string, error) {
	t.Helper()
	spec, err := containerfileSpec(dir)
	if err != nil {
		t.Fatal(err)
	}
	lock := Lock{SeedFixed: true}
	if err := lock.Take(t.Context(), spec, filepath.Join(t.TempDir(), "inputs"), nil); err != nil {
		return "", err
	}
	plan, err := NewPlan(spec, lock)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, s := range plan.Steps {
		if !strings.HasPrefix(s.Kind(), "container.") {
			continue
		}
		data, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(data)
	}
	return text.String(), nil
}

func TestContainerfileStepsChangeWithWhatTheyCopy(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{
		"Dockerfile":    "FROM rootfs\nCOPY *.conf sub /etc/\nRUN true\n",
		".dockerignore": "secret.conf\nsub/skipped\n",
		"a.conf":        "a", "secret.conf": "s", "sub/used": "u", "sub/skipped": "x", "elsewhere": "e",
	})
	before, err := containerSteps(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		changes bool
	}{
		{"elsewhere", false}, {"secret.conf", false}, {"sub/skipped", false}, {"a.conf", true}, {"sub/used", true},
		{"b.conf", true}, {"sub/new", true},
	} {
		if err := os.WriteFile(filepath.Join(dir, tt.name), []byte("changed"), 0o644); err != nil {
			t.Fatal(err)
		}
		after, err := containerSteps(t, dir)
		if err != nil {
			t.Fatal(err)
		}
		if (after != before) != tt.changes {
			t.Errorf("%s changes the steps: %t, want %t", tt.name, after != before, tt.changes)
		}
		before = after
	}
	if strings.Contains(before, dir) {
		t.Errorf("the directory is part of the steps: %s", before)
	}
}

func TestAddUnpacksOnlyArchives(t *testing.T) {
	t.Parallel()
	var archive bytes.Buffer
	z := gzip.NewWriter(&archive)
	w := tar.NewWriter(z)
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: "x", Typeflag: tar.TypeReg, Mode: 0o644}), w.Close(),
		z.Close()); err != nil {
		t.Fatal(err)
	}
	dir := writeFiles(t, map[string]string{
		"Containerfile": "FROM rootfs\nADD x.tgz plain.tgz broken.tgz /opt/\nCOPY x.tgz /opt/\n" +
			"ADD --unpack=false x.tgz /opt/\n",
		"x.tgz": archive.String(), "plain.tgz": "no archive", "broken.tgz": "\x1f\x8b\x08no gzip",
	})
	spec, err := containerfileSpec(dir)
	if err != nil {
		t.Fatal(err)
	}
	var lock Lock
	if err := lock.Take(t.Context(), spec, filepath.Join(t.TempDir(), "inputs"), nil); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "Containerfile")
	var got []bool
	for _, id := range []string{":2", ":3", ":4"} {
		for _, src := range lock.Copied[file+id] {
			got = append(got, src.Archive)
		}
	}
	if want := []bool{true, false, false, false, false}; !slices.Equal(got, want) {
		t.Errorf("unpacked: %v, want %v", got, want)
	}
}

func TestMissingSourcesAreNamedWithTheirLine(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"Containerfile": "FROM rootfs\n\nCOPY none /etc/\n"})
	_, err := containerSteps(t, dir)
	if want := "--containerfile: " + dir + "/Containerfile:3: COPY: none: "; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s…", err, want)
	}
}

func TestMistakesOfContainerfilesAreMistakesOfTheCall(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"FROM debian:13\nRUN x":      `debian:13: the Containerfile of a build begins with "rootfs"`,
		"FROM rootfs\nRUN x\nRUUN y": "/Containerfile:3: unknown instruction: RUUN",
	} {
		_, err := containerfileSpec(writeFiles(t, map[string]string{"Containerfile": text}))
		var p *Problem
		if !errors.As(err, &p) || p.Flag != "--containerfile" || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
	if _, err := containerfileSpec(t.TempDir()); err == nil || !strings.Contains(err.Error(), "neither a Containerfile") {
		t.Errorf("an empty directory: %v", err)
	}
	dir := writeFiles(t, map[string]string{"Containerfile": "FROM rootfs"})
	if _, err := containerfileSpec(dir, "A"); err == nil ||
		!strings.Contains(err.Error(), `--build-arg: "A" is not NAME=VALUE`) {
		t.Errorf("an argument without a value: %v", err)
	}
	o := DefaultOptions()
	o.Tarball, o.BuildArgs = "/x.tar", []string{"A=b"}
	if _, err := NewSpec(o, World{Stat: os.Stat}); err == nil ||
		!strings.Contains(err.Error(), "--build-arg: there is no --containerfile") {
		t.Errorf("no Containerfile: %v", err)
	}
}

func TestWarningsNameWhatADiskHasNot(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"Containerfile": "FROM rootfs\nENTRYPOINT x\nLABEL a=b\nEXPOSE 80\n" +
		"RUN --mount=type=secret,id=token cat /run/secrets/token"})
	spec, err := containerfileSpec(dir, "UNUSED=1")
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(spec.Warnings(), "\n")
	for _, want := range []string{"declares UNUSED", "ENTRYPOINT (line 2), EXPOSE (line 4): a disk boots an init system",
		`Containerfile:5: RUN: it mounts the secret "token": give --secret id=token,src=FILE`} {
		if !strings.Contains(got, want) {
			t.Errorf("%q has no %q", got, want)
		}
	}
	if strings.Contains(got, "LABEL") {
		t.Errorf("LABEL is in %q", got)
	}
}

func TestFromNamesSourcesAndRegistries(t *testing.T) {
	t.Parallel()
	w := World{Dir: writeFiles(t, map[string]string{"base.tar": ""}), Stat: os.Stat}
	for image, want := range map[string]Source{
		"debian:13":                 {Transport: "docker", Name: "docker.io/library/debian:13"},
		"registry.example:5000/a/b": {Transport: "docker", Name: "registry.example:5000/a/b:latest"},
		"docker://registry.example/a@sha256:" + strings.Repeat("0", 64): {Transport: "docker",
			Name: "registry.example/a@sha256:" + strings.Repeat("0", 64)},
		"oci-archive:base.tar:tag":         {Transport: "oci-archive", Path: "base.tar", Name: "tag"},
		"tar:base.tar":                     {Transport: "tar", Path: "base.tar"},
		"containers-storage:localhost/x:1": {Transport: "containers-storage", Name: "localhost/x:1"},
		"containers-storage:[vfs@/a+/b]x":  {Transport: "containers-storage", Name: "[vfs@/a+/b]x"},
	} {
		if got, err := imageSource(image, w); err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", image, got, err, want)
		}
	}
	for image, want := range map[string]string{
		"rootfs": "the system of a build", "dir:/": "not supported here",
		"containers-storage:": "no name of an image", "containers-storage:[vfs@relative]x": "[DRIVER@/DIRECTORY]",
		"containers-storage:[/unclosed": "[DRIVER@/DIRECTORY]", "containerfile:x": "not supported here",
		"oci:none": "there is no", "a//b": "no name of an image",
	} {
		if _, err := imageSource(image, w); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", image, err, want)
		}
	}
}

func TestContainerfilesOfForeignImagesAreRefused(t *testing.T) {
	t.Parallel()
	w := World{Dir: "/", Stat: os.Stat, ReadFile: os.ReadFile, HostArch: "amd64"}
	_, err := ReadContainerSource(Source{Path: "/none"}, Options{Arch: "arm64"}, w)
	if err == nil || !strings.Contains(err.Error(), "--arch: this machine does not run programs of arm64") {
		t.Errorf("got %v", err)
	}
}

// TestAddDownloadsFiles checks what ADD of a URL makes of the server's answers.
func TestAddDownloadsFiles(t *testing.T) {
	t.Parallel()
	var data bytes.Buffer
	w := tar.NewWriter(&data)
	err := errors.Join(w.WriteHeader(&tar.Header{Name: "x", Typeflag: tar.TypeReg, Mode: 0o644}), w.Close())
	if err != nil {
		t.Fatal(err)
	}
	changed := time.Unix(1700000000, 0)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, ".tar") {
			http.NotFound(w, r)
			return
		}
		http.ServeContent(w, r, "", changed, bytes.NewReader(data.Bytes()))
	}))
	t.Cleanup(server.Close)
	cache, err := archive.NewCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	client := &archive.Client{Cache: cache, Backoff: time.Microsecond}
	take := func(text string) ([]step.CopySource, error) {
		t.Helper()
		dir := writeFiles(t, map[string]string{"Containerfile": "FROM rootfs\nADD " + text})
		spec, err := containerfileSpec(dir)
		if err != nil {
			t.Fatal(err)
		}
		var lock Lock
		err = lock.Take(t.Context(), spec, filepath.Join(t.TempDir(), "inputs"), client)
		return lock.Copied[filepath.Join(dir, "Containerfile")+":2"], err
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(data.Bytes()))
	for _, tt := range []struct {
		text, name string
		archive    bool
	}{
		{server.URL + "/a/b%20c.tar?d=e /opt/", "b c.tar", false},
		{"--unpack=true " + server.URL + "/a.tar /opt/", "", true},
		{"--checksum=sha256:" + sum + " " + server.URL + "/a.tar /opt/x", "a.tar", false},
	} {
		got, err := take(tt.text)
		if err != nil || len(got) != 1 {
			t.Errorf("%s: got %+v, %v", tt.text, got, err)
			continue
		}
		src := got[0]
		if src.Name != tt.name || src.Archive != tt.archive || src.Digest != sum || src.Time != changed.Unix() {
			t.Errorf("%s: got %+v", tt.text, src)
		}
		if src.Archive {
			continue
		}
		info, err := os.Lstat(filepath.Join(src.Copy, src.Name))
		if err != nil || info.Mode() != 0o600 || !info.ModTime().Equal(changed) {
			t.Errorf("%s: the copy is %v, %v", tt.text, info, err)
		}
	}
	for text, want := range map[string]string{
		server.URL + "/none /opt/": "Containerfile:2: ADD: get " + server.URL + "/none: 404 Not Found",
		"--checksum=sha256:" + strings.Repeat("0", 64) + " " + server.URL + "/a.tar /x": "SHA256 mismatch: want 000",
		"http://127.0.0.1:1/x /x": "ADD: get http://127.0.0.1:1/x: ",
	} {
		if _, err := take(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ADD %s: got %v, want %q", text, err, want)
		}
	}
	// The time that the server says is part of the result.
	before, err := take(server.URL + "/a.tar /opt/")
	changed = changed.Add(time.Hour)
	after, err2 := take(server.URL + "/a.tar /opt/")
	if err := errors.Join(err, err2); err != nil || before[0].Time == after[0].Time {
		t.Errorf("another time: %+v, %+v, %v", before, after, err)
	}
}

// Issue 19, 1: what a Containerfile or an image says about the process of a container is named once.
func TestWhatADiskDoesNotHaveIsNamedOnce(t *testing.T) {
	t.Parallel()
	const noEffect = ": a disk boots an init system and not a container's process, so that has no effect when it boots: " +
		"set up a systemd unit for it"
	for text, want := range map[string]string{
		"ENV A=1\nENV B=2\nUSER www\nCMD x": "ENV (lines 2, 3), USER (line 4), CMD (line 5)", "USER www": "USER (line 2)",
		"LABEL a=b\nWORKDIR /srv\nRUN x": "",
	} {
		dir := writeFiles(t, map[string]string{"Containerfile": "FROM rootfs\n" + text + "\n"})
		spec, err := containerfileSpec(dir)
		if err != nil {
			t.Fatal(err)
		}
		var wanted []string
		if want != "" {
			wanted = []string{filepath.Join(dir, "Containerfile") + ": " + want + noEffect}
		}
		if got := spec.containerfileWarnings(); !slices.Equal(got, wanted) {
			t.Errorf("%q: got %q, want %q", text, got, wanted)
		}
	}
	something := map[string]struct{}{"80/tcp": {}}
	for _, tt := range []struct {
		config imgspec.ImageConfig
		want   string
	}{
		{imgspec.ImageConfig{Env: []string{"PATH=/bin", "LANG=C", "A=x"}}, "ENV (LANG, A)"},
		{imgspec.ImageConfig{Env: []string{"PATH=/bin"}, Cmd: []string{"bash"}, User: "0:0", WorkingDir: "/srv"}, ""},
		{imgspec.ImageConfig{User: "www", Cmd: []string{"bash", "-c", "x"}}, "USER, CMD"},
		{imgspec.ImageConfig{Entrypoint: []string{"x"}, ExposedPorts: something, Volumes: something, StopSignal: "9"},
			"ENTRYPOINT, EXPOSE, VOLUME, STOPSIGNAL"},
	} {
		var wanted []string
		if tt.want != "" {
			wanted = []string{"oci:x: " + tt.want + noEffect}
		}
		if got := (&SourceTree{Config: tt.config}).Warnings("oci:x"); !slices.Equal(got, wanted) {
			t.Errorf("%+v: got %q, want %q", tt.config, got, wanted)
		}
	}
}
