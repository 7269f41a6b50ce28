// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
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

// confinement prints what confines a program of a build: capabilities, seccomp, the maps of ids, and the mounts with
// their options.
const confinement = `( busybox grep -E '^(Cap|Seccomp|NoNewPrivs)' /proc/self/status; ` +
	`cat /proc/self/uid_map /proc/self/gid_map; busybox cut -d' ' -f5,6 /proc/self/mountinfo | busybox sort )`

func testContainerfile(t *testing.T, isolation string) {
	o := newOffline(t)
	state := o.machine()
	remote := "remote"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", strconv.Quote(remote))
		http.ServeContent(w, r, "", time.Unix(1700000000, 0), strings.NewReader(remote))
	}))
	t.Cleanup(server.Close)
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
    `+confinement+` >/confined-containerfile
ADD --chown=7:8 `+server.URL+`/dir/fetched /opt/
ADD --chmod=644 `+server.URL+`/dir/fetched /opt/readable
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
		"--run="+confinement+" >/confined-run")
	files, owners := o.files(), o.owners()
	if text := files["confined-containerfile"]; text != files["confined-run"] || !strings.Contains(text, "Seccomp:\t2\n") {
		t.Errorf("RUN is confined by\n%s--run by\n%s", text, files["confined-run"])
	}
	for name, want := range map[string]string{
		"opt/app/bin/a.sh": "a", "etc/app/x/y": "xy", "etc/inline": "web 2\n", "etc/root": "web 2 in /opt/app as 0:0\n",
		"opt/fetched": "remote", "opt/readable": "remote",
		"opt/app/data/made": "/srv/www 33:34\n", "opt/app/data/script": "script of /dev/pipes/script\n",
	} {
		if files[name] != want {
			t.Errorf("%s is %q, want %q", name, files[name], want)
		}
	}
	for name, want := range map[string]string{
		"opt/app": "0:0 755", "opt/app/bin": "33:34 755", "opt/app/bin/a.sh": "33:34 4750", "etc/app/x/y": "0:0 644",
		"opt/app/data": "33:34 755", "opt/app/data/made": "33:34 644", "opt/fetched": "7:8 600",
		"opt/readable": "0:0 644",
	} {
		if owners[name] != want {
			t.Errorf("%s is %s, want %s", name, owners[name], want)
		}
	}
	if o.has("etc/app/ignored", "usr/sbin/policy-rc.d", "dev/pipes", "dev/pipes/script") != "" {
		t.Error("files that are ignored, or of the build, are in the system")
	}
	if n := strings.Count(said, "EXPOSE (line 23): a disk boots an init system"); n != 1 {
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
		{"what a URL has", func() { remote = "other" }, []string{"--build-arg=VERSION=2"}, "Containerfile:13: ADD"},
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
	// Layers and history of an export that is not compressed, and what describes the build, must not have the secrets.
	said := call(append(args, "--export=docker-archive:leak.tar:leak:1", "--manifest=leak.json")...)
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

// listTree lists the files below a directory with what changes when they are written to; "" if there is no directory.
func listTree(t *testing.T, dir string) string {
	t.Helper()
	var list strings.Builder
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) { // work directories of overlay
			return nil
		}
		info, infoErr := d.Info()
		if err = errors.Join(err, infoErr); err == nil {
			fmt.Fprintf(&list, "%s %v %d %v\n", name, info.Mode(), info.Size(), info.ModTime())
		}
		return err
	})
	must(t, err)
	return list.String()
}

