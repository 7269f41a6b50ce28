// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
RUN echo "$NAME in $(busybox pwd) as $(busybox id -u):$(busybox id -g)" >/etc/root
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
	said := o.build(state, isolation, "--containerfile=web", "--build-arg=VERSION=2")
	files, owners := o.files(), o.owners()
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
	if n := strings.Count(said, "EXPOSE (line 20): a disk boots an init system"); n != 1 {
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
