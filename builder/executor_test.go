// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

func TestDiskTooSmallForThePackagesIsRefusedBeforeTheDownload(t *testing.T) {
	t.Parallel()
	disk := testPlan(t, func(o *Options) { o.Size = 600 * diskimage.MB }).Disk
	packages := []*archive.Package{{Name: "linux-image", InstalledSize: 400_000},
		{Name: "libc6", InstalledSize: 300_000}}
	err := checkRoom(disk, packages, false)
	if err == nil || !strings.Contains(err.Error(), "--size: 600MB is too small: by an estimate, 2 packages of 716 MB "+
		"need a disk of at least ") {
		t.Errorf("got %v, want an error that names --size and what is needed", err)
	}
	if err := checkRoom(disk, packages[:1], false); err != nil {
		t.Errorf("a disk that is large enough: %v", err)
	}
	if err := checkRoom(disk, packages, true); err != nil {
		t.Errorf("what hooks may remove: %v", err)
	}
	if err := checkRoom(nil, packages, false); err != nil {
		t.Errorf("no disk: %v", err)
	}
	for name, change := range map[string]func(*Options){
		"squashfs": func(o *Options) { o.Size, o.Roottype, o.Extlinux = 500*diskimage.MB, "squashfs", false },
		"/boot":    func(o *Options) { o.Size, o.Bootsize = 850*diskimage.MB, 200*diskimage.MiB },
	} {
		if err := checkRoom(testPlan(t, change).Disk, packages, false); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Issue 15, 12: a size that is a little too small was found after the build.
func TestEstimatedSizeLeavesRoomForTheFileSystem(t *testing.T) {
	t.Parallel()
	packages := []*archive.Package{{Name: "all", InstalledSize: 285 * 1024}}
	for _, fstype := range []string{"ext2", "ext4", "f2fs", "btrfs"} {
		plan := func(size diskimage.Size) *Disk {
			return testPlan(t, func(o *Options) { o.Size, o.Roottype, o.Grub = size, fstype, true }).Disk
		}
		if err := checkRoom(plan(286*diskimage.MiB), packages, false); err == nil {
			t.Errorf("%s: 285 MiB of packages fit into 286", fstype)
		}
		if err := checkRoom(plan(2*diskimage.GiB), packages, false); err != nil {
			t.Errorf("%s: %v", fstype, err)
		}
	}
}

func TestProxyVariablesReachThePrograms(t *testing.T) {
	t.Parallel()
	got := proxyEnviron([]string{"HOME=/root", "http_proxy=http://p:1", "HTTPS_PROXY=http://p:2", "no_proxy=localhost",
		"PROXY=x"})
	if strings.Join(got, " ") != "http_proxy=http://p:1 HTTPS_PROXY=http://p:2 no_proxy=localhost" {
		t.Errorf("got %q", got)
	}
}

func TestComponentsFollowDebootstrapopts(t *testing.T) {
	t.Parallel()
	release, _ := debian.LookupRelease("trixie")
	for opts, want := range map[string]string{
		"":                                  "main",
		"components=main,contrib":           "main contrib",
		"--components=main variant=minbase": "main",
	} {
		if got := strings.Join(components(Options{Debootstrapopts: []string{opts}}, release), " "); got != want {
			t.Errorf("%q: got %q, want %q", opts, got, want)
		}
	}
}
