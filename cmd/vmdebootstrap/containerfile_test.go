// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/oci/ocitest"
)

// owners returns UID:GID and the permissions of the last tarball's files.
func (o *offline) owners() map[string]string {
	o.t.Helper()
	f, err := os.Open(filepath.Join(o.dir, "out.tar"))
	if err != nil {
		o.t.Fatal(err)
	}
	defer f.Close()
	owners := map[string]string{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return owners
		}
		if err != nil {
			o.t.Fatal(err)
		}
		owners[strings.Trim(strings.TrimPrefix(h.Name, "./"), "/")] = fmt.Sprintf("%d:%d %o", h.Uid, h.Gid, h.Mode&0o7777)
	}
}

// TestContainerfileMakesTheSystem runs all kinds of instructions in a container (issue 19, 1).
func TestContainerfileMakesTheSystem(t *testing.T) {
	other := "single"
	if os.Getuid() == 0 {
		other = "chroot"
	}
	for _, isolation := range []string{"auto", other} {
		t.Run(isolation, func(t *testing.T) { testContainerfile(t, "--isolation="+isolation) })
	}
}

func testContainerfile(t *testing.T, isolation string) {
	o := newOffline(t)
	state := o.machine()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(o.dir, "web", name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(text), 0o644))
	}
	write("Containerfile", `FROM rootfs
ARG VERSION=1
ENV NAME="web $VERSION"
RUN printf 'www:x:33:34::/srv/www:/bin/sh\n' >>/etc/passwd && echo 'www:x:34:' >>/etc/group
WORKDIR /opt/app
COPY --chown=www:www --chmod=4750 *.sh bin/
COPY conf /etc/app
COPY <<E /etc/inline
$NAME
E
RUN echo "$NAME in $(busybox pwd) as $(busybox id -u):$(busybox id -g)" >/etc/root && \
    busybox grep -E '^(Cap|Seccomp|NoNewPrivs)' /proc/self/status >/confined-containerfile
USER www
WORKDIR data
SHELL ["/bin/busybox", "sh", "-ec"]
RUN echo "$HOME $(busybox id -u):$(busybox id -g)" >made
RUN <<E
#!/bin/sh
echo "script of $0" >script
E
EXPOSE 80
`)
	write("a.sh", "a")
	write("conf/x/y", "xy")
	write("conf/ignored", "i")
	write(".containerignore", "conf/ignored\nunused\n")
	said := o.build(state, isolation, "--containerfile=web", "--build-arg=VERSION=2",
		"--run=busybox grep -E '^(Cap|Seccomp|NoNewPrivs)' /proc/self/status >/confined-run")
	files, owners := o.files(), o.owners()
	if text := files["confined-containerfile"]; text != files["confined-run"] || !strings.Contains(text, "Seccomp:\t2\n") {
		t.Errorf("RUN is confined by\n%s--run by\n%s", text, files["confined-run"])
	}
	for name, want := range map[string]string{
		"opt/app/bin/a.sh": "a", "etc/app/x/y": "xy", "etc/inline": "web 2\n", "etc/root": "web 2 in /opt/app as 0:0\n",
		"opt/app/data/made": "/srv/www 33:34\n", "opt/app/data/script": "script of /dev/pipes/script\n",
	} {
		if files[name] != want {
			t.Errorf("%s is %q, want %q", name, files[name], want)
		}
	}
	for name, want := range map[string]string{
		"opt/app": "0:0 755", "opt/app/bin": "33:34 755", "opt/app/bin/a.sh": "33:34 4750", "etc/app/x/y": "0:0 644",
		"opt/app/data": "33:34 755", "opt/app/data/made": "33:34 644",
	} {
		if owners[name] != want {
			t.Errorf("%s is %s, want %s", name, owners[name], want)
		}
	}
	if o.has("etc/app/ignored", "usr/sbin/policy-rc.d", "dev/pipes", "dev/pipes/script") != "" {
		t.Error("files that are ignored, or of the build, are in the system")
	}
	if n := strings.Count(said, "EXPOSE (line 21): a disk boots an init system"); n != 1 {
		t.Errorf("EXPOSE is named %d times:\n%s", n, said)
	}

	for _, tt := range []struct {
		what   string
		change func()
		args   []string
		runs   string // the first instruction that runs again
	}{
		{"nothing", func() {}, []string{"--build-arg=VERSION=2"}, ""},
		{"files that it does not use", func() { write("unused", "u"); write("conf/ignored", "j") },
			[]string{"--build-arg=VERSION=2"}, ""},
		{"what is copied", func() { write("conf/x/y", "z") }, []string{"--build-arg=VERSION=2"},
			"busybox id -g)\" >/etc/ro…: Containerfile:7: COPY conf /etc/app: what it copies changed"},
		{"an argument", func() {}, []string{"--build-arg=VERSION=3"}, "ARG or ENV before it changed"},
	} {
		tt.change()
		said := o.build(state, append(tt.args, isolation, "--containerfile=web")...)
		if tt.runs == "" && strings.Contains(said, "run: ") || !strings.Contains(said, tt.runs) {
			t.Errorf("after a change of %s:\n%s\nwant %q", tt.what, said, tt.runs)
		}
	}

	write("Containerfile", "FROM rootfs\nRUN echo from-the-program && exit 7\n")
	said, err := o.try(state, isolation, "--containerfile=web")
	if err == nil || !strings.Contains(said, "Containerfile:2: RUN echo") || !strings.Contains(said, "status 7") ||
		!strings.Contains(said, "from-the-program") {
		t.Errorf("a program that fails: %v\n%s", err, said)
	}
}

