package builder

import (
	"slices"
	"strings"
	"testing"
	"time"
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
		{"grub on armhf", func(o *Options) { o.Image, o.Tarball, o.Grub, o.Arch = "", "x.tar", true, "armhf" }, "acpid linux-image-armmp systemd-resolved"},
		{"UEFI", func(o *Options) { o.Grub, o.UseUEFI = true, true },
			"acpid dosfstools grub-efi-amd64 grub-efi-amd64-signed grub-efi-ia32-bin linux-image-amd64 shim-signed systemd-resolved"},
		{"UEFI on i386", func(o *Options) { o.Grub, o.UseUEFI, o.Arch, o.Distribution = true, true, "i386", "jessie" },
			"acpid dosfstools grub-efi-ia32 linux-image-586"},
		{"UEFI on arm64", func(o *Options) { o.Grub, o.UseUEFI, o.Arch = true, true, "arm64" },
			"acpid dosfstools grub-efi-arm64 grub-efi-arm64-signed linux-image-arm64 shim-signed systemd-resolved"},
		{"UEFI on bookworm's i386", func(o *Options) { o.Grub, o.UseUEFI, o.Arch, o.Distribution = true, true, "i386", "bookworm" },
			"acpid dosfstools grub-efi-ia32 grub-efi-ia32-signed linux-image-686 shim-signed systemd-resolved"},
		{"UEFI on riscv64, where nothing is signed", func(o *Options) { o.Grub, o.UseUEFI, o.Arch = true, true, "riscv64" },
			"acpid dosfstools grub-efi-riscv64 linux-image-riscv64 systemd-resolved"},
		{"UEFI on armhf", func(o *Options) { o.Boot, o.UseUEFI, o.Arch = "grub", true, "armhf" },
			"acpid dosfstools grub-efi-arm linux-image-armmp systemd-resolved"},
		{"UEFI of Ubuntu", func(o *Options) { o.Grub, o.UseUEFI, o.Distribution = true, true, "noble" },
			"acpid dosfstools grub-efi-amd64 grub-efi-ia32-bin linux-image-generic systemd-resolved"},
		{"hybrid", func(o *Options) { o.Boot = "hybrid" },
			"acpid dosfstools grub-cloud-amd64 linux-image-amd64 systemd-resolved"},
		{"named", func(o *Options) { o.Packages = []string{"vim", "less,acpid , vim"} },
			"acpid less linux-image-amd64 systemd-resolved vim"},
		{"minbase", func(o *Options) { o.Debootstrapopts = []string{"no-check-gpg  variant=minbase"} },
			"acpid linux-image-amd64 systemd-resolved systemd-sysv udev"},
		{"minbase without kernel", func(o *Options) { o.NoKernel, o.Debootstrapopts = true, []string{"--variant=minbase"} },
			"acpid systemd-resolved"},
		{"minbase of bullseye without kernel", func(o *Options) {
			o.Distribution, o.NoKernel, o.Debootstrapopts = "bullseye", true, []string{"variant=minbase"}
		}, "acpid systemd"},
		{"minbase of bullseye without networkd", func(o *Options) {
			o.Distribution, o.NoKernel, o.SystemdNetworkd, o.Debootstrapopts = "bullseye", true, false, []string{"variant=minbase"}
		}, "acpid"},
		{"minbase of wheezy", func(o *Options) {
			o.Distribution, o.Roottype, o.Debootstrapopts = "wheezy", "ext3", []string{"variant=minbase"}
		}, "acpid linux-image-amd64 sysvinit udev"},
		{"minbase of trusty", func(o *Options) { o.Distribution, o.Debootstrapopts = "trusty", []string{"variant=minbase"} },
			"acpid linux-image-generic udev upstart"},
		{"Ubuntu", func(o *Options) { o.Distribution = "noble" }, "acpid linux-image-generic systemd-resolved"},
	} {
		got := strings.Join(mustSpec(t, test.change).Packages(), " ")
		if got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func TestKernelPackageFitsReleaseAndArchitecture(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ suite, arch, want string }{
		{"trixie", "amd64", "linux-image-amd64"},
		{"wheezy", "i386", "linux-image-486"},
		{"jessie", "i386", "linux-image-586"},
		{"stretch", "i386", "linux-image-686"},
		{"bullseye", "i386", "linux-image-686"},
		{"bookworm", "i386", "linux-image-686"},
		{"trixie", "i386", ""},
		{"sid", "i386", ""},
		{"wheezy", "armhf", "linux-image-vexpress"},
		{"jessie", "armhf", "linux-image-armmp"},
		{"bookworm", "armhf", "linux-image-armmp"},
		{"trixie", "armhf", "linux-image-armmp"},
		{"sid", "armhf", "linux-image-armmp"},
		{"jessie", "armel", "linux-image-versatile"},
		{"bookworm", "armel", "linux-image-marvell"},
		{"trixie", "armel", "linux-image-rpi"},
		{"forky", "armel", ""},
		{"jessie", "arm64", "linux-image-arm64"},
		{"trixie", "arm64", "linux-image-arm64"},
		{"sid", "arm64", "linux-image-arm64"},
		{"jessie", "ppc64el", "linux-image-powerpc64le"},
		{"trixie", "ppc64el", "linux-image-powerpc64le"},
		{"forky", "ppc64el", "linux-image-powerpc64le"},
		{"wheezy", "s390x", "linux-image-s390x"},
		{"trixie", "s390x", "linux-image-s390x"},
		{"forky", "s390x", "linux-image-s390x"},
		{"trixie", "riscv64", "linux-image-riscv64"},
		{"forky", "riscv64", "linux-image-riscv64"},
		{"forky", "loong64", "linux-image-loong64"},
		{"bookworm", "mipsel", "linux-image-4kc-malta"},
		{"noble", "arm64", "linux-image-generic"},
		{"jammy", "amd64", "linux-image-generic"},
	} {
		arch, ok := LookupArch(test.arch)
		release, known := lookupRelease(test.suite)
		if !ok || !known {
			t.Fatalf("no %s or no %s", test.arch, test.suite)
		}
		if got := arch.kernelPackage(release); got != test.want {
			t.Errorf("%s on %s: got %q, want %q", test.suite, test.arch, got, test.want)
		}
	}
}

