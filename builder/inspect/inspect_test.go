// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"reflect"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
)

func TestUsersAreThoseWhoCanLogIn(t *testing.T) {
	t.Parallel()
	index := targettest.Index(t, map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/bash\ndaemon:x:1:1::/:/usr/sbin/nologin\nalice:x:1000:1000::/home/alice:/bin/sh\n" +
			"bob:x:1001:1001::/home/bob:\nold:ab1234567890.:1002:1002::/:/bin/sh\nnew:x:1003:1003::/:/bin/sh\nbroken:x\n" +
			"keyed:x:1004:1004::/home/keyed:/bin/false\nempty::1005:1005::/:/bin/sh\n",
		"etc/shadow":                      "root:*:1\ndaemon:$6$a:1\nalice:!$6$locked:1\nbob:$y$j9T$x:1\n",
		"home/alice/.ssh/authorized_keys": "# mine\n\nssh-ed25519 AAAA a\nssh-rsa BBBB b\n",
		"home/keyed/.ssh/authorized_keys": "ssh-rsa BBBB b\n",
	})
	got, err := users(index)
	if err != nil {
		t.Fatal(err)
	}
	want := []User{{"alice", "1000", "/bin/sh", PasswordLocked, 2}, {"bob", "1001", "/bin/sh", PasswordSet, 0},
		{"old", "1002", "/bin/sh", PasswordSet, 0}, {"empty", "1005", "/bin/sh", PasswordEmpty, 0}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestServicesAreTheEnabledUnits(t *testing.T) {
	t.Parallel()
	const wants = "etc/systemd/system/multi-user.target.wants/"
	files := map[string]string{
		"usr/lib/systemd/systemd": "x", wants + "ssh.service": "-> /usr/lib/systemd/system/ssh.service",
		"etc/systemd/system/boot.target.requires/ssh.service": "-> /usr/lib/systemd/system/ssh.service",
		wants + "masked.service":                              "-> /usr/lib/systemd/system/masked.service",
		"etc/systemd/system/masked.service":                   "-> /dev/null",
		"etc/systemd/system/own.service":                      "[Unit]",
		"etc/systemd/system/a.service.d/override.conf":        "",
		"etc/rc2.d/S01cron":                                   "-> ../init.d/cron", "etc/rc2.d/K01off": "-> ../init.d/off",
	}
	if got := services(targettest.Index(t, files)); !reflect.DeepEqual(got, []string{"ssh.service"}) {
		t.Errorf("with systemd: %q", got)
	}
	delete(files, "usr/lib/systemd/systemd")
	if got := services(targettest.Index(t, files)); !reflect.DeepEqual(got, []string{"cron"}) {
		t.Errorf("with sysvinit: %q", got)
	}
}

func TestKernelsAreSortedByVersion(t *testing.T) {
	t.Parallel()
	got := kernels(targettest.Index(t, map[string]string{"boot/vmlinuz-6.9.1": "", "boot/vmlinuz-6.12.1": "",
		"boot/initrd.img-6.12.1": "", "boot/vmlinux-5.1": "", "vmlinuz": "-> boot/vmlinuz-6.9.1", "boot/vmlinuz": "",
		"boot/vmlinuz-7": "-> vmlinuz-6.9.1", "boot/vmlinuz-6.9.1.dpkg-new": "", "boot/config-6.9.1": ""}))
	if want := []Kernel{{"6.12.1", true}, {"6.9.1", false}, {"5.1", false}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestLoadersOfUEFIAreKnownByTheirContent(t *testing.T) {
	t.Parallel()
	got, err := loaders(targettest.Index(t, map[string]string{
		"boot/efi/EFI/BOOT/BOOTX64.EFI": "MZ UEFI SHIM", "boot/efi/EFI/debian/grubx64.efi": "MZ grub_mod_init",
		"efi/EFI/Linux/debian.efi": "MZ .linux\x00\x00 LoaderInfo: systemd-boot 257",
		"boot/EFI/systemd/s.efi":   "#### LoaderInfo: systemd-boot 257 ####",
		"usr/lib/EFI/BOOT/x.efi":   "not where firmware looks", "boot/efi/EFI/debian/grub.cfg": "",
		"boot/efi/EFI/BOOT/empty.efi": "",
	}), nil)
	want := []Loader{{"systemd-boot", "uefi", "/boot/EFI/systemd/s.efi"},
		{"shim", "uefi", "/boot/efi/EFI/BOOT/BOOTX64.EFI"}, {"unknown", "uefi", "/boot/efi/EFI/BOOT/empty.efi"},
		{"grub", "uefi", "/boot/efi/EFI/debian/grubx64.efi"},
		{"linux", "uefi", "/efi/EFI/Linux/debian.efi"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v (%v), want %v", got, err, want)
	}
}

func TestPackagesAreSortedBySize(t *testing.T) {
	t.Parallel()
	r, err := New("x", targettest.Index(t, map[string]string{"etc/hostname": "debian\n",
		"usr/lib/os-release": "ID=debian\nPRETTY_NAME=\"Debian 13\"\nVERSION_ID=13\nVERSION_CODENAME=trixie\n",
		"var/lib/dpkg/status": "Package: dpkg\nStatus: install ok installed\nVersion: 1\nArchitecture: arm64\nInstalled-Size: 1\n" +
			"Section: admin\n\n" +
			"Package: big\nStatus: install ok installed\nVersion: 2\nArchitecture: all\nInstalled-Size: 5\n"}), nil, "")
	if err != nil {
		t.Fatal(err)
	}
	s := r.System
	want := []Package{{"big", "2", "all", "", 5 << 10}, {"dpkg", "1", "arm64", "admin", 1 << 10}}
	if !reflect.DeepEqual(s.Packages, want) ||
		s.InstalledSize() != 6<<10 || s.Architecture != "arm64" || s.Hostname != "debian" ||
		s.Release != (Release{"debian", "Debian 13", "13", "trixie"}) || r.Disk != nil {
		t.Errorf("got %+v", s)
	}
}

// No text of accounts is a panic, and no hash is in the result.
func FuzzUsers(f *testing.F) {
	f.Add("root:x:0:0::/root:/bin/sh\n", "root:$6$secret:\n")
	f.Add(":::::::\n::\n", ":\n\n")
	f.Add("a::0:0::/../..:/bin/sh", "")
	f.Fuzz(func(t *testing.T, passwd, shadow string) {
		found, err := users(targettest.Index(t, map[string]string{"etc/passwd": passwd, "etc/shadow": shadow}))
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range found {
			if u.Password != PasswordSet && u.Password != PasswordEmpty && u.Password != PasswordLocked {
				t.Errorf("password %q", u.Password)
			}
		}
	})
}