// TestContainerfileStagesMountsAndSecrets uses everything of a Containerfile that lends files to a RUN.
func TestContainerfileStagesMountsAndSecrets(t *testing.T) {
	other := "single"
	if os.Getuid() == 0 {
		other = "chroot"
	}
	for _, isolation := range []string{"auto", other} {
		t.Run(isolation, func(t *testing.T) { testStages(t, "--isolation="+isolation) })
	}
}

func testStages(t *testing.T, isolation string) {
	o := newOffline(t)
	state := o.machine()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(o.dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(text), 0o644))
	}
	write("web/Containerfile", `FROM rootfs AS compiler
RUN --mount=type=bind,source=src,target=/src --mount=type=cache,target=/objects <<E
busybox date +%s%N >>/objects/runs
mkdir -p /out/lib
cp /src/main /out/program
echo lib >/out/lib/a.so
busybox chown -R 7:8 /out/lib
cp /objects/runs /out/runs
E
FROM compiler AS unneeded
RUN exit 1
FROM scratch AS files
COPY --from=compiler /out/pro* /
COPY --from=compiler /out/runs /runs
COPY --from=compiler /usr/bin/busybox /busybox
RUN ["/busybox", "sh", "-c", "echo scratch >/scratch"]
FROM rootfs
COPY --from=files /program /scratch /usr/bin/
COPY --from=compiler /out/lib /opt/lib
COPY --from=0 --chown=9 /out/lib/a.so /opt/b.so
RUN --mount=from=files,target=/f --mount=type=bind,target=/context,rw --mount=type=tmpfs,target=/opt/t \
    cat /f/runs >/runs && \
    echo x >/context/new && echo y >/opt/t/y && echo "$(busybox ls /context)" >/listed
RUN --mount=type=secret,id=token --mount=type=secret,id=word,env=WORD --mount=type=secret,id=none \
    cat /run/secrets/token | busybox md5sum >/sum && echo "${WORD}" | busybox md5sum >>/sum && \
    busybox stat -c %a /run/secrets/token >>/sum && [ ! -e /run/secrets/none ]
`)
	write("web/src/main", "v1")
	write("token", "token-secret")
	args := []string{isolation, "--containerfile=web", "--secret=id=token,src=token", "--secret=id=word,env=WORD"}
	call := func(args ...string) string {
		t.Helper()
		cmd := o.command(state, append([]string{"--mirror=" + o.repo.URL(), "--lock-root-password", "--log=build.log",
			"--log-level=debug"}, args...)...)
		cmd.Env = append(cmd.Env, "WORD=word-secret")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	said := call(args...)
	files, owners := o.files(), o.owners()
	sum := fmt.Sprintf("%x  -\n%x  -\n400\n", md5.Sum([]byte("token-secret")), md5.Sum([]byte("word-secret\n")))
	for name, want := range map[string]string{
		"usr/bin/program": "v1", "usr/bin/scratch": "scratch\n", "opt/lib/a.so": "lib\n", "opt/b.so": "lib\n", "sum": sum,
		"listed": "Containerfile\nnew\nsrc\n",
	} {
		if files[name] != want {
			t.Errorf("%s is %q, want %q:\n%s", name, files[name], want, said)
		}
	}
	if owners["opt/lib/a.so"] != "7:8 644" || owners["opt/b.so"] != "9:9 644" {
		t.Errorf("owners: %s and %s", owners["opt/lib/a.so"], owners["opt/b.so"])
	}
	if o.has("context", "context/new", "opt/t/y", "run/secrets/token", "objects/runs", "out/program", "f/runs") != "" {
		t.Error("what was lent to RUN is in the system")
	}
	if _, err := os.Stat(filepath.Join(o.dir, "web/new")); err == nil {
		t.Error("RUN changed the directory of the Containerfile")
	}
	runs := files["runs"]
	if n := strings.Count(runs, "\n"); n != 1 {
		t.Errorf("the first run of the compiler says %q", runs)
	}

	if said := call(args...); strings.Contains(said, "run: ") {
		t.Errorf("the same build runs something again:\n%s", said)
	}
	write("web/unused", "u") // the second RUN mounts the whole directory
	if said := call(args...); strings.Contains(said, "run: Containerfile:2:") ||
		!strings.Contains(said, "run: Containerfile:21: RUN --mount=from=files") {
		t.Errorf("after another file:\n%s", said)
	}
	write("web/src/main", "v2")
	call(args...)
	files = o.files()
	if files["usr/bin/program"] != "v2" || !strings.HasPrefix(files["runs"], runs) ||
		strings.Count(files["runs"], "\n") != 2 {
		t.Errorf("after a change of the source: %q, runs %q after %q", files["usr/bin/program"], files["runs"], runs)
	}
	write("token", "other-secret")
	said = call(args...)
	if !strings.Contains(said, "a secret has changed") {
		t.Errorf("another secret is not used:\n%s", said)
	}
	said = call(append(args, "--no-cache")...)
	for line, want := range map[string]int{"bootstrap trixie for amd64": 1, "Containerfile:2: RUN --mount": 1} {
		if n := strings.Count("\n"+said, "\n"+line); n != want {
			t.Errorf("%q runs %d times with --no-cache, want %d:\n%s", line, n, want, said)
		}
	}
	grepTree(t, o.dir, []string{"word-secret"})
	grepTree(t, state, []string{"token-secret", "word-secret", "other-secret"})
	log, err := os.ReadFile(filepath.Join(o.dir, "build.log"))
	must(t, err)
	for _, secret := range []string{"token-secret", "word-secret", "other-secret"} {
		if strings.Contains(said+string(log), secret) {
			t.Errorf("%q is printed or logged", secret)
		}
	}
}

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
		cmd.Dir = o.dir
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
