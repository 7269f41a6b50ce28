// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// TestNewSpecRefuses holds table A.4 of the specification with the fragments that the tests of vmdebootstrap 1.7 look
// for, and the rules that are new.
func TestNewSpecRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*Options)
		flag   string
		want   []string
	}{
		{"squash and image", func(o *Options) { o.Squash = "FOO" }, "--squash", []string{"--image"}},
		{"ISO and image", func(o *Options) { o.ISO = "live.iso" }, "--iso", []string{"cannot be combined with --image"}},
		{"ISO and tarball", func(o *Options) { o.Image, o.ISO, o.Tarball = "", "live.iso", "x.tar" }, "--iso",
			[]string{"--tarball"}},
		{"ISO with a boot loader", func(o *Options) { o.Image, o.ISO, o.Boot = "", "live.iso", "extlinux" }, "--boot",
			[]string{"every firmware", "drop it"}},
		{"ISO with UEFI", func(o *Options) { o.Image, o.ISO, o.Grub, o.UseUEFI = "", "live.iso", true, true }, "--use-uefi",
			[]string{"drop it"}},
		{"ISO without initramfs", func(o *Options) { o.Image, o.ISO, o.UpdateInitramfs = "", "live.iso", false }, "--iso",
			[]string{"drop --no-update-initramfs"}},
		{"ISO of Ubuntu", func(o *Options) { o.Image, o.ISO, o.Distribution = "", "live.iso", "noble" }, "--iso",
			[]string{"of Debian, not of Ubuntu"}},
		{"ISO of an old release", func(o *Options) { o.Image, o.ISO, o.Distribution = "", "live.iso", "stretch" }, "--iso",
			[]string{"stretch is too old"}},
		{"ISO of a machine without firmware", func(o *Options) { o.Image, o.ISO, o.Arch = "", "live.iso", "s390x" }, "--iso",
			[]string{"s390x has neither a BIOS nor UEFI"}},
		{"volume ID with a blank", func(o *Options) { o.Image, o.ISO, o.ISOLabel = "", "live.iso", "my live" }, "--iso-label",
			[]string{`"my live" has a ' '`}},
		{"volume ID without ISO", func(o *Options) { o.ISOLabel = "live" }, "--iso", []string{"--iso-label", "need it"}},
		{"ISO on a directory", func(o *Options) { o.Image, o.ISO = "", "live" }, "--iso", []string{"regular file"}},
		{"no output", func(o *Options) { o.Image = "" }, "--image", []string{"disk image filename", "squash"}},
		{"size 0", func(o *Options) { o.Size = 0 }, "--size", []string{"too small", "bootstrap", "disk image", "must"}},
		{"size 100M", func(o *Options) { o.Size = 100 * diskimage.MB }, "--size", []string{"too small"}},
		{"small tarball", func(o *Options) { o.Image, o.Tarball, o.Size = "", "x.tar", 1 }, "--size",
			[]string{"too small"}},
		{"unknown suite", func(o *Options) { o.Distribution = "Trixie" }, "--distribution",
			[]string{"valid Debian or Ubuntu"}},
		{"almost a suite of Ubuntu", func(o *Options) { o.Distribution = "resolut" }, "--distribution",
			[]string{"not a valid", "resolute?"}},
		{"version of Ubuntu", func(o *Options) { o.Distribution = "24.04" }, "--distribution", []string{"mean noble?"}},
		{"version of Debian", func(o *Options) { o.Distribution = "13" }, "--distribution", []string{"mean trixie?"}},
		{"architecture that a release of Ubuntu lacks", func(o *Options) { o.Distribution, o.Arch = "noble", "armel" },
			"--arch", []string{"noble has no armel: want one of amd64, arm64, armhf, i386, ppc64el, riscv64, s390x"}},
		{"architecture that a release of Ubuntu has no kernel for",
			func(o *Options) { o.Distribution, o.Arch = "noble", "i386" }, "--arch",
			[]string{"no kernel for i386", "--no-kernel"}},
		{"suite of backports", func(o *Options) { o.Distribution = "bookworm-backports" }, "--distribution",
			[]string{"not a valid"}},
		{"apt mirror alone", func(o *Options) { o.AptMirror = secret.NewURL("http://m.example/") }, "--apt-mirror",
			[]string{"requires --configure-apt as well"}},
		{"local mirror of another host", func(o *Options) { o.Mirror = secret.NewURL("file://srv/mirror") }, "--mirror",
			[]string{"not a URL like file:///srv/mirror"}},
		{"no such local mirror", func(o *Options) { o.Mirror = secret.NewURL("file:///nowhere/mirror") }, "--mirror",
			[]string{"not exist"}},
		{"local mirror with a blank", func(o *Options) { o.Mirror = secret.NewURL("copy:/srv/a%20b") }, "--mirror",
			[]string{"cannot read the path"}},
		{"local mirror that hides the system", func(o *Options) { o.Mirror = secret.NewURL("file:///usr/share") }, "--mirror",
			[]string{"cannot be shared"}},
		{"credentials with blanks", func(o *Options) { o.Mirror = secret.NewURL("http://joe:a%20b@m.example/") }, "--mirror",
			[]string{"blanks"}},
		{"unknown pocket", func(o *Options) { o.Pockets = []string{"updates,securty"} }, "--pockets",
			[]string{`"securty"; want one of none, updates,`, "security?"}},
		{"no pocket and some", func(o *Options) { o.Pockets = []string{"none,updates"} }, "--pockets",
			[]string{"none excludes"}},
		{"pockets of sid", func(o *Options) { o.Distribution, o.Pockets = "sid", []string{"security"} }, "--pockets",
			[]string{"sid has no suites of updates"}},
		{"a security archive for nothing", func(o *Options) { o.SecurityMirror = secret.NewURL("http://m.example/s") },
			"--security-mirror", []string{"needs --pockets security"}},
		{"unknown architecture of dpkg", func(o *Options) { o.DpkgArches = []string{"i368"} }, "--dpkg-arch",
			[]string{`"i368" is not an architecture`, "i386?"}},
		{"architecture of dpkg twice", func(o *Options) { o.DpkgArches = []string{"i386,amd64"} }, "--dpkg-arch",
			[]string{"amd64 is that of --arch"}},
		{"hash of nobody", func(o *Options) { o.PasswordHashes = []PasswordHash{{"ann", secret.New("$6$a$b")}} },
			"--password-hash", []string{"ann", "neither root nor"}},
		{"hash and password", func(o *Options) {
			o.RootPassword, o.PasswordHashes = secret.New("a"), []PasswordHash{{"root", secret.New("$6$a$b")}}
		}, "--password-hash", []string{"root has a password already"}},
		{"hash twice", func(o *Options) {
			o.PasswordHashes = []PasswordHash{{"root", secret.New("$6$a$b")}, {"root", secret.New("$6$a$b")}}
		}, "--password-hash", []string{"root has a password already"}},
		{"a password for a hash", func(o *Options) { o.PasswordHashes = []PasswordHash{{"root", secret.New("s3cret")}} },
			"--password-hash", []string{"what follows root: is not a hash"}},
		{"a weak hash", func(o *Options) { o.PasswordHashes = []PasswordHash{{"root", secret.New("$1$a$b")}} },
			"--password-hash", []string{"is not a hash"}},
		{"a hidden hash", func(o *Options) { o.PasswordHashes = []PasswordHash{{"root", secret.New(secret.Hidden)}} },
			"--password-hash", []string{"--dump-config hid"}},
		{"no such ssh key", func(o *Options) { o.SSHKeys = []string{"nowhere.pub"} }, "--ssh-key", []string{"not exist"}},
		{"no such key of an account", func(o *Options) { o.AuthorizedKeys = []AuthorizedKeys{{"root", "nowhere.pub"}} },
			"--authorized-keys", []string{"not exist"}},
		{"keys of nobody", func(o *Options) { o.AuthorizedKeys = []AuthorizedKeys{{"ann", "/etc/passwd"}} },
			"--authorized-keys", []string{`"ann" is neither root nor`}},
		{"time zone", func(o *Options) { o.Timezone = "../etc/passwd" }, "--timezone", []string{"like Europe/Berlin"}},
		{"locale without its encoding", func(o *Options) { o.Locale = "de_DE" }, "--locale", []string{"like de_DE.UTF-8"}},
		{"keymap", func(o *Options) { o.Keymap = "German" }, "--keymap", []string{"like de or us:intl"}},
		{"user data without cloud-init", func(o *Options) { o.UserData = "nowhere" }, "--user-data",
			[]string{"needs --cloud-init"}},
		{"no such meta data", func(o *Options) { o.CloudInit, o.MetaData = true, "nowhere" }, "--meta-data",
			[]string{"not exist"}},
		{"cloud-init without systemd", func(o *Options) { o.CloudInit, o.Distribution = true, "wheezy" }, "--cloud-init",
			[]string{"wheezy has none"}},
		{"no such key", func(o *Options) {
			o.RepositoryKeys = []string{"nowhere.asc"}
			o.Repositories, _ = ParseRepositories("http://m.example/apt a b")
		}, "--repository-key", []string{"not exist"}},
		{"a key for nothing", func(o *Options) { o.RepositoryKeys = []string{"key.asc"} }, "--repository-key",
			[]string{"needs --repository"}},
		{"a repository without a scheme", func(o *Options) { o.Repositories, _ = ParseRepositories("m.example a b") },
			"--repository", []string{"not a URL"}},
		{"no such preferences", func(o *Options) { o.AptPreferences = "nowhere" }, "--apt-preferences",
			[]string{"not exist"}},
		{"no such authority", func(o *Options) { o.CA = "nowhere.crt" }, "--ca", []string{"not exist"}},
		{"qcow2 tarball", func(o *Options) { o.Image, o.Tarball, o.ConvertQcow2 = "", "x.tar", true },
			"--convert-qcow2", []string{"qcow2 can only", "with --image"}},
		{"image and tarball", func(o *Options) { o.Tarball = "x.tar" }, "--tarball", []string{"--image", "not both"}},
		{"squash and tarball", func(o *Options) { o.Image, o.Squash, o.Tarball = "", "FOO", "x.tar" }, "--tarball",
			[]string{"--squash", "not both"}},
		{"old names without initramfs", func(o *Options) { o.SystemdNetworkd, o.UpdateInitramfs = false, false },
			"--no-systemd-networkd", []string{"requires updating the"}},
		{"wheezy on ext4", func(o *Options) { o.Distribution = "wheezy" }, "--roottype",
			[]string{"Wheezy images using ext4 will not be able to boot"}},
		{"wheezy on ext4 with grub", func(o *Options) { o.Distribution, o.Grub = "wheezy", true }, "--roottype",
			[]string{"Wheezy images using ext4 will not be able to boot"}},
		{"mount point outside of /boot", func(o *Options) { o.BootMount, o.Bootsize = "/firmware", diskimage.GB },
			"--boot-mount", []string{"neither /boot nor a directory in /boot"}},
		{"mount point of the ESP", func(o *Options) { o.BootMount, o.Bootsize = "/boot/efi", diskimage.GB },
			"--boot-mount", []string{"neither /boot nor a directory in /boot"}},
		{"mount point without partition", func(o *Options) { o.BootMount, o.Boot = "/boot/firmware", "none" },
			"--boot-mount", []string{"needs --image and --bootsize"}},
		{"mount point with extlinux", func(o *Options) { o.BootMount, o.Bootsize = "/boot/firmware", 200*diskimage.MB },
			"--boot-mount", []string{"extlinux reads /boot: add --boot=none"}},
		{"U-Boot for a PC", func(o *Options) { o.Boot = "u-boot" }, "--boot", []string{"no U-Boot for machines of amd64"}},
		{"U-Boot for bullseye", func(o *Options) { o.Arch, o.Boot, o.Distribution = "armhf", "u-boot", "bullseye" },
			"--boot", []string{"bullseye has no u-boot-menu", "since bookworm"}},
		{"U-Boot for Ubuntu", func(o *Options) { o.Arch, o.Boot, o.Distribution = "arm64", "u-boot", "noble" },
			"--boot", []string{"noble has no u-boot-menu"}},
		{"U-Boot on btrfs", func(o *Options) { o.Arch, o.Boot, o.Roottype = "armhf", "u-boot", "btrfs" },
			"--roottype", []string{"U-Boot cannot read kernels from btrfs", "--bootsize=256Mi"}},
		{"U-Boot on an xfs /boot", func(o *Options) {
			o.Arch, o.Boot, o.Bootsize, o.Boottype = "armhf", "u-boot", 300*diskimage.MiB, "xfs"
		}, "--boottype", []string{"U-Boot cannot read kernels from xfs"}},
		{"U-Boot with bookworm's /boot", func(o *Options) {
			o.Arch, o.Boot, o.Bootsize, o.Distribution = "armhf", "u-boot", 200*diskimage.MiB, "bookworm"
		}, "--bootsize", []string{"u-boot-menu of bookworm", "--dtb=file:FILE"}},
		{"U-Boot by UEFI", func(o *Options) { o.Arch, o.Boot, o.UseUEFI = "armhf", "u-boot", true }, "--boot",
			[]string{"UEFI does not start u-boot"}},
		{"U-Boot from an encrypted disk", func(o *Options) {
			o.Arch, o.Boot, o.LUKS, o.LUKSPassphrase = "armhf", "u-boot", true, secret.New("x")
		}, "--luks", []string{"U-Boot cannot read an encrypted /boot"}},
		{"device tree without U-Boot", func(o *Options) { o.DTB = "a/b.dtb" }, "--dtb",
			[]string{"needs --image and --boot=u-boot"}},
		{"a path as the name of a device tree", func(o *Options) { o.Arch, o.Boot, o.DTB = "armhf", "u-boot", "./b.dtb" },
			"--dtb", []string{"a file of this machine is file:./b.dtb"}},
		{"device tree in source form", func(o *Options) { o.Arch, o.Boot, o.DTB = "armhf", "u-boot", "a/b.dts" }, "--dtb",
			[]string{"no name of a device tree"}},
		{"no such device tree", func(o *Options) { o.Arch, o.Boot, o.DTB = "armhf", "u-boot", "file:nowhere.dtb" }, "--dtb",
			[]string{"not exist"}},
		{"btrfs with extlinux", func(o *Options) { o.Roottype = "btrfs" }, "--roottype", []string{"not yet supported"}},
		{"btrfs /boot with extlinux", func(o *Options) { o.Bootsize, o.Boottype = 100*diskimage.MB, "btrfs" },
			"--boottype", []string{"cannot be on btrfs", "vfat"}},
		{"ESP without UEFI", func(o *Options) { o.ESPSize = 5 * diskimage.MB }, "--esp-size", []string{"--use-uefi"}},
		{"arm64 without UEFI", func(o *Options) { o.Arch, o.Foreign = "arm64", "PATH" }, "--arch",
			[]string{"UEFI", "arm64"}},
		{"GRUB for s390x", func(o *Options) { o.Arch, o.Boot = "s390x", "grub" }, "--boot",
			[]string{"use --boot=none"}},
		{"arm64 tarball", func(o *Options) { o.Image, o.Tarball, o.Arch = "", "x.tar", "arm64" }, "--arch",
			[]string{"UEFI", "arm64"}},
		{"UEFI on armel", func(o *Options) { o.Grub, o.UseUEFI, o.Arch = true, true, "armel" }, "--use-uefi",
			[]string{"armel", "not a supported", "UEFI"}},
		{"UEFI with boot partition", func(o *Options) { o.Grub, o.UseUEFI, o.Bootsize = true, true, diskimage.MB },
			"--bootsize", []string{"separate boot", "not supported", "UEFI"}},
		{"UEFI with offset", func(o *Options) { o.Grub, o.UseUEFI, o.Bootoffset = true, true, 1024 }, "--bootoffset",
			[]string{"separate boot", "not supported", "UEFI"}},
		{"UEFI without grub", func(o *Options) { o.UseUEFI, o.Arch = true, "arm64" }, "--use-uefi",
			[]string{"UEFI", "Grub"}},
		{"UEFI on wheezy arm64",
			func(o *Options) { o.Grub, o.UseUEFI, o.Arch, o.Distribution = true, true, "arm64", "wheezy" },
			"--use-uefi", []string{"Only amd64", "supports UEFI", "Wheezy"}},

		{"xfs with extlinux", func(o *Options) { o.Roottype = "xfs" }, "--roottype",
			[]string{"extlinux on xfs", "--bootsize", "--grub"}},
		{"xfs /boot with extlinux", func(o *Options) { o.Bootsize, o.Boottype = 400*diskimage.MB, "xfs" }, "--boottype",
			[]string{"cannot be on xfs"}},
		{"small xfs /boot", func(o *Options) { o.Bootsize, o.Boottype, o.Grub = 200*diskimage.MB, "xfs", true },
			"--bootsize", []string{"200MB is too small for xfs", "300MiB"}},
		{"f2fs with extlinux", func(o *Options) { o.Roottype = "f2fs" }, "--roottype",
			[]string{"extlinux on f2fs", "--bootsize", "--grub"}},
		{"f2fs /boot with extlinux", func(o *Options) { o.Bootsize, o.Boottype = 400*diskimage.MB, "f2fs" },
			"--boottype", []string{"cannot be on f2fs"}},
		{"small f2fs /boot", func(o *Options) { o.Bootsize, o.Boottype, o.Grub = 50*diskimage.MB, "f2fs", true },
			"--bootsize", []string{"50MB is too small for f2fs", "64MiB"}},
		{"f2fs of stretch", func(o *Options) { o.Roottype, o.Grub, o.Distribution = "f2fs", true, "stretch" },
			"--roottype", []string{"kernel of stretch"}},
		{"encrypted without a passphrase", func(o *Options) { o.LUKS, o.Bootsize = true, 512*diskimage.MB }, "--luks",
			[]string{"no passphrase that could be typed", "--luks-passphrase", "--luks-recovery-key"}},
		{"encrypted with extlinux", encrypted(func(o *Options) { o.Bootsize = 0 }), "--luks",
			[]string{"extlinux cannot read an encrypted /boot", "--bootsize=512Mi", "--boot=systemd-boot"}},
		{"encrypted with GRUB", encrypted(func(o *Options) { o.Bootsize, o.Grub = 0, true }), "--luks",
			[]string{"GRUB for BIOS cannot read an encrypted /boot", "--bootsize=512Mi"}},
		{"encrypted with GRUB for UEFI", encrypted(func(o *Options) { o.Bootsize, o.Grub, o.UseUEFI = 0, true, true }),
			"--luks", []string{"GRUB for UEFI cannot read an encrypted /boot", "--boot=hybrid"}},
		{"encrypted tarball", encrypted(func(o *Options) { o.Image, o.Tarball = "", "x.tar" }), "--luks",
			[]string{"needs --image"}},
		{"encrypted squashfs", encrypted(func(o *Options) { o.Roottype = "squashfs" }), "--luks",
			[]string{"no UUID", "choose another --roottype"}},
		{"encrypted without an initramfs", encrypted(func(o *Options) { o.UpdateInitramfs = false }), "--luks",
			[]string{"drop --no-update-initramfs"}},
		{"encrypted stretch", encrypted(func(o *Options) { o.Distribution = "stretch" }), "--luks",
			[]string{"stretch is too old"}},
		{"a passphrase of two lines", encrypted(func(o *Options) { o.LUKSPassphrase = secret.New("a\nb") }),
			"--luks-passphrase", []string{"several lines"}},
		{"a long passphrase", encrypted(func(o *Options) { o.LUKSPassphrase = secret.New(strings.Repeat("x", 513)) }),
			"--luks-passphrase", []string{"513 bytes; cryptsetup reads 512"}},
		{"a long key", encrypted(func(o *Options) { o.LUKSKeyFile = secret.New(strings.Repeat("x", 8<<20+1)) }),
			"--luks-key-file", []string{"8388609 bytes; cryptsetup reads 8388608"}},
		{"a passphrase for nothing", func(o *Options) { o.LUKSPassphrase = secret.New("x") }, "--luks-passphrase",
			[]string{"needs --luks"}},
		{"a recovery key for nothing", func(o *Options) { o.LUKSRecoveryKey = secret.New("x") }, "--luks-recovery-key",
			[]string{"needs --luks"}},
		{"a TPM for nothing", func(o *Options) { o.LUKSTPM2 = true }, "--luks-tpm2", []string{"needs --luks"}},
		{"a TPM in buster", enrolled(func(o *Options) { o.Distribution = "buster" }), "--luks-tpm2",
			[]string{"buster is too old: it needs the clevis of Debian bullseye"}},
		{"a TPM without systemd", enrolled(func(o *Options) { o.Packages = []string{"sysvinit-core"} }), "--luks-tpm2",
			[]string{"systemd starts the enrolment"}},
		{"a TPM with erofs", enrolled(func(o *Options) { o.Roottype = "erofs" }), "--luks-tpm2",
			[]string{"erofs never changes", "--roottype"}},
		{"a TPM with btrfs", enrolled(func(o *Options) { o.Roottype = "btrfs" }), "--luks-tpm2",
			[]string{"the program that makes btrfs", "choose ext4"}},
		{"no room for the header", encrypted(func(o *Options) { o.Size = 512*diskimage.MB + 10*diskimage.MiB }), "--luks",
			[]string{"16MiB does not fit", "make --size larger"}},
		{"verified with GRUB", verifiedRoot(func(o *Options) { o.Boot = "hybrid" }), "--verity",
			[]string{"GRUB for BIOS and UEFI has no place for the root hash", "--boot=systemd-boot with --part-type=gpt"}},
		{"verified xfs", verifiedRoot(func(o *Options) { o.Roottype = "xfs" }), "--verity",
			[]string{"type xfs cannot be verified", "ext4, squashfs, erofs"}},
		{"verified tarball", verifiedRoot(func(o *Options) { o.Image, o.Tarball = "", "x.tar" }), "--verity",
			[]string{"needs --image"}},
		{"verified and encrypted", verifiedRoot(func(o *Options) { o.LUKS, o.LUKSPassphrase = true, secret.New("x") }),
			"--verity", []string{"not possible with --luks"}},
		{"verified without an initramfs", verifiedRoot(func(o *Options) { o.UpdateInitramfs = false }), "--verity",
			[]string{"drop --no-update-initramfs"}},
		{"verified and growing", verifiedRoot(func(o *Options) { o.Grow = true }), "--grow",
			[]string{"with --verity never changes"}},
		{"verified with free space", verifiedRoot(func(o *Options) { o.SizeAuto, o.Free = true, Space{Bytes: 1} }), "--free",
			[]string{"of no use with --verity"}},
		{"no room for the hash tree", verifiedRoot(func(o *Options) { o.Size = 512*diskimage.MiB + 4*diskimage.MiB }),
			"--verity", []string{"does not fit", "make --size larger"}},
		{"slots with GRUB", slots(func(o *Options) { o.Boot = "hybrid" }), "--ab",
			[]string{"GRUB for BIOS and UEFI does not go back", "--boot=systemd-boot with --part-type=gpt"}},
		{"slots for ext4", slots(func(o *Options) { o.Roottype = "ext4" }), "--ab",
			[]string{"of type ext4", "--roottype=erofs or --roottype=squashfs"}},
		{"slots in a tarball", slots(func(o *Options) { o.Image, o.Tarball = "", "x.tar" }), "--ab",
			[]string{"needs --image"}},
		{"encrypted slots", slots(func(o *Options) { o.LUKS, o.LUKSPassphrase = true, secret.New("x") }), "--ab",
			[]string{"not possible with --luks"}},
		{"slots without a kernel", slots(func(o *Options) { o.NoKernel = true }), "--ab", []string{"drop --no-kernel"}},
		{"updates from nowhere", slots(func(o *Options) { o.AB = "updates" }), "--ab",
			[]string{"neither a URL with http or https nor an absolute directory"}},
		{"updates from FTP", slots(func(o *Options) { o.AB = "ftp://updates.example/" }), "--ab", []string{"neither a URL"}},
		{"updates with a password", slots(func(o *Options) { o.AB = "https://joe:s3cret@updates.example/" }), "--ab",
			[]string{"all users of the image would see the password"}},
		{"updates with a query", slots(func(o *Options) { o.AB = "https://updates.example/?dir=" }), "--ab",
			[]string{"leave out what follows"}},
		{"updates from two lines", slots(func(o *Options) { o.AB = "/srv\nVerify=no" }), "--ab",
			[]string{"space or a control character"}},
		{"slots without a version", slots(func(o *Options) { o.ImageVersion = "" }), "--image-version",
			[]string{"needed by --ab"}},
		{"a version with an underscore", slots(func(o *Options) { o.ImageVersion = "1_2" }), "--image-version",
			[]string{`"1_2" is not a version`}},
		{"a long version", slots(func(o *Options) { o.ImageVersion = "1.234567890123456789012" }), "--image-version",
			[]string{"label debian_1.234567890123456789012_verity has 37 characters"}},
		{"a version for nothing", func(o *Options) { o.ImageVersion = "1" }, "--image-version", []string{"needs --ab"}},
		{"artifacts of nothing", func(o *Options) { o.ABArtifacts = "/out" }, "--ab-artifacts", []string{"needs --ab"}},
		{"a key for nothing", func(o *Options) { o.ABKey = "/hooks/key" }, "--ab-key", []string{"needs --ab"}},
		{"a key for a directory", slots(func(o *Options) { o.AB, o.ABKey = "/srv", "/hooks/key" }), "--ab-key",
			[]string{"only what it gets from a URL"}},
		{"a missing key", slots(func(o *Options) { o.ABKey = "/nosuch/key" }), "--ab-key", []string{"/nosuch/key"}},
		{"artifacts in no directory", slots(func(o *Options) { o.ABArtifacts = "/nosuch/dir/updates" }), "--ab-artifacts",
			[]string{"no directory /nosuch/dir"}},
		{"a key without its certificate", func(o *Options) { o.SecureBootKey = secret.New("x") }, "--secureboot-key",
			[]string{"needs --secureboot-cert"}},
		{"a certificate without its key", func(o *Options) { o.SecureBootCert = "x" }, "--secureboot-cert",
			[]string{"needs --secureboot-key"}},
		{"a signed tarball", func(o *Options) {
			o.SecureBootKey, o.SecureBootCert, o.Image, o.Tarball = secret.New("x"), "x", "", "x.tar"
		}, "--secureboot-key", []string{"needs --image"}},
		{"growing f2fs", func(o *Options) { o.Roottype, o.Grub, o.Grow = "f2fs", true, true }, "--grow",
			[]string{"not mounted", "resize.f2fs"}},
		{"jfs", func(o *Options) { o.Roottype, o.Grub = "jfs", true }, "--roottype", []string{`"jfs"`, "f2fs"}},
		{"erofs /boot", func(o *Options) { o.Bootsize, o.Boottype = 200*diskimage.MB, "erofs" }, "--boottype",
			[]string{`"erofs"`, "vfat"}},
		{"erofs with extlinux", func(o *Options) { o.Roottype = "erofs" }, "--roottype",
			[]string{"extlinux cannot boot from erofs", "--bootsize", "systemd-boot"}},
		{"squashfs with GRUB", func(o *Options) { o.Roottype, o.Grub = "squashfs", true }, "--roottype",
			[]string{"GRUB for BIOS cannot boot from squashfs", "--bootsize"}},
		{"squashfs with UEFI", func(o *Options) { o.Roottype, o.Grub, o.UseUEFI = "squashfs", true, true },
			"--roottype", []string{"--boot=hybrid with --bootsize"}},
		{"squashfs without initramfs",
			func(o *Options) { o.Roottype, o.Bootsize, o.UpdateInitramfs = "squashfs", 200*diskimage.MB, false },
			"--roottype", []string{"--no-update-initramfs"}},
		{"erofs of bullseye",
			func(o *Options) { o.Roottype, o.Bootsize, o.Distribution = "erofs", 200*diskimage.MB, "bullseye" },
			"--roottype", []string{"kernel of bullseye does not read erofs"}},
		{"xfs of stretch", func(o *Options) { o.Roottype, o.Grub, o.Distribution = "xfs", true, "stretch" },
			"--roottype", []string{"kernel of stretch"}},
		{"growing tarball", func(o *Options) { o.Image, o.Tarball, o.Grow = "", "x.tar", true }, "--grow",
			[]string{"--image"}},
		{"growing squashfs", func(o *Options) { o.Roottype, o.Bootsize, o.Grow = "squashfs", 200*diskimage.MB, true },
			"--grow", []string{"squashfs never changes"}},
		{"growing buster", func(o *Options) { o.Distribution, o.Grow = "buster", true }, "--grow",
			[]string{"buster is too old", "bullseye"}},
		{"unknown way to bootstrap", func(o *Options) { o.Bootstrap = "fast" }, "--bootstrap",
			[]string{`"fast"`, "auto", "debootstrap"}},
		{"unknown loader", func(o *Options) { o.Boot = "lilo" }, "--boot", []string{`"lilo"`, "hybrid"}},
		{"two loaders", func(o *Options) { o.Boot, o.Grub = "extlinux", true }, "--boot",
			[]string{"extlinux and --grub"}},
		{"extlinux by UEFI", func(o *Options) { o.Boot, o.UseUEFI = "extlinux", true }, "--boot",
			[]string{"--use-uefi", "hybrid"}},
		{"systemd-boot on msdos", func(o *Options) { o.Boot = "systemd-boot" }, "--part-type",
			[]string{"--part-type=gpt"}},
		{"systemd-boot of bookworm",
			func(o *Options) { o.Boot, o.PartType, o.Distribution = "systemd-boot", "gpt", "bookworm" }, "--boot",
			[]string{"bookworm has no systemd-ukify"}},
		{"systemd-boot on i386", func(o *Options) { o.Boot, o.PartType, o.Arch = "systemd-boot", "gpt", "i386" },
			"--boot", []string{"not available for i386"}},
		{"systemd-boot with /boot",
			func(o *Options) { o.Boot, o.PartType, o.Bootsize = "systemd-boot", "gpt", diskimage.MB }, "--bootsize",
			[]string{"--esp-size"}},
		{"systemd-boot on a small ESP",
			func(o *Options) { o.Boot, o.PartType, o.ESPSize = "systemd-boot", "gpt", 64*diskimage.MiB }, "--esp-size",
			[]string{"128MiB"}},
		{"ESP of a BIOS", func(o *Options) { o.Boot, o.ESPSize = "grub", diskimage.GB }, "--esp-size",
			[]string{"--use-uefi"}},
		{"ESP too small for shim", func(o *Options) { o.Grub, o.UseUEFI, o.ESPSize = true, true, 10*diskimage.MB },
			"--esp-size", []string{"10MB is too small", "32MiB"}},
		{"hybrid for i386", func(o *Options) { o.Boot, o.Arch, o.Distribution = "hybrid", "i386", "bookworm" },
			"--boot", []string{"grub-cloud-amd64"}},
		{"hybrid of Ubuntu", func(o *Options) { o.Boot, o.Distribution = "hybrid", "noble" }, "--boot",
			[]string{"grub-cloud-amd64"}},
		{"hybrid of stretch", func(o *Options) { o.Boot, o.Distribution = "hybrid", "stretch" }, "--boot",
			[]string{"grub-cloud-amd64"}},
		{"hybrid without BIOS", func(o *Options) { o.Boot, o.Arch = "hybrid", "arm64" }, "--boot",
			[]string{"arm64 has no BIOS"}},
		{"extlinux without BIOS", func(o *Options) { o.Boot, o.Arch = "extlinux", "armhf" }, "--boot",
			[]string{"armhf has no BIOS"}},
		{"GRUB without BIOS", func(o *Options) { o.Grub, o.Arch = true, "armhf" }, "--grub",
			[]string{"armhf has no BIOS", "--use-uefi"}},

		{"unknown architecture", func(o *Options) { o.Arch = "bogus" }, "--arch", []string{`"bogus"`}},
		{"no kernel for i386", func(o *Options) { o.Arch = "i386" }, "--arch", []string{"trixie", "--kernel-package"}},
		{"unknown root type", func(o *Options) { o.Roottype = "ext5" }, "--roottype", []string{`"ext5"`, "ext4"}},
		{"unknown boot type", func(o *Options) { o.Boottype = "fat99" }, "--boottype", []string{`"fat99"`, "vfat"}},
		{"unknown partition table", func(o *Options) { o.PartType = "apm" }, "--part-type",
			[]string{`"apm"`, "gpt, msdos"}},
		{"unknown boot flag", func(o *Options) { o.Bootflag = "bootable" }, "--bootflag", []string{`"bootable"`}},
		{"swap beyond the image", func(o *Options) { o.Swap = 2 * diskimage.GB }, "--swap",
			[]string{"does not fit", "2GB"}},
		{"swap as large as the image", func(o *Options) { o.Swap = 1 * diskimage.GB }, "--swap",
			[]string{"does not fit"}},
		{"boot and swap beyond the image", func(o *Options) { o.Bootsize, o.Swap = 800*diskimage.MB, 300*diskimage.MB },
			"--swap", []string{"does not fit"}},
		{"missing hook", func(o *Options) { o.Actions = []Action{Script("none.sh")} }, "--customize",
			[]string{`"none.sh"`, "here and in /usr/share/vmdebootstrap/examples: file does not exist"}},
		{"hook that cannot run", func(o *Options) { o.Actions = []Action{Script("plain.sh")} }, "--customize",
			[]string{"not executable"}},
		{"missing output directory", func(o *Options) { o.Image = "gone/x.img" }, "--image", []string{"gone/x.img"}},
		{"file as output directory", func(o *Options) { o.Image = "notes.txt/x.img" }, "--image",
			[]string{"notes.txt"}},
		{"image on a disk", func(o *Options) { o.Image = "sda" }, "--image", []string{"not a regular file"}},
		{"image on a directory", func(o *Options) { o.Image = "live" }, "--image", []string{"not a regular file"}},
		{"squash on a file", func(o *Options) { o.Image, o.Squash = "", "old.img" }, "--squash",
			[]string{"not a directory"}},
		{"manifest in the place of the image", func(o *Options) { o.Manifest = o.Image }, "--manifest",
			[]string{"is written twice"}},
		{"missing directory of a manifest", func(o *Options) { o.Manifest = "gone/m.json" }, "--manifest",
			[]string{"gone/m.json"}},
		{"page in the place of the image", func(o *Options) { o.Report = o.Image }, "--report",
			[]string{"is written twice"}},
		{"missing directory of a page", func(o *Options) { o.Report = "gone/p.html" }, "--report",
			[]string{"gone/p.html"}},
		{"bills in one file", func(o *Options) { o.SBOMs = []SBOM{{"spdx", "b.json"}, {"cyclonedx", "./b.json"}} },
			"--sbom", []string{"is written twice"}},
		{"bill on a directory", func(o *Options) { o.SBOMs = []SBOM{{"spdx", "live"}} }, "--sbom",
			[]string{"not a regular file"}},
		{"missing local package", func(o *Options) { o.CustomPackages = []string{"gone.deb"} }, "--custom-package",
			[]string{"gone.deb"}},
		{"local package of a kind", func(o *Options) { o.CustomPackages = []string{"notes.txt"} }, "--custom-package",
			[]string{"not a .deb"}},
		{"directory for a package", func(o *Options) { o.CustomPackages = []string{"live"} }, "--custom-package",
			[]string{"not a file"}},
		{"package name with dashes in front", func(o *Options) { o.Packages = []string{"vim,--purge"} }, "--package",
			[]string{`"--purge"`}},
		{"kernel name with a blank", func(o *Options) { o.KernelPackage = "linux image" }, "--kernel-package",
			[]string{`"linux image"`}},
		{"host name with underscore", func(o *Options) { o.Hostname = "my_host" }, "--hostname", []string{`"my_host"`}},
		{"host name with final hyphen", func(o *Options) { o.Hostname = "host-" }, "--hostname", []string{`"host-"`}},
		{"no host name", func(o *Options) { o.Hostname = "" }, "--hostname", nil},
		{"long host name", func(o *Options) { o.Hostname = strings.Repeat("a.", 32) + "a" }, "--hostname",
			[]string{"64"}},
		{"user name with capitals", func(o *Options) { o.Users = []step.User{step.ParseUser("Joe/x")} }, "--user",
			[]string{`"Joe" is not a user name`}},
		{"user name root", func(o *Options) { o.Users = []step.User{step.ParseUser("root/x")} }, "--user",
			[]string{"--root-password"}},
		{"user twice", func(o *Options) { o.Users = []step.User{step.ParseUser("joe"), step.ParseUser("joe")} },
			"--user", []string{"twice"}},
		{"password of two lines", func(o *Options) { o.RootPassword = secret.New("a\nb") }, "--root-password",
			[]string{"line break"}},
		{"hidden password", func(o *Options) { o.RootPassword = secret.New("(secret)") }, "--root-password",
			[]string{"--dump-config"}},
		{"hidden password of a user", func(o *Options) { o.Users = []step.User{step.ParseUser("joe/(secret)")} },
			"--user", []string{"--dump-config"}},
		{"unknown owner", func(o *Options) { o.Owner = "nobodyhere" }, "--owner", []string{"nobodyhere"}},
		{"mirror without scheme", func(o *Options) { o.Mirror = secret.NewURL("mirror.example/debian") }, "--mirror",
			[]string{"not a URL"}},
		{"mirror of another scheme", func(o *Options) { o.Mirror = secret.NewURL("htp://m.example/") }, "--mirror",
			[]string{`unknown scheme "htp"`, "did you mean http?"}},
		{"mirror with a blank", func(o *Options) { o.Mirror = secret.NewURL("http://m.example/a b") }, "--mirror",
			[]string{"blanks"}},
		{"only a list of packages", func(o *Options) { o.Debootstrapopts = []string{"no-check-gpg --print-debs"} },
			"--debootstrapopts", []string{`"print-debs"`, "complete"}},
		{"architecture of debootstrap", func(o *Options) { o.Debootstrapopts = []string{"arch=i386"} },
			"--debootstrapopts", []string{"use --arch"}},
		{"mistyped option of debootstrap", func(o *Options) { o.Debootstrapopts = []string{"varant=minbase"} },
			"--debootstrapopts", []string{`"varant" is not an option`, "did you mean variant?"}},
		{"missing keyring", func(o *Options) { o.Debootstrapopts = []string{"keyring=gone.gpg"} }, "--debootstrapopts",
			[]string{"keyring", "gone.gpg"}},
		{"boot flag of the other table", func(o *Options) { o.Bootflag, o.PartType = "lba", "gpt" }, "--bootflag",
			[]string{`"lba"`, "--part-type=gpt"}},
		{"no script for the suite", func(o *Options) { o.DebootstrapScripts = "scripts" }, "--debootstrap-scripts",
			[]string{"stable"}},
		{"directory for a script", func(o *Options) { o.DebootstrapScripts, o.Distribution = "scripts", "trixie" },
			"--debootstrap-scripts", []string{"not a file"}},
	} {
		_, err := NewSpec(options(test.change), testWorld())
		found := slices.ContainsFunc(problemsOf(err), func(p *problem.Problem) bool {
			return p.Flag == test.flag && !slices.ContainsFunc(test.want, func(want string) bool {
				return !strings.Contains(p.Error(), want)
			})
		})
		if !found {
			t.Errorf("%s: got %v, want a problem of %s with %q", test.name, err, test.flag, test.want)
		}
	}
}

