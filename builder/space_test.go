// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"errors"
	"math"
	"path"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Issue 15, 3: a build that its file systems had no room for failed after minutes, with the error of any program.
func TestBuildsWithoutRoomAreRefusedBeforeTheWork(t *testing.T) {
	t.Parallel()
	const state, outputs = "/state", "/out"
	packages := []*archive.Package{
		{Name: "linux-image", Size: 50_000_000, InstalledSize: 400_000},
		{Name: "libc6", Size: 50_000_000, InstalledSize: 600_000},
	} // 1.024 GB in all
	image := func(o *Options) { o.Image, o.Size = "/out/debian.img", 2*diskimage.GB }
	export := func(text string) func(*Options) {
		e, err := ParseExport(text)
		if err != nil {
			t.Fatal(err)
		}
		return func(o *Options) { o.Image, o.Exports = "", []Export{e} }
	}
	for name, tt := range map[string]struct {
		change   func(*Options)
		install  []*archive.Package
		download diskimage.Size
		toolbox  []*archive.Package
		copies   int
		free     map[string]FreeSpace // by directory
		want     []string             // parts of the errors
	}{
		"room": {image, packages, 100_000_000, nil, 0, map[string]FreeSpace{
			state: {1, 2 * diskimage.GB, 100_000}, outputs: {2, 2 * diskimage.GB, 10}}, nil},
		"state": {image, packages, 100_000_000, nil, 0, map[string]FreeSpace{
			state: {1, 900 * diskimage.MB, 100_000}, outputs: {2, 2 * diskimage.GB, 10}},
			[]string{"the file system of /state has 900 MB free, and the build needs about 1179 MB there"}},
		"state without the download": {image, packages, 0, nil, 0, map[string]FreeSpace{
			state: {1, 1100 * diskimage.MB, 100_000}, outputs: {2, 2 * diskimage.GB, 10}}, nil},
		"all is cached": {image, nil, 0, nil, 0, map[string]FreeSpace{
			state: {1, 1, 1}, outputs: {2, 2 * diskimage.GB, 10}}, nil},
		"inodes": {image, packages, 0, nil, 0, map[string]FreeSpace{
			state: {1, 2 * diskimage.GB, 1000}, outputs: {2, 2 * diskimage.GB, 10}},
			[]string{"the file system of /state has 1000 free inodes, and the build needs about 25004 there"}},
		"no limit of inodes": {image, packages, 0, nil, 0, map[string]FreeSpace{
			state: {1, 2 * diskimage.GB, math.MaxUint64}, outputs: {2, 2 * diskimage.GB, 10}}, nil},
		"output": {image, packages, 0, nil, 0, map[string]FreeSpace{
			state: {1, 2 * diskimage.GB, 100_000}, outputs: {2, 500 * diskimage.MB, 10}},
			[]string{"the file system of /out has 500 MB free, and the build needs about 819 MB there"}},
		"output without inodes": {image, packages, 0, nil, 0, map[string]FreeSpace{
			state: {1, 2 * diskimage.GB, 100_000}, outputs: {2, 2 * diskimage.GB, 0}},
			[]string{"the file system of /out has 0 free inodes, and the build needs about 1 there"}},
		"both": {image, packages, 0, nil, 0, map[string]FreeSpace{
			state: {1, 500 * diskimage.MB, 100_000}, outputs: {2, 500 * diskimage.MB, 10}},
			[]string{"file system of /state has 500 MB", "file system of /out has 500 MB"}},
		"one file system": {image, packages, 0, nil, 0, map[string]FreeSpace{
			state: {1, 1500 * diskimage.MB, 100_000}, outputs: {1, 1500 * diskimage.MB, 100_000}},
			[]string{"the file system of /state and /out has 1500 MB free, and the build needs about 1818 MB"}},
		"compressed image": {func(o *Options) { image(o); o.ConvertQcow2 = true }, packages, 0, nil, 0, map[string]FreeSpace{
			state: {1, 2 * diskimage.GB, 100_000}, outputs: {2, 500 * diskimage.MB, 10}}, nil},
		"tar archive": {func(o *Options) { o.Image, o.Tarball = "", "/out/x.tar" }, packages, 0, nil, 0, map[string]FreeSpace{
			state: {1, 2 * diskimage.GB, 100_000}, outputs: {2, 500 * diskimage.MB, 10}},
			[]string{"of /out has 500 MB free"}},
		"compressed tar archive": {func(o *Options) { o.Image, o.Tarball = "", "/out/x.tar.gz" }, packages, 0, nil, 0,
			map[string]FreeSpace{state: {1, 2 * diskimage.GB, 100_000}, outputs: {2, 500 * diskimage.MB, 10}}, nil},
		"toolbox": {image, nil, 0, packages, 0, map[string]FreeSpace{
			state: {1, 700 * diskimage.MB, 100_000}, outputs: {2, 2 * diskimage.GB, 10}},
			[]string{"the file system of /state has 700 MB free, and the build needs about 819 MB there"}},
		"full copies": {image, nil, 0, nil, 3, map[string]FreeSpace{
			state: {1, 2 * diskimage.GB, 100_000}, outputs: {2, 2 * diskimage.GB, 10}},
			[]string{"the file system of /state has 2000 MB free, and the build needs about 2457 MB there"}},
		"export to a directory": {export("dir:/out/tree"), nil, 0, nil, 0, map[string]FreeSpace{
			state: {1, 1, 1}, outputs: {2, 2 * diskimage.GB, 1000}},
			[]string{"the file system of /out has 1000 free inodes"}},
		"export to an archive": {export("docker-archive:/out/x.tar"), nil, 0, nil, 0, map[string]FreeSpace{
			state: {1, 1, 1}, outputs: {2, 500 * diskimage.MB, 10}},
			[]string{"the file system of /out has 500 MB free, and the build needs about 819 MB there"}},
		"compressed export": {export("oci:/out/x"), nil, 0, nil, 0, map[string]FreeSpace{
			state: {1, 1, 1}, outputs: {2, 300 * diskimage.MB, 10}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plan := testPlan(t, tt.change)
			errs := checkSpace(plan.spaceNeeds(workload{stateDir: state, cwd: "/cwd", install: tt.install,
				all: packages, toolbox: tt.toolbox, download: tt.download, copies: tt.copies}),
				func(dir string) (FreeSpace, error) {
					free, ok := tt.free[path.Clean(dir)]
					if !ok {
						t.Errorf("asked for %s", dir)
					}
					return free, nil
				})
			if len(errs) != len(tt.want) {
				t.Errorf("got %v, want %q", errs, tt.want)
				return
			}
			for i, err := range errs {
				if _, ok := errors.AsType[*SpaceError](err); !ok || !strings.Contains(err.Error(), tt.want[i]) {
					t.Errorf("got %v, want %q", err, tt.want[i])
				}
			}
		})
	}
}

func TestSpaceOfOutputsIsThatOfTheirDirectories(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"x.tar": "/cwd", "sub/x.tar": "/cwd/sub", "/out/x.tar": "/out",
		"/dev/stdout": "", StandardOutput: ""} {
		needs := Plan{Tarball: name}.spaceNeeds(workload{stateDir: "/state", cwd: "/cwd"})[1:]
		if want == "" && len(needs) > 0 || want != "" && (len(needs) != 1 || needs[0].dir != want) {
			t.Errorf("%s: got %+v, want %q", name, needs, want)
		}
	}
}
