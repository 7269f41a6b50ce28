// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/format"
)

// beyondManual marks an option that vmdebootstrap 1.7 did not have. Old abbreviations never mean one.
const beyondManual = "beyond-manual"

// defaultCacheLimit holds about twenty systems.
const defaultCacheLimit = 20 * diskimage.GB

// beyondManual are the settings that vmdebootstrap 1.7 did not have.
func (s *settings) beyondManual() []*setting {
	o := &s.options
	return []*setting{
		{"run", groupSystem,
			"run the shell `COMMAND` in the system when it is set up; may be repeated, and runs in the " +
				"order of all --customize, --run and --copy-in", actionsValue{&o.Actions, "--run"}},
		{"copy-in", groupSystem,
			"copy a file or a directory into the system, `SRC:DST`, as root's; a DST with a slash at " +
				"its end is the directory to put it in, / itself is merged with a directory; may be repeated",
			actionsValue{&o.Actions, "--copy-in"}},
		{"hook", groupSystem,
			"run a script in another phase than --customize, `PHASE:SCRIPT`: essential is before packages " +
				"are installed, image is when the image is written; may be repeated",
			actionsValue{&o.Actions, "--hook"}},
		{"recommends", groupSource,
			"install what the packages of --package, the kernel and the like recommend, too: a task such as " +
				"task-xfce-desktop is worth little without", boolValue{&o.Recommends}},
		{"root-password-file", groupSystem, "read root's password from the first line of `FILE`",
			textValue{&s.rootPasswordFile}},
		{"state-dir", groupProgram, "keep downloaded packages and the results of steps in `DIRECTORY` (default: " +
			"~/.cache/vmdebootstrap)", textValue{&s.stateDir}},
		{"isolation", groupProgram,
			"make containers by `KIND`: userns for users with subordinate ids and for root, single for users " +
				"without, root where that cannot be, chroot for root in a container that may not mount, or auto for the first that works; vmdebootstrap doctor " +
				"tells (default auto)",
			isolationValue{&s.isolation}},
		{"cache", groupProgram,
			"begin with the results of an earlier build as far as they hold; --no-cache runs every step",
			boolValue{&s.cache}},
		{"explain-cache", groupProgram, "say which steps come from an earlier build and why others run",
			boolValue{&s.explainCache}},
		{"cache-limit", groupProgram,
			"after a build, remove what was not used for longest until the results of steps take " +
				"no more than `SIZE`", sizeValue{&s.cacheLimit}},
		{"cache-from", groupProgram, "begin with the results of other machines' builds, shared at `PLACE`: " +
			builder.RemoteForms() +
			"; who can write there decides what is in the image; may be repeated; see --cache-key and --tls-verify",
			remotesValue{&s.cacheFrom}},
		{"cache-to", groupProgram,
			"share the results of this build's steps at `PLACE`, as images of containers, each layer once; who can read " +
				"there has all files of the system, password hashes among them; an oci:DIR that is missing is made; may be repeated",
			remotesValue{&s.cacheTo}},
		{"cache-key", groupProgram,
			"sign what --cache-to shares with the ed25519 key in `FILE` (OpenSSH or PEM), and use nothing of " +
				"--cache-from that it has not signed; a public key only checks; without it nothing is signed or checked",
			textValue{&s.cacheKey}},
		{"boot", groupDisk, "boot with `LOADER`: " + strings.Join(builder.BootLoaders(), ", ") +
			"; hybrid is GRUB that BIOS, UEFI " +
			"and Secure Boot start, systemd-boot needs --part-type=gpt (default: what --extlinux, --grub and --use-uefi say)",
			textValue{&o.Boot}},
		{"free", groupOutput,
			"with --size=auto: leave `SPACE` free for the users of the image, a size or a percentage of the " +
				"content", spaceValue{&o.Free}},
		{"format", groupOutput, "write the image as `FORMAT`: " + formatNames() +
			" (default: by the suffix of --image, " +
			"else raw); with several, separated by commas, each file has the name of --image with the format's suffix",
			listValue{&o.Formats}},
		{"compress", groupOutput, "compress the image with `METHOD`: none, zlib or zstd, where its format can do it " +
			"(default: none; vmdk: zlib)", textValue{&o.Compress}},
		{"bmap", groupOutput, "beside a raw image, write its block map for bmaptool", boolValue{&o.Bmap}},
		{"export", groupOutput, "write the root file system to `DEST`, one of " + builder.ExportForms() +
			"; tar: and dir: are the " +
			"files alone, the others a container image, in containers-storage: for your podman; the owners in dir: are what podman " +
			"unshare shows; may be repeated", exportsValue{&o.Exports}},
		{"export-compression", groupOutput,
			"compress the layers of container images with `METHOD`: gzip, zstd or none, or with " +
				"a level as in zstd:9 (default gzip)", textValue{&o.ExportCompression}},
		{"tls-verify", groupOutput,
			"verify the registry's TLS certificate; --no-tls-verify also allows registries without TLS",
			boolValue{&o.TLSVerify}},
		{"raw", groupDisk, "write a file to a fixed place of the disk, outside of partitions, `FILE@OFFSET`; rootfs:FILE is a " +
			"file of the system; --bootoffset makes room; may be repeated", blobsValue{&o.Blobs}},
		{"grow", groupDisk, "let the root partition and its file system grow to the end of the disk at the first start, and " +
			"whenever the disk has become larger; swap is then in front of it", boolValue{&o.Grow}},
		{"sector-size", groupDisk, "make the disk for sectors of `SIZE` bytes: 512 or 4096", sizeValue{&o.SectorSize}},
	}
}

// formatNames lists the formats of disk images.
func formatNames() string {
	var names []string
	for _, f := range format.Formats() {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}
