// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/cmd/internal/display"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/format"
)

// extension marks an option that vmdebootstrap 1.7 did not have. Abbreviations in old scripts never stand for one.
const extension = "extension"

// defaultCacheLimit holds about twenty systems.
const defaultCacheLimit = 20 * diskimage.GB

// extensions returns the settings that vmdebootstrap 1.7 did not have.
func (s *settings) extensions() []*setting {
	o := &s.options
	return []*setting{
		{"progress", groupProgram, "show progress on standard error as `KIND`: tty, a live block; plain, lines; json, a " +
			"line for each event, see contrib/design/progress.md; none; auto is tty on a terminal, else none (default auto)",
			choiceValue{&s.progress, display.Modes}},
		{"run", groupSystem,
			"run the shell `COMMAND` in the system when it is set up; may be repeated; all --customize, --run, " +
				"--copy-in and --containerfile run in the order in which they are given", actionsValue{&o.Actions, "--run"}},
		{"copy-in", groupSystem,
			"copy a file or a directory into the system, `SRC:DST`, owned by root; permissions, setuid bits, holes and " +
				"the times of files are kept; a DST that ends with a slash is " +
				"the directory to copy it to; a directory copied to / is merged; may be repeated",
			actionsValue{&o.Actions, "--copy-in"}},
		{"containerfile", groupSystem,
			"run the instructions of the Containerfile or Dockerfile `FILE`, or of the one in a directory, on the system; it " +
				"begins with FROM rootfs, and COPY and ADD see its directory; may be repeated",
			actionsValue{&o.Actions, "--containerfile"}},
		{"build-arg", groupSystem, "set an ARG of --containerfile, `NAME=VALUE`; may be repeated", listValue{&o.BuildArgs}},
		{"secret", groupSystem, "lend a secret to RUN --mount=type=secret of --containerfile, `id=ID,src=FILE` or " +
			"id=ID,env=VARIABLE; it is in no image, log or cached result; may be repeated", listValue{&s.buildSecrets}},
		{"hook", groupSystem,
			"run a script in another phase than --customize, `PHASE:SCRIPT`: essential is before packages " +
				"are installed, image is when the image is written; may be repeated",
			actionsValue{&o.Actions, "--hook"}},
		{"recommends", groupSource,
			"also install what the packages of --package, the kernel and the like recommend; tasks such as " +
				"task-xfce-desktop need it", boolValue{&o.Recommends}},
		{"ssh-key", groupSystem, "install openssh-server, and authorize the public keys in `FILE`, which is like " +
			"authorized_keys, for the users of --user, or for root if there are none; may be repeated",
			listValue{&o.SSHKeys}},
		{"authorized-keys", groupSystem, "like --ssh-key, but only for root or one --user, `USER:FILE`; may be repeated",
			parsedValue[builder.AuthorizedKeys]{&o.AuthorizedKeys, builder.ParseAuthorizedKeys}},
		{"password-hash", groupSystem, "set the hash of the password of root or of a --user, `USER:HASH`, with a hash as " +
			"mkpasswd prints it; may be repeated", hashesValue{
			parsedValue[builder.PasswordHash]{&o.PasswordHashes, builder.ParsePasswordHash}}},
		{"cloud-init", groupSystem, "install cloud-init, for the clouds whose machines are KVM or, with --user-data and the " +
			"like, with the configuration in the image", boolValue{&o.CloudInit}},
		{"user-data", groupSystem, "configure cloud-init of the image with `FILE`, such as a #cloud-config, which " +
			"cloud-init itself checks; needs --cloud-init", textValue{&o.UserData}},
		{"meta-data", groupSystem, "meta data for --user-data in `FILE` (default: the host name)", textValue{&o.MetaData}},
		{"network-config", groupSystem, "configure the network by cloud-init with `FILE`; needs --cloud-init",
			textValue{&o.NetworkConfig}},
		{"timezone", groupSystem, "set the time zone to `ZONE`, such as Europe/Berlin (default: UTC)",
			textValue{&o.Timezone}},
		{"locale", groupSystem, "set the language to `LOCALE`, such as de_DE.UTF-8 (default: that of the packages, C.UTF-8)",
			textValue{&o.Locale}},
		{"keymap", groupSystem, "set the keyboard of the console to `LAYOUT[:VARIANT]`, such as de or us:intl (default: " +
			"that of the kernel)", textValue{&o.Keymap}},
		{"root-password-file", groupSystem, "read root's password from the first line of `FILE`",
			textValue{&s.rootPasswordFile}},
		{"ca", groupSource, "also trust mirrors whose certificate an authority in `FILE` (PEM) has signed; it reaches " +
			"apt and hooks, but is not in the image (default: those that this machine trusts)", textValue{&o.CA}},
		{"tools-mirror", groupSource, "take debootstrap and the other programs that a build runs from the Debian " +
			"mirror at `URL` (default: that of --mirror, else this machine's own, where one has them)",
			urlValue{&o.ToolsMirror}},
		{"pockets", groupSource, "use the suites of updates that `LIST` names, separated by commas, for the build and in " +
			"the image: " + strings.Join(builder.PocketWords(), ", ") + "; packages come from backports only by PACKAGE/SUITE " +
			"(default: with this machine's own mirror, those of updates and security that its apt sources have and that are " +
			"in date, else none)", listValue{&o.Pockets}},
		{"security-mirror", groupSource, "archive `URL` of the security updates for --pockets (default: that of this " +
			"machine's apt sources, else Debian's; for Ubuntu, the mirror)", urlValue{&o.SecurityMirror}},
		{"snapshot", groupSource, "take all packages, those of updates and security too, from the state of Debian's archives " +
			"at `DATE`: 2026-01-31 (its first second, UTC), 2026-01-31T06:30:00Z or 20260131T063000Z; the image has the " +
			"mirrors as its sources; with a lock of --lock-file that was made without it: what the mirrors no longer have",
			snapshotValue{&o.Snapshot}},
		{"snapshot-mirror", groupSource, "snapshot archive at `URL` for --snapshot, with the states at " +
			"URL/archive/debian/TIME and URL/archive/debian-security/TIME (default: http://snapshot.debian.org)",
			urlValue{&o.SnapshotMirror}},
		{"repository", groupSource, "also take packages from a repository, `SOURCE`: URL SUITE COMPONENT… or a stanza as " +
			"in sources.list(5), with [signed-by=FILE] or Signed-By: FILE for its keys; the image has it as well, but not one " +
			"of file: or copy:, which is a directory of this machine; may be repeated", repositoriesValue{&o.Repositories}},
		{"repository-key", groupSource, "trust repositories that the key in `FILE` has signed, if they name none; may be " +
			"repeated (default: the keys of the mirror)", listValue{&o.RepositoryKeys}},
		{"apt-preferences", groupSource, "install apt's preferences in `FILE`, see apt_preferences(5), before any package",
			textValue{&o.AptPreferences}},
		{"dpkg-arch", groupSource, "also install packages of `ARCHITECTURE`, such as --package libc6:i386; a list with " +
			"commas; may be repeated", listValue{&o.DpkgArches}},
		{"state-dir", groupProgram, "keep downloaded packages and the results of steps in `DIRECTORY` (default: " +
			"~/.cache/vmdebootstrap)", textValue{&s.stateDir}},
		{"isolation", groupProgram,
			"`KIND` of containers: userns for users with subordinate ids and for root; single for users without; " +
				"root where userns does not work for root; chroot for root in a container without the right to mount; " +
				"auto for the first that works, as vmdebootstrap doctor shows",
			isolationValue{&s.isolation}},
		{"cache", groupProgram,
			"reuse valid results of earlier builds; --no-cache runs every step",
			boolValue{&s.cache}},
		{"explain-cache", groupProgram, "print which steps are cached and why others run",
			boolValue{&s.explainCache}},
		{"debug-shell", groupProgram, "when a step fails, run a shell in the system as the step left it; needs a terminal",
			boolValue{&s.debugShell}},
		{"cache-limit", groupProgram,
			"remove the least recently used results of steps until they take no more than `SIZE`, and no more than they " +
				"leave free",
			sizeValue{&s.cacheLimit}},
		{"cache-from", groupProgram, "reuse results that other machines have shared at `LOCATION`: " +
			builder.RemoteForms() +
			"; whoever can write there decides what is in the image; may be repeated; see --cache-key and --tls-verify",
			remotesValue{&s.cacheFrom}},
		{"cache-to", groupProgram,
			"share the results of this build at `LOCATION`, as container images; whoever can read there " +
				"has all files of the system, including password hashes; a missing oci:DIR is created; may be repeated",
			remotesValue{&s.cacheTo}},
		{"cache-key", groupProgram,
			"sign what --cache-to shares with the ed25519 key in `FILE` (OpenSSH or PEM), and ignore results of " +
				"--cache-from that it has not signed; a public key can only verify (default: sign and verify nothing)",
			textValue{&s.cacheKey}},
		{"boot", groupDisk, "boot with `LOADER`: " + strings.Join(builder.BootLoaders(), ", ") +
			"; hybrid is GRUB for BIOS, UEFI and Secure Boot; systemd-boot needs --part-type=gpt; u-boot writes the menu of " +
			"a U-Boot that the board has, or that --raw writes (default: as --extlinux, --grub and --use-uefi say)",
			textValue{&o.Boot}},
		{"dtb", groupDisk, "with --boot=u-boot: start the kernel with the device tree `NAME`, which is its name in the " +
			"kernel's package, such as allwinner/sun50i-a64-pine64.dtb, or with that of this machine, file:FILE (default: " +
			"the one that U-Boot chooses)", textValue{&o.DTB}},
		{"boot-mount", groupDisk, "mount the partition of --bootsize at `DIR`, which is in /boot; /boot/firmware with " +
			"--boottype=vfat and --boot=none is for the package raspi-firmware", textValue{&o.BootMount}},
		{"free", groupOutput,
			"with --size=auto: leave `SPACE` free in the root file system, a size or a percentage of the " +
				"content", spaceValue{&o.Free}},
		{"format", groupOutput, "write the image as `FORMAT`: " + formatNames() +
			" (default: by the suffix of --image, " +
			"else raw); with several, separated by commas, each file has the name of --image with the format's suffix",
			listValue{&o.Formats}},
		{"compress", groupOutput, "compress the image with `METHOD`: none, zlib or zstd, if the format supports it " +
			"(default: none; vmdk: zlib)", textValue{&o.Compress}},
		{"bmap", groupOutput, "also write the block map of a raw image, for bmaptool", boolValue{&o.Bmap}},
		{"iso", groupOutput, "write a live system to `FILE`, an ISO image that a BIOS and UEFI, with Secure Boot, start " +
			"from a CD or a USB stick; changes are kept in memory", textValue{&o.ISO}},
		{"iso-label", groupOutput, "volume `ID` of the medium of --iso: up to 32 letters, digits, dots, dashes and " +
			"underscores (default: like debian-trixie-amd64)", textValue{&o.ISOLabel}},
		{"iso-persistence", groupOutput, "let the live system of --iso keep changes on a partition with the label " +
			"persistence, if there is one", boolValue{&o.ISOPersistence}},
		{"export", groupOutput, "write the root file system to `DEST`, one of " + builder.ExportForms() +
			"; tar: and dir: hold only the files, the others a container image; containers-storage: is your podman's " +
			"store; dir: has the owners that podman unshare shows; may be repeated",
			parsedValue[builder.Export]{&o.Exports, builder.ParseExport}},
		{"export-compression", groupOutput,
			"compress the layers of container images with `METHOD`: gzip, zstd or none, optionally with " +
				"a level as in zstd:9 (default gzip)", textValue{&o.ExportCompression}},
		{"manifest", groupOutput, "describe the system in `FILE`, in JSON: packages with licence, digest and origin, files of no " +
			"package, partitions, the steps and inputs of the build", textValue{&o.Manifest}},
		{"sbom", groupOutput, "write a bill of materials of the packages, `FORMAT:FILE`: cyclonedx:FILE (1.6) or spdx:FILE " +
			"(2.3), both in JSON; may be repeated",
			parsedValue[builder.SBOM]{&o.SBOMs, builder.ParseSBOM}},
		{"report", groupOutput, "write a page for browsers to `FILE` (HTML): the disk, packages and directories by size, the times " +
			"of the steps; if FILE is the page of an earlier build, also what has changed since", textValue{&o.Report}},
		{"provenance", groupOutput, "write an in-toto statement (SLSA) about the outputs to `FILE`: their digests, and what they " +
			"were made of; vmdebootstrap verify reads it", textValue{&o.Provenance}},
		{"sign-key", groupOutput, "sign the statement of --provenance with the ed25519 private key in `FILE` (OpenSSH or PEM)",
			textValue{&s.signKeyFile}},
		{"lock-file", groupSource, "if `FILE` is there, build exactly what this lock says: the same packages, inputs, time and " +
			"IDs; otherwise write it: it has the digests of all that the build was made of", textValue{&o.LockFile}},
		{"tls-verify", groupOutput,
			"verify the registry's TLS certificate; --no-tls-verify also allows registries without TLS",
			boolValue{&o.TLSVerify}},
		{"raw", groupDisk, "write a file at a fixed offset of the disk, outside of partitions, `FILE@OFFSET`; rootfs:FILE is a " +
			"file of the system; --bootoffset makes room; may be repeated",
			parsedValue[builder.Blob]{&o.Blobs, builder.ParseBlob}},
		{"grow", groupDisk, "grow the root partition and its file system to the end of the disk at the first boot, and " +
			"whenever the disk has become larger; a swap partition then comes before it", boolValue{&o.Grow}},
		{"luks", groupDisk, "encrypt the root partition (LUKS2), and swap with a random key; needs --bootsize or " +
			"--boot=systemd-boot; the passphrase is typed when the image boots", boolValue{&o.LUKS}},
		{"luks-passphrase", groupDisk, "unlock --luks with the passphrase in the first line of `FILE`, or env:VARIABLE " +
			"(default: asked for on the terminal)", textValue{&s.luks.passphrase}},
		{"luks-key-file", groupDisk, "also unlock --luks with the content of `FILE`, as cryptsetup --key-file does",
			textValue{&s.luks.keyFile}},
		{"luks-recovery-key", groupDisk, "also unlock --luks with a random recovery key, which is printed once, at the end " +
			"of the build", boolValue{&s.luks.recoveryKey}},
		{"luks-tpm2", groupDisk, "let each machine enrol its TPM 2 at its first boot, by clevis, so that it also unlocks " +
			"--luks itself while the state of Secure Boot (PCR 7) is the same", boolValue{&o.LUKSTPM2}},
		{"verity", groupDisk, "have the kernel verify each block of a read-only root file system (dm-verity); the root " +
			"hash is on the command line of a unified kernel image, so it needs --boot=systemd-boot; --roottype is ext4, " +
			"squashfs or erofs", boolValue{&o.Verity}},
		{"secureboot-key", groupDisk, "sign the boot loader and the kernel images with the RSA private key in `FILE` " +
			"(PEM), for Secure Boot; needs --boot=systemd-boot and --secureboot-cert", textValue{&s.secureBoot.key}},
		{"secureboot-cert", groupDisk, "the certificate of --secureboot-key is in `FILE` (PEM); firmware that has it in db " +
			"starts the image", textValue{&s.secureBoot.cert}},
		{"ab", groupDisk, "make two slots for root file systems, so that systemd-sysupdate updates the machine as a " +
			"whole, and an update that does not start is taken back; `SOURCE` is where the machine finds updates: a URL, or a " +
			"directory of its own; needs --boot=systemd-boot, --roottype=erofs or squashfs, and --image-version",
			textValue{&o.AB}},
		{"image-version", groupDisk, "`VERSION` of an image with --ab, higher in each build; its name is the --hostname",
			textValue{&o.ImageVersion}},
		{"ab-artifacts", groupOutput, "also write the update to this version to `DIR`, and list it in SHA256SUMS there: " +
			"put DIR on a server as the SOURCE of --ab", textValue{&o.ABArtifacts}},
		{"ab-key", groupDisk, "have machines verify that the SHA256SUMS of an update is signed by a key in `FILE`, which " +
			"gpg --export writes (default: nothing is verified but digests)", textValue{&o.ABKey}},
		{"allow-expired", groupSystem, "accept suites whose Valid-Until has passed, of a snapshot or a mirror that is no longer " +
			"updated; signatures are verified all the same", boolValue{&o.AllowExpired}},
		{"bootstrap", groupSystem, "`WAY` to make the base system and to install packages: " +
			strings.Join(builder.BootstrapWords(), ", ") + "; with auto, packages are unpacked several at a time in the " +
			"place of dpkg, with debootstrap by the real dpkg; the files are the same (default auto)",
			textValue{&o.Bootstrap}},
		{"keep-identity", groupSystem, "keep the keys that packages make for one machine, such as those of sshd, although " +
			"all copies of the image have the same; without it, each machine makes its own at its first boot",
			boolValue{&o.KeepIdentity}},
		{"sector-size", groupDisk, "make the disk for sectors of `SIZE` bytes: 512 or 4096", sizeValue{&o.SectorSize}},
	}
}

// formatNames returns the names of the formats of disk images, separated by commas.
func formatNames() string {
	var names []string
	for _, f := range format.Formats() {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}
