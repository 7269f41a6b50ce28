// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/transport"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

func TestParseExportReadsEveryForm(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Export{
		"oci:out":                                 {"oci", "out", ""},
		"oci:/a/b:13":                             {"oci", "/a/b", "13"},
		"oci:out:registry.example/debian:13":      {"oci", "out", "registry.example/debian:13"},
		"oci-archive:a.tar:13":                    {"oci-archive", "a.tar", "13"},
		"docker-archive:a.tar":                    {"docker-archive", "a.tar", ""},
		"docker-archive:a.tar:localhost/debian":   {"docker-archive", "a.tar", "localhost/debian:latest"},
		"docker://registry.example/os/debian:13":  {"docker", "", "registry.example/os/debian:13"},
		"docker://localhost:5000/debian":          {"docker", "", "localhost:5000/debian:latest"},
		"containers-storage:debian":               {"containers-storage", "", "localhost/debian:latest"},
		"containers-storage:registry.example/x:1": {"containers-storage", "", "registry.example/x:1"},
		"tar:a.tar.zst":                           {"tar", "a.tar.zst", ""},
		"dir:root":                                {"dir", "root", ""},
	} {
		got, err := ParseExport(text)
		if err != nil || got != want {
			t.Errorf("%q: got %+v (%v), want %+v", text, got, err, want)
		}
		if again, err := ParseExport(got.String()); err != nil || again != got {
			t.Errorf("%q: %s reads back as %+v (%v)", text, got, again, err)
		}
	}
}

func TestParseExportRefusesTheRest(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"debian.tar":                         "none of oci:DIR[:TAG]",
		"zip:a.zip":                          "none of oci:DIR[:TAG]",
		"oci:":                               "names no file",
		"dir:":                               "names no file",
		"oci:out:":                           "is no tag",
		"oci:out:-x":                         "is no tag",
		"docker:registry.example/x:1":        "docker://REGISTRY/REPO:TAG",
		"docker://debian:13":                 "names no registry",
		"docker://registry.example/Debian:1": "no name of an image",
		"docker://registry.example/x@sha256:" + strings.Repeat("0", 64): "digest",
		"docker-archive:a.tar:UPPER":                                    "no name of an image",
		"containers-storage:[vfs@/x]debian":                             "your podman",
		"containers-storage:":                                           "no name of an image",
	} {
		if got, err := ParseExport(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v (%v), want an error with %q", text, got, err, want)
		}
	}
}

func TestExportsAreCheckedBeforeWork(t *testing.T) {
	t.Parallel()
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "letter"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		exports           []string
		compression, want string
	}{
		{[]string{"oci:new", "oci:new:x", "docker://r.example/x", "docker://r.example/x:2", "tar:new.tar.xz"},
			"zstd:19", ""},
		{nil, "xz", `--export-compression: "xz" is not known`},
		{nil, "gzip:10", "--export-compression: level 10"},
		{nil, "none:1", "has no levels"},
		{nil, "zstd:fast", "is not a level"},
		{[]string{"tar:new.img"}, "", "written twice"},
		{[]string{"tar:new.tar", "oci-archive:./new.tar"}, "", "written twice"},
		{[]string{"tar:new.tar.lz"}, "", "not supported"},
		{[]string{"tar:nowhere/new.tar"}, "", `there is no directory nowhere for "nowhere/new.tar"`},
		{[]string{"tar:old.img"}, "", ""},
		{[]string{"docker-archive:live"}, "", "not a regular file"},
		{[]string{"dir:live"}, "", "is there already"},
	} {
		o := options(nil)
		o.ExportCompression = tt.compression
		for _, text := range tt.exports {
			e, err := ParseExport(text)
			if err != nil {
				t.Fatal(err)
			}
			o.Exports = append(o.Exports, e)
		}
		_, err := NewSpec(o, testWorld())
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%v, %q: got %v, want %q", tt.exports, tt.compression, err, tt.want)
		}
	}
	world := testWorld()
	world.Stat = os.Stat
	o := options(nil)
	o.Image, o.Exports = "", []Export{{Transport: transport.OCI, Path: full}}
	if _, err := NewSpec(o, world); err == nil || !strings.Contains(err.Error(), "not an OCI image layout") {
		t.Errorf("got %v", err)
	}
}