// problemsOf takes a joined error apart.
func problemsOf(err error) []*problem.Problem {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil
	}
	var all []*problem.Problem
	for _, e := range joined.Unwrap() {
		var p *problem.Problem
		if errors.As(e, &p) {
			all = append(all, p)
		}
	}
	return all
}

func TestNewSpecReportsAllMistakesAtOnce(t *testing.T) {
	t.Parallel()
	_, err := NewSpec(options(func(o *Options) {
		o.Arch, o.Size, o.Hostname, o.Roottype, o.Squash = "vax", 1, "-", "ext9", "FOO"
		o.Actions = []Action{Script("none.sh")}
	}), testWorld())
	var flags []string
	for _, p := range problemsOf(err) {
		flags = append(flags, p.Flag)
	}
	want := []string{"--arch", "--customize", "--squash", "--size", "--roottype", "--hostname"}
	if !slices.Equal(flags, want) {
		t.Errorf("got problems of %v, want %v", flags, want)
	}
}

// TestUnknownNamesCauseNoOtherProblems: a misspelt suite or architecture must not bring in the rules of another.
func TestUnknownNamesCauseNoOtherProblems(t *testing.T) {
	t.Parallel()
	for _, change := range []func(*Options){
		func(o *Options) { o.Distribution = "nosuch" },
		func(o *Options) { o.Arch = "nosuch" },
		func(o *Options) { o.Arch, o.UseUEFI, o.Grub = "nosuch", true, true },
	} {
		_, err := NewSpec(options(change), testWorld())
		if got := problemsOf(err); len(got) != 1 {
			t.Errorf("got %v, want one problem", err)
		}
	}
}

