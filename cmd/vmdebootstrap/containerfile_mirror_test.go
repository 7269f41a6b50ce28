// SPDX-License-Identifier: Apache-2.0

//go:build mirror

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestContainerfileInstallsPackages uses apt in a stage, with a mount over its cache, and in the system.
func TestContainerfileInstallsPackages(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "Containerfile"), []byte(`FROM rootfs AS hello
RUN --mount=type=cache,target=/var/lib/apt/lists apt-get update && \
    apt-get install -y --no-install-recommends libcap2-bin && cd /tmp && apt-get download hello && \
    dpkg-deb -x hello_*.deb /out && setcap cap_net_raw+ep /out/usr/bin/hello
FROM rootfs
RUN apt-get update && apt-get install -y --no-install-recommends less
COPY --from=hello /out/usr/bin/hello /usr/local/bin/
COPY --from=hello /out /opt/hello
RUN hello >/etc/hello
`), 0o644))
	cmd := vmdebootstrap(t, "--tarball=root.tar.gz", "--distribution=trixie", "--debootstrapopts=variant=minbase",
		"--no-kernel", "--no-acpid", "--lock-root-password", "--containerfile=Containerfile", "--verbose")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	headers, files := readTarball(t, filepath.Join(dir, "root.tar.gz"))
	installed := func(name string) bool {
		return strings.Contains(files["var/lib/dpkg/status"], "\nPackage: "+name+"\n")
	}
	if files["etc/hello"] != "Hello, world!\n" || !installed("less") || installed("libcap2-bin") {
		t.Errorf("hello says %q:\n%s", files["etc/hello"], out)
	}
	for _, name := range []string{"usr/local/bin/hello", "opt/hello/usr/bin/hello"} {
		h := headers["./"+name]
		if h == nil || h.PAXRecords["SCHILY.xattr.security.capability"] == "" {
			t.Errorf("%s is %+v, without the capability that it has in the stage", name, h)
		}
	}
}
