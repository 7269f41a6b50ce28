// SPDX-License-Identifier: Apache-2.0

package debian

import (
	"strings"
	"testing"
)

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
		{"resolute", "riscv64", "linux-image-generic"},
		{"disco", "i386", "linux-image-generic"},
		{"eoan", "i386", ""},
		{"noble", "loong64", ""},
	} {
		arch, ok := LookupArch(test.arch)
		release, known := LookupRelease(test.suite)
		if !ok || !known {
			t.Fatalf("unknown architecture %s or suite %s", test.arch, test.suite)
		}
		if got := arch.KernelPackage(release); got != test.want {
			t.Errorf("%s on %s: got %q, want %q", test.suite, test.arch, got, test.want)
		}
	}
}

func TestArchTableIsComplete(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, a := range arches {
		if seen[a.Name] {
			t.Errorf("%s is listed twice", a.Name)
		}
		seen[a.Name] = true
		if a.Triplet == "" || a.Serial == "" || len(a.kernels) == 0 {
			t.Errorf("%s lacks a triplet, a serial port or kernels: %+v", a.Name, a)
		}
		if (a.EFI == "") != (len(a.EFIPackages) == 0) {
			t.Errorf("%s: got EFI name %q and packages %q, want both or neither", a.Name, a.EFI, a.EFIPackages)
		}
		for _, k := range a.kernels {
			if r, ok := LookupRelease(k.codename); !ok || r.Vendor != Debian {
				t.Errorf("%s: unknown Debian release %q", a.Name, k.codename)
			}
		}
		if u := a.ubuntu; u != nil {
			for _, codename := range []string{u.since, u.last, u.lastKernel} {
				if r, ok := LookupRelease(codename); codename != "" && (!ok || r.Vendor != Ubuntu) {
					t.Errorf("%s: unknown Ubuntu release %q", a.Name, codename)
				}
			}
		}
		for _, other := range a.RunsOn {
			if _, ok := LookupArch(other); !ok {
				t.Errorf("%s: RunsOn lists unknown architecture %q", a.Name, other)
			}
		}
	}
}

func TestI386IsNativeOnAmd64(t *testing.T) {
	t.Parallel()
	i386, _ := LookupArch("i386")
	amd64, _ := LookupArch("amd64")
	if !i386.NativeOn("amd64") || !i386.NativeOn("i386") || amd64.NativeOn("i386") || amd64.NativeOn("arm64") {
		t.Errorf("got i386 on amd64 %v, on i386 %v, amd64 on i386 %v, on arm64 %v; want true, true, false, false",
			i386.NativeOn("amd64"), i386.NativeOn("i386"), amd64.NativeOn("i386"), amd64.NativeOn("arm64"))
	}
}

func TestArchesOfRelease(t *testing.T) {
	t.Parallel()
	for codename, want := range map[string]string{
		"lucid":    "amd64 armel armhf i386 powerpc",
		"precise":  "amd64 armel armhf i386 powerpc",
		"trusty":   "amd64 arm64 armhf i386 powerpc ppc64el",
		"xenial":   "amd64 arm64 armhf i386 powerpc ppc64el s390x",
		"bionic":   "amd64 arm64 armhf i386 ppc64el s390x",
		"resolute": "amd64 arm64 armhf i386 ppc64el riscv64 s390x",
	} {
		r, _ := LookupRelease(codename)
		if got := strings.Join(ArchesIn(r), " "); got != want {
			t.Errorf("%s: got %s, want %s", codename, got, want)
		}
	}
	trixie, _ := LookupRelease("trixie")
	if got := len(ArchesIn(trixie)); got != len(arches) {
		t.Errorf("trixie: got %d architectures, want all %d", got, len(arches))
	}
}