// Issue 15, 12: the build refused what its --dry-run had accepted.
func TestOnlyRootMakesOthersTheOwner(t *testing.T) {
	t.Parallel()
	for uid, want := range map[int]string{0: "", 1001: "", 1000: "only root can make joe the owner"} {
		w := testWorld()
		w.UID = uid
		_, err := NewSpec(options(func(o *Options) { o.Owner = "joe" }), w)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("user %d: got %v, want %q", uid, err, want)
		}
	}
}

// verifiedRoot returns options of an image with dm-verity, with a change.
func verifiedRoot(change func(*Options)) func(*Options) {
	return func(o *Options) {
		o.Verity, o.Boot, o.PartType, o.Size = true, "systemd-boot", "gpt", 2*diskimage.GB
		change(o)
	}
}

// slots returns options of an image with two slots, with a change.
func slots(change func(*Options)) func(*Options) {
	return func(o *Options) {
		o.AB, o.ImageVersion, o.Roottype, o.Boot, o.PartType = "https://updates.example/", "1", "erofs", "systemd-boot", "gpt"
		o.Size = 2 * diskimage.GB
		change(o)
	}
}

// encrypted returns options of an encrypted image, with a change.
func encrypted(change func(*Options)) func(*Options) {
	return func(o *Options) {
		o.LUKS, o.LUKSPassphrase, o.Bootsize = true, secret.New("s3cret"), 512*diskimage.MB
		change(o)
	}
}

// enrolled returns options of an encrypted image that a TPM unlocks, with a change.
func enrolled(change func(*Options)) func(*Options) {
	return encrypted(func(o *Options) {
		o.LUKSTPM2 = true
		change(o)
	})
}