func TestExportsThatTakeArtifacts(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"oci:dir:13": true, "oci:dir": false, "oci-archive:a.tar:13": false, "docker-archive:a.tar:x": false,
		"docker://registry.example/debian": true, "containers-storage:debian": false, "tar:a.tar": false, "dir:root": false,
	} {
		e, err := ParseExport(text)
		if err != nil || e.takesArtifacts() != want {
			t.Errorf("%s: got %v (%v), want %v", text, e.takesArtifacts(), err, want)
		}
	}
}

func TestAnExportIsEnoughOfAnOutput(t *testing.T) {
	t.Parallel()
	spec := mustSpec(t, func(o *Options) {
		o.Image, o.Exports = "", []Export{{Transport: transport.OCIArchive, Path: "new.tar"},
			{Transport: transport.Dir, Path: "new"}}
	})
	if got := spec.Outputs(); !slices.Equal(got, []string{"new.tar"}) {
		t.Errorf("got %v", got)
	}
}

func TestPlatformIsWhatContainersCallIt(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]imgspec.Platform{
		"amd64":   {OS: "linux", Architecture: "amd64"},
		"armhf":   {OS: "linux", Architecture: "arm", Variant: "v7"},
		"ppc64el": {OS: "linux", Architecture: "ppc64le"},
		"riscv64": {OS: "linux", Architecture: "riscv64"},
	} {
		if got := platform(debian.Arch{Name: name}); got.OS != want.OS || got.Architecture != want.Architecture ||
			got.Variant != want.Variant {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	for name := range platforms {
		if _, ok := debian.LookupArch(name); !ok {
			t.Errorf("%s is not an architecture of Debian", name)
		}
	}
}

func TestBoundsAreTheSnapshotsThatBuildsShare(t *testing.T) {
	t.Parallel()
	steps := []step.Step{
		step.Debootstrap{}, step.Command{}, step.AptInstall{}, step.Hostname{}, step.CustomPackages{}, step.Hook{},
		step.Clean{},
	}
	for snapshots, want := range map[int][]int{0: nil, 1: {1}, 2: {1}, 3: {1, 3}, 5: {1, 3}} {
		var got []int
		for _, b := range bounds(steps, snapshots, "trixie") {
			got = append(got, b.snapshot)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d snapshots: got %v, want %v", snapshots, got, want)
		}
	}
}

// What an image records of an earlier state of the build is what cleanStep would have left of it.
func TestCleanedIsWhatCleanStepLeaves(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"0123", "uninitialized\n"} {
		testCleaned(t, id)
	}
}

// testCleaned compares a tree with the machine ID after step.Clean with the one of step.Cleaned.
func testCleaned(t *testing.T, id string) {
	files := map[string]string{
		"/dev/x": "", "/proc/": "", "/run/lock/": "", "/tmp/x": "1", "/var/log/dpkg.log": "today",
		"/var/log/apt/term.log": "today",
		"/var/log/other.log":    "kept", "/var/lib/apt/lists/x": "1", "/var/cache/apt/archives/partial/": "",
		"/etc/machine-id": id, "/var/lib/dbus/machine-id": "0123", "/etc/resolv.conf": "nameserver 192.0.2.1\n",
		"/var/cache/ldconfig/aux-cache": "inodes", "/etc/passwd": "root",
	}
	list := func(tree diskimage.Tree) (names []string) {
		for e, err := range diskimage.Clamp(tree, time.Unix(0, 0)).Entries() {
			if err != nil {
				t.Fatal(err)
			}
			text := ""
			if e.Open != nil {
				c, err := e.Open()
				if err != nil {
					t.Fatal(err)
				}
				data := make([]byte, e.Size)
				if _, err := c.ReadAt(data, 0); err != nil {
					t.Fatal(err)
				}
				text = string(data)
				c.Close()
			}
			names = append(names, strings.TrimSpace(fs.FileMode(e.Mode&0o7777).String()+" "+e.Name+" "+text))
		}
		return names
	}
	before, after := targettest.New(t, files), targettest.New(t, files)
	if err := runStep(t, after, step.Clean{}); err != nil {
		t.Fatal(err)
	}
	got := list(step.Cleaned(diskimage.NewDirTree(before.Dir), []byte("nameserver 192.0.2.1\n")))
	want := list(diskimage.NewDirTree(after.Dir))
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if !slices.Contains(want, "-rw-r--r-- var/log/other.log kept") {
		t.Errorf("the test shows nothing: %q", want)
	}
}
