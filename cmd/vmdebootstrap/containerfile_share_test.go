// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSharedResultsHaveThoseOfContainerfiles builds once more on machines that have only a shared cache (issue 19, 1).
func TestSharedResultsHaveThoseOfContainerfiles(t *testing.T) {
	o := newOffline(t)
	dir := filepath.Join(o.dir, "web")
	must(t, os.Mkdir(dir, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "Containerfile"), []byte(`FROM rootfs AS tool
RUN cat /proc/sys/kernel/random/uuid >/made-in-stage
FROM rootfs
COPY --from=tool /made-in-stage /etc/
RUN cat /proc/sys/kernel/random/uuid >/etc/made
`), 0o644))
	first := o.machine()
	o.build(first, "--containerfile=web", "--cache-to=oci:shared")
	made, inStage := o.files()["etc/made"], o.files()["etc/made-in-stage"]
	list, err := vmdebootstrap(t, "cache", "list", "--state-dir", first).CombinedOutput()
	if n := strings.Count(string(list), "Containerfile:"); err != nil || n != 2 {
		t.Errorf("cache list has %d instructions (%v), want 2:\n%s", n, err, list)
	}

	said := o.build(o.machine(), "--containerfile=web", "--cache-from=oci:shared")
	if files := o.files(); files["etc/made"] != made || files["etc/made-in-stage"] != inStage || made == "" {
		t.Errorf("RUN was executed again: %q and %q, want %q and %q:\n%s", files["etc/made-in-stage"], files["etc/made"],
			inStage, made, said)
	}
	// Another last instruction needs the result of the stage.
	must(t, os.WriteFile(filepath.Join(dir, "Containerfile"), []byte(`FROM rootfs AS tool
RUN cat /proc/sys/kernel/random/uuid >/made-in-stage
FROM rootfs
RUN --mount=from=tool,target=/tool cat /tool/made-in-stage >/etc/made
`), 0o644))
	said = o.build(o.machine(), "--containerfile=web", "--cache-from=oci:shared")
	if got := o.files()["etc/made"]; got != inStage {
		t.Errorf("RUN of the stage was executed again: %q, want %q:\n%s", got, inStage, said)
	}
}

// TestAssembleSharesResultsOfContainerfiles has machines that know only a shared cache make the disk of a Containerfile
// (issue 19, 1).
func TestAssembleSharesResultsOfContainerfiles(t *testing.T) {
	o := newOffline(t)
	dir := filepath.Join(o.dir, "server")
	must(t, os.Mkdir(dir, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "Containerfile"), []byte(`FROM oci-archive:base.tar AS tool
RUN cat /proc/sys/kernel/random/uuid >/made-in-stage
FROM oci-archive:base.tar
COPY --from=tool /made-in-stage /etc/
RUN cat /proc/sys/kernel/random/uuid >/etc/made
`), 0o644))
	for i, name := range []string{"key", "other"} {
		must(t, os.WriteFile(filepath.Join(o.dir, name), []byte(ed25519Key(t, byte(i+1))), 0o600))
	}
	first := o.machine()
	o.build(first, "--export=oci-archive:base.tar:base")
	// assemble returns what the two RUN instructions have written, and the messages.
	assemble := func(state string, args ...string) (made, said string) {
		t.Helper()
		for _, call := range [][]string{
			append([]string{"assemble", "--from=containerfile:server", "--image=x.img", "--boot=none", "--explain-cache",
				"--state-dir=" + state}, args...),
			{"extract", "x.img", "--directory=/etc", "--filename=out.tar"},
		} {
			cmd := vmdebootstrap(t, call...)
			cmd.Dir = o.dir
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			said += string(out)
		}
		files := o.files()
		return files["made-in-stage"] + files["made"], said
	}
	made, said := assemble(first, "--cache-to=oci:shared", "--cache-key=key")
	if len(made) != 2*37 || strings.Count(said, "run: Containerfile:") != 2 {
		t.Fatalf("RUN has written %q:\n%s", made, said)
	}
	got, said := assemble(o.machine(), "--cache-from=oci:shared", "--cache-key=key")
	if got != made || strings.Contains(said, "run: Containerfile:") {
		t.Errorf("another machine has %q, want %q of the shared cache:\n%s", got, made, said)
	}
	got, said = assemble(o.machine(), "--cache-from=oci:shared", "--cache-key=other")
	if got == made || !strings.Contains(said, "run: Containerfile:") {
		t.Errorf("results that another key has signed are used:\n%s", said)
	}
	if got, said = assemble(first, "--no-cache"); got == made || strings.Contains(said, "\ncached: Containerfile:") {
		t.Errorf("results are used with --no-cache:\n%s", said)
	}
	cmd := vmdebootstrap(t, "assemble", "--from=containerfile:server", "--image=y.img", "--boot=none",
		"--state-dir="+first, "--cache-to=oci:missing/new")
	cmd.Dir = o.dir
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "ERROR: --cache-to: ") || exists(t, filepath.Join(o.dir, "y.img")) {
		t.Errorf("a location that cannot be written: %v\n%s", err, out)
	}
}