func TestArchTableIsWhole(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, a := range arches {
		if seen[a.Name] {
			t.Errorf("%s is there twice", a.Name)
		}
		seen[a.Name] = true
		if a.Triplet == "" || a.Serial == "" || len(a.kernels) == 0 {
			t.Errorf("%s lacks something: %+v", a.Name, a)
		}
		if (a.EFI == "") != (len(a.EFIPackages) == 0) {
			t.Errorf("%s: EFI name %q and packages %q do not go together", a.Name, a.EFI, a.EFIPackages)
		}
		for _, k := range a.kernels {
			if r, ok := lookupRelease(k.codename); !ok || r.Vendor != Debian {
				t.Errorf("%s: no Debian release %q", a.Name, k.codename)
			}
		}
		for _, other := range a.RunsOn {
			if _, ok := LookupArch(other); !ok {
				t.Errorf("%s runs on unknown %q", a.Name, other)
			}
		}
	}
}

func TestNativeOnKnowsTheSmallBrother(t *testing.T) {
	t.Parallel()
	i386, _ := LookupArch("i386")
	amd64, _ := LookupArch("amd64")
	if !i386.NativeOn("amd64") || !i386.NativeOn("i386") || amd64.NativeOn("i386") || amd64.NativeOn("arm64") {
		t.Errorf("i386 must run on amd64 and i386, amd64 on neither i386 nor arm64")
	}
}

func TestSuitesMoveWithTime(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ day, suite, want string }{
		{"2026-11-23", "stable", "trixie"},
		{"2026-11-23", "testing", "forky"},
		{"2026-11-23", "oldstable", "bookworm"},
		{"2026-11-23", "oldoldstable", "bullseye"},
		{"2026-11-23", "unstable", "sid"},
		{"2026-11-23", "bookworm", "bookworm"},
		{"2026-11-23", "noble", "noble"},
		{"2015-04-25", "stable", "wheezy"},
		{"2015-04-26", "stable", "jessie"},
		{"2015-04-26", "oldstable", "wheezy"},
		{"2015-04-26", "testing", "stretch"},
		{"1995-01-01", "stable", ""},
		{"2026-11-23", "devel", ""},
		{"2026-11-23", "Sid", ""},
		{"2026-11-23", "", ""},
	} {
		day, err := time.Parse(time.DateOnly, test.day)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := resolveSuite(test.suite, day)
		if got.Codename != test.want || ok != (test.want != "") {
			t.Errorf("%s on %s: got %q, want %q", test.suite, test.day, got.Codename, test.want)
		}
	}
}

func TestReleaseTableIsInOrder(t *testing.T) {
	t.Parallel()
	for _, vendor := range []Vendor{Debian, Ubuntu} {
		last := Release{}
		for _, r := range releases {
			if r.Vendor != vendor || r.Created == alwaysInMotion {
				continue
			}
			if r.Created < last.Created || r.Released != "" && (r.Released < r.Created || r.EOL < r.Released) {
				t.Errorf("%s: dates out of order: %+v", r.Codename, r)
			}
			last = r
		}
	}
	if !slices.IsSortedFunc(releases, func(a, b Release) int { return strings.Compare(string(a.Vendor), string(b.Vendor)) }) {
		t.Error("vendors are mixed")
	}
}

func TestReleasesHaveWhatTheyHave(t *testing.T) {
	t.Parallel()
	type can struct{ systemd, sysvinit, resolved, resolvedPackage, deb822, mergedUsr bool }
	for codename, want := range map[string]can{
		"wheezy":   {sysvinit: true},
		"jessie":   {systemd: true},
		"stretch":  {systemd: true, resolved: true},
		"buster":   {systemd: true, resolved: true, mergedUsr: true},
		"bookworm": {systemd: true, resolved: true, mergedUsr: true, resolvedPackage: true},
		"trixie":   {systemd: true, resolved: true, mergedUsr: true, resolvedPackage: true, deb822: true},
		"sid":      {systemd: true, resolved: true, mergedUsr: true, resolvedPackage: true, deb822: true},
		"trusty":   {},
		"xenial":   {systemd: true, resolved: true},
		"jammy":    {systemd: true, resolved: true, mergedUsr: true},
		"noble":    {systemd: true, resolved: true, mergedUsr: true, resolvedPackage: true, deb822: true},
	} {
		r, ok := lookupRelease(codename)
		if !ok {
			t.Fatalf("no %s", codename)
		}
		got := can{r.Systemd(), r.Sysvinit(), r.Resolved(), r.ResolvedPackage(), r.Deb822Sources(), r.MergedUsr()}
		if got != want {
			t.Errorf("%s: got %+v, want %+v", codename, got, want)
		}
	}
}

func TestSecuritySuiteHasTheNameOfItsTime(t *testing.T) {
	t.Parallel()
	for codename, want := range map[string]string{
		"buster": "buster/updates", "bullseye": "bullseye-security", "trixie": "trixie-security",
		"noble": "noble-security", "sid": "",
	} {
		r, _ := lookupRelease(codename)
		if got := r.SecuritySuite(); got != want {
			t.Errorf("%s: got %q, want %q", codename, got, want)
		}
	}
}