// TestContainerfilesStayInTheirRoots has stages, archives, the system and the directory of a Containerfile with links
// to a directory of the host (issue 19, 1).
func TestContainerfilesStayInTheirRoots(t *testing.T) {
	o := newOffline(t)
	state := o.machine()
	host := t.TempDir()
	must(t, os.WriteFile(filepath.Join(host, "private"), []byte("of the host\n"), 0o644))
	dir := filepath.Join(o.dir, "web")
	must(t, os.Mkdir(dir, 0o755))
	up := strings.Repeat("../", 20)
	archive := func(name string, headers ...tar.Header) {
		t.Helper()
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		for _, h := range headers {
			text := ""
			if h.Typeflag == tar.TypeReg {
				text = "written\n"
			}
			h.Size = int64(len(text))
			must(t, w.WriteHeader(&h))
			_, err := io.WriteString(w, text)
			must(t, err)
		}
		must(t, w.Close())
		must(t, os.WriteFile(filepath.Join(dir, name), out.Bytes(), 0o644))
	}
	archive("links.tar", tar.Header{Typeflag: tar.TypeSymlink, Name: "absolute", Linkname: host},
		tar.Header{Typeflag: tar.TypeSymlink, Name: "up", Linkname: up + host[1:]},
		tar.Header{Typeflag: tar.TypeReg, Name: "s", Mode: 0o4755, Uid: 5, Gid: 6})
	archive("through.tar", tar.Header{Typeflag: tar.TypeReg, Name: "absolute/of-tar", Mode: 0o644},
		tar.Header{Typeflag: tar.TypeReg, Name: "up/of-tar-too", Mode: 0o644})
	must(t, os.WriteFile(filepath.Join(dir, "data"), []byte("written\n"), 0o644))
	must(t, os.Symlink(host, filepath.Join(dir, "absolute")))
	must(t, os.Symlink(up+host[1:], filepath.Join(dir, "up")))
	file := func(text string) {
		t.Helper()
		text = strings.NewReplacer("HOST", host, "UP", up+host[1:]).Replace(text)
		must(t, os.WriteFile(filepath.Join(dir, "Containerfile"), []byte(text), 0o644))
	}
	unchanged := func(what string) {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(host, "private"))
		all, readErr := os.ReadDir(host)
		if err = errors.Join(err, readErr); err != nil || string(text) != "of the host\n" || len(all) != 1 {
			t.Errorf("%s changed the directory of the host: %v, %q, %v", what, all, text, err)
		}
	}
	// The directory exists in the stages as well: that is what links lead to.
	file(`FROM rootfs AS hostile
RUN mkdir -p HOST /out && echo stage >HOST/private && busybox ln -s HOST/private /out/file && \
    busybox ln -s UP/private /out/up && busybox ln -s HOST /out/dir && echo a >/out/a && busybox ln /out/a /out/b
FROM rootfs
RUN mkdir -p HOST && busybox ln -s HOST /absolute && busybox ln -s UP /up
COPY --from=hostile /out/file /got/1
COPY --from=hostile /out/up /got/2
COPY --from=hostile /out/dir /got/3
COPY --from=hostile /out/di*/priv* /got/4/
COPY --from=hostile --exclude=a --exclude=file --exclude=up --exclude=dir /out /got/5
RUN --mount=from=hostile,source=/out/dir,target=/m --mount=from=hostile,source=/out/up,target=/absolute/f \
    cat /m/private /absolute/f >/got/6
COPY data /absolute/of-copy
COPY <<E /up/of-heredoc
text
E
ADD links.tar /
ADD links.tar through.tar /opt/
WORKDIR /absolute/of-workdir
RUN --mount=type=cache,target=/up/of-cache --mount=type=tmpfs,target=/absolute/of-tmpfs true
COPY . /context/
RUN cat /context/absolute/of-copy >/got/7 && busybox cp -r HOST /got/host
`)
	said, err := o.try(state, "--containerfile=web")
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	unchanged("a build")
	files, in := o.files(), "got/host/"
	for name, want := range map[string]string{
		"got/1": "stage\n", "got/2": "stage\n", "got/3/private": "stage\n", "got/4/private": "stage\n", "got/5/b": "a\n",
		"got/6": "stage\nstage\n", "got/7": "written\n", in + "of-copy": "written\n", in + "of-heredoc": "text\n",
		in + "of-tar": "written\n", in + "of-tar-too": "written\n",
	} {
		if files[name] != want {
			t.Errorf("%s is %q, want %q", name, files[name], want)
		}
	}
	for name, text := range files {
		if strings.Contains(text, "of the host") {
			t.Errorf("%s has the text of the host's file", name)
		}
	}
	if got := o.owners()["s"]; got != "5:6 4755" {
		t.Errorf("a setuid program of an archive is %s, want 5:6 4755", got)
	}

	archive("parent.tar", tar.Header{Typeflag: tar.TypeReg, Name: up + host[1:] + "/of-parent", Mode: 0o644})
	archive("hard.tar", tar.Header{Typeflag: tar.TypeLink, Name: "hard", Linkname: up + host[1:] + "/private"})
	archive("device.tar", tar.Header{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3, Mode: 0o666})
	for instruction, want := range map[string]string{
		"COPY absolute /x":         "absolute: file does not exist",
		"COPY absolute/private /x": "absolute/private: file does not exist",
		"COPY up/* /x/":            "up/*: file does not exist",
		"ADD up/private /x":        "up/private: file does not exist",
		"RUN --mount=type=bind,source=absolute,target=/m cat /m/private": "absolute: file does not exist",
		"ADD parent.tar /": "of-parent",
		"ADD hard.tar /":   "hard",
		"ADD device.tar /": "null is not a file, directory or symbolic link",
	} {
		file("FROM rootfs\n" + instruction + "\n")
		if said, err := o.try(state, "--containerfile=web"); err == nil || !strings.Contains(said, want) {
			t.Errorf("%s: got %v, want %q:\n%s", instruction, err, want, said)
		}
		unchanged(instruction)
	}
}
