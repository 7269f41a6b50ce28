// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/hooks"
)

func TestPackagesFollowTheOptions(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*Options)
		want   string
	}{
		{"default", nil, "acpid linux-image-amd64 systemd-resolved"},
		{"bookworm", func(o *Options) { o.Distribution = "bookworm" }, "acpid linux-image-amd64 systemd-resolved"},
		{"bullseye", func(o *Options) { o.Distribution = "bullseye" }, "acpid linux-image-amd64"},
		{"without networkd", func(o *Options) { o.SystemdNetworkd = false }, "acpid linux-image-amd64"},
		{"bare", func(o *Options) { o.NoKernel, o.NoAcpid, o.SystemdNetworkd = true, true, false }, ""},
		{"no kernel", func(o *Options) { o.NoKernel, o.KernelPackage = true, "unlikely" }, "acpid systemd-resolved"},
		{"kernel", func(o *Options) { o.KernelPackage = "unlikely" }, "acpid systemd-resolved unlikely"},
		{"foreign", func(o *Options) { o.Arch, o.Foreign = "armhf", "PATH" }, "linux-image-armmp systemd-resolved"},
		{"sudo", func(o *Options) { o.Sudo = true }, "acpid linux-image-amd64 sudo systemd-resolved"},
		{"grub", func(o *Options) { o.Grub = true }, "acpid grub-pc linux-image-amd64 systemd-resolved"},
		{"grub on i386", func(o *Options) { o.Grub, o.Arch, o.Distribution = true, "i386", "bookworm" },
			"acpid grub-pc linux-image-686 systemd-resolved"},
		{"grub on armhf", func(o *Options) { o.Image, o.Tarball, o.Grub, o.Arch = "", "x.tar", true, "armhf" },
			"acpid linux-image-armmp systemd-resolved"},
		{"UEFI", func(o *Options) { o.Grub, o.UseUEFI = true, true },
			"acpid dosfstools grub-efi-amd64 grub-efi-amd64-signed grub-efi-ia32-bin linux-image-amd64 shim-signed systemd-resolved"},
		{"UEFI on i386", func(o *Options) { o.Grub, o.UseUEFI, o.Arch, o.Distribution = true, true, "i386", "jessie" },
			"acpid dosfstools grub-efi-ia32 linux-image-586"},
		{"UEFI on arm64", func(o *Options) { o.Grub, o.UseUEFI, o.Arch = true, true, "arm64" },
			"acpid dosfstools grub-efi-arm64 grub-efi-arm64-signed linux-image-arm64 shim-signed systemd-resolved"},
		{"UEFI on bookworm's i386",
			func(o *Options) { o.Grub, o.UseUEFI, o.Arch, o.Distribution = true, true, "i386", "bookworm" },
			"acpid dosfstools grub-efi-ia32 grub-efi-ia32-signed linux-image-686 shim-signed systemd-resolved"},
		{"UEFI on riscv64, where nothing is signed",
			func(o *Options) { o.Grub, o.UseUEFI, o.Arch = true, true, "riscv64" },
			"acpid dosfstools grub-efi-riscv64 linux-image-riscv64 systemd-resolved"},
		{"UEFI on armhf", func(o *Options) { o.Boot, o.UseUEFI, o.Arch = "grub", true, "armhf" },
			"acpid dosfstools grub-efi-arm linux-image-armmp systemd-resolved"},
		{"UEFI of Ubuntu", func(o *Options) { o.Grub, o.UseUEFI, o.Distribution = true, true, "noble" },
			"acpid dosfstools grub-efi-amd64 grub-efi-ia32-bin initramfs-tools linux-image-generic systemd-resolved"},
		{"hybrid", func(o *Options) { o.Boot = "hybrid" },
			"acpid dosfstools grub-cloud-amd64 linux-image-amd64 systemd-resolved"},
		{"named", func(o *Options) { o.Packages = []string{"vim", "less,acpid , vim"} },
			"acpid less linux-image-amd64 systemd-resolved vim"},
		{"two in one word, a version and a suite", func(o *Options) {
			o.NoKernel, o.Packages = true, []string{"less hello=2.10-3", "curl/trixie-backports"}
		}, "acpid curl/trixie-backports hello=2.10-3 less systemd-resolved"},
		{"minbase", func(o *Options) { o.Debootstrapopts = []string{"no-check-gpg  variant=minbase"} },
			"acpid linux-image-amd64 systemd-resolved systemd-sysv udev"},
		{"minbase without kernel",
			func(o *Options) { o.NoKernel, o.Debootstrapopts = true, []string{"--variant=minbase"} },
			"acpid systemd-resolved"},
		{"minbase of bullseye without kernel", func(o *Options) {
			o.Distribution, o.NoKernel, o.Debootstrapopts = "bullseye", true, []string{"variant=minbase"}
		}, "acpid systemd"},
		{"minbase of bullseye without networkd", func(o *Options) {
			o.Distribution, o.NoKernel, o.SystemdNetworkd, o.Debootstrapopts = "bullseye", true, false,
				[]string{"variant=minbase"}
		}, "acpid"},
		{"minbase of wheezy", func(o *Options) {
			o.Distribution, o.Roottype, o.Debootstrapopts = "wheezy", "ext3", []string{"variant=minbase"}
		}, "acpid linux-image-amd64 sysvinit udev"},
		{"minbase of trusty",
			func(o *Options) { o.Distribution, o.Debootstrapopts = "trusty", []string{"variant=minbase"} },
			"acpid initramfs-tools linux-image-generic udev upstart"},
		{"Ubuntu", func(o *Options) { o.Distribution = "noble" },
			"acpid initramfs-tools linux-image-generic systemd-resolved"},
		{"Ubuntu with another kernel",
			func(o *Options) { o.Distribution, o.KernelPackage = "noble", "linux-image-virtual" },
			"acpid initramfs-tools linux-image-virtual systemd-resolved"},
		{"Ubuntu without a kernel", func(o *Options) { o.Distribution, o.NoKernel = "noble", true },
			"acpid systemd-resolved"},
	} {
		got := strings.Join(mustSpec(t, test.change).Packages(), " ")
		if got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func TestRelationsAreWhatTheIndexCanJudge(t *testing.T) {
	t.Parallel()
	for asked, want := range map[string]string{
		"hello": "hello", "hello=2.10-3": "hello (= 2.10-3)", "hello=1:2~rc1+b2": "hello (= 1:2~rc1+b2)",
		"hello/trixie-backports": "hello", "hello:amd64": "hello", "hello:any=1": "hello (= 1)", "hello:i386": "",
	} {
		if got := relation(asked, "amd64"); got != want {
			t.Errorf("%s: got %q, want %q", asked, got, want)
		}
	}
}

// Issue 14, 9: what a repository of an essential hook has was refused before the hook ran.
func TestEstimateLeavesPackagesOfEssentialHooksToApt(t *testing.T) {
	t.Parallel()
	index := toolIndex(t, "apt", "acpid", "systemd-resolved", "hello")
	estimated := func(change func(*Options)) (string, error) {
		packages, err := estimate(testSpec(t, func(o *Options) { o.NoKernel = true; change(o) }), index)
		var names []string
		for _, p := range packages {
			names = append(names, p.Name)
		}
		return strings.Join(names, " "), err
	}
	theirs := func(o *Options) { o.Packages = []string{"hello=1", "of-a-vendor=2:3"} }
	if got, err := estimated(theirs); err == nil || !strings.Contains(err.Error(), `--package: `) ||
		!strings.Contains(err.Error(), "of-a-vendor") {
		t.Errorf("got %q, %v", got, err)
	}
	got, err := estimated(func(o *Options) {
		theirs(o)
		o.Actions = []Action{{Kind: ActionScript, Phase: hooks.PhaseEssential, Text: "/hooks/x.sh"}}
	})
	if err != nil || got != "acpid apt hello systemd-resolved" {
		t.Errorf("with an essential hook: got %q, %v", got, err)
	}
	if got, err := estimated(func(o *Options) { o.Packages = []string{"hello=2"} }); err == nil ||
		!strings.Contains(err.Error(), "the archive has version 1") {
		t.Errorf("another version: got %q, %v", got, err)
	}
}

// Issue 14, 9: a package of another component or suite was only missing.
func TestPackagesElsewhereOnTheMirrorAreNamed(t *testing.T) {
	t.Parallel()
	repo := archivetest.NewRepository(t, "trixie", "trixie-backports", "sid")
	repo.Add(archivetest.Deb{Name: "apt"}, archivetest.Deb{Name: "acpid"}, archivetest.Deb{Name: "systemd-resolved"})
	repo.AddTo("trixie", archivetest.Deb{Name: "firmware", Section: "non-free-firmware/kernel"})
	repo.AddTo("sid", archivetest.Deb{Name: "firmware"}, archivetest.Deb{Name: "newer"}, archivetest.Deb{Name: "hello"})
	repo.AddTo("trixie-backports", archivetest.Deb{Name: "hello", Section: "contrib/misc"})
	cache, err := archive.NewCache(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	client := &archive.Client{HTTP: repo.Client(), Cache: cache, Keyring: repo.Keyring(), UserKeyring: true}
	release, err := client.Release(t.Context(), repo.URL(), "trixie")
	if err != nil {
		t.Fatal(err)
	}
	index, err := client.Packages(t.Context(), release, "main", "amd64")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		packages []string
		want     []Elsewhere
	}{
		{[]string{"firmware", "nowhere"}, []Elsewhere{{"firmware", "non-free-firmware", "trixie"}}},
		{[]string{"newer", "hello"}, []Elsewhere{{"hello", "contrib", "trixie-backports"}, {"newer", "main", "sid"}}},
		{[]string{"nowhere"}, nil},
	} {
		spec := testSpec(t, func(o *Options) {
			o.Distribution, o.NoKernel, o.Mirror, o.Packages = "trixie", true, secret.NewURL(repo.URL()), tt.packages
		})
		_, err := estimate(spec, index)
		err = elsewhere(t.Context(), spec, client, release, err)
		var missing *MissingError
		if errors.As(err, &missing) != (tt.want != nil) || missing != nil && !slices.Equal(missing.Found, tt.want) {
			t.Errorf("%q: got %v, want %v", tt.packages, err, tt.want)
		}
	}
}

func TestDpkgStatusHasOneReader(t *testing.T) {
	t.Parallel()
	const name = "var/lib/dpkg/status"
	hello := &archive.Package{Name: "hello", Version: "2.10-3"}
	for _, tt := range []struct {
		name, status, wantError string
		want                    int
	}{
		{"the same version", "Package: hello\nVersion: 2.10-3\n", "<nil>", 0},
		{"an older version", "Package: hello\nVersion: 2.10-2\n", "<nil>", 1},
		{"no package", "", "<nil>", 1},
		{"a damaged file", "no field\n", "read /var/lib/dpkg/status: line 1: ", 0},
	} {
		files := memoryFiles(t, map[string]string{name: tt.status})
		got, err := notInstalled(files, []*archive.Package{hello})
		if len(got) != tt.want || !strings.HasPrefix(fmt.Sprint(err), tt.wantError) {
			t.Errorf("%s: got %v, %v, want %d packages and the error %q", tt.name, got, err, tt.want, tt.wantError)
		}
		if _, err := identify(files); !strings.HasPrefix(fmt.Sprint(err), tt.wantError) {
			t.Errorf("%s: identify returned %v, want the error %q", tt.name, err, tt.wantError)
		}
	}
	stanzas, err := readDpkgStatus(memoryFiles(t, map[string]string{"etc/hostname": "x\n"}))
	if stanzas != nil || err != nil {
		t.Errorf("no file: got %v, %v", stanzas, err)
	}
	// A directory in its place is no absent file.
	if _, err := readDpkgStatus(memoryFiles(t, map[string]string{name + "/x": ""})); err == nil {
		t.Error("a directory: no error")
	}
}
