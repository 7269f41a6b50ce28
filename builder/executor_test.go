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
	disk := testPlan(t, func(o *Options) { o.Size = 500 * diskimage.MB }).Disk
	packages := []*archive.Package{{Name: "linux-image", InstalledSize: 400_000},
		{Name: "libc6", InstalledSize: 300_000}}
	err := checkRoom(disk, packages)
	if err == nil || !strings.Contains(err.Error(), "--size: ") || !strings.Contains(err.Error(), "716 MB") {
		t.Errorf("got %v, want an error that names --size and what is needed", err)
	}
	if err := checkRoom(disk, packages[:1]); err != nil {
		t.Errorf("a disk that is large enough: %v", err)
	}
	if err := checkRoom(nil, packages); err != nil {
		t.Errorf("no disk: %v", err)
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
