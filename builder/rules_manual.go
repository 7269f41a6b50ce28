// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// The rules of table A.4, which vmdebootstrap 1.7 had too. Their wording holds the fragments that its tests look for.

// minImage is the size that an image must exceed: debootstrap's smallest system needs more.
const minImage = 100 * diskimage.MB

func squashExcludesImage(s Spec) []error {
	if s.o.Squash != "" && s.o.Image != "" {
		return problem.New("--squash", "cannot be combined with --image")
	}
	return nil
}

func someOutput(s Spec) []error {
	if s.o.Image == "" && s.o.Tarball == "" && s.o.Squash == "" && s.o.ISO == "" && len(s.o.Exports) == 0 {
		return problem.New("--image",
			"needs a disk image filename, unless --tarball, --squash, --iso or --export says what to make")
	}
	return nil
}

// sizeIsEnough holds in every mode, as it always has.
func sizeIsEnough(s Spec) []error {
	if s.o.Size <= minImage && !s.o.SizeAuto {
		return problem.New("--size", "%s is too small to bootstrap into: a disk image must have more than %d bytes",
			s.o.Size, uint64(minImage))
	}
	return nil
}

func aptMirrorNeedsConfigureApt(s Spec) []error {
	if !s.o.AptMirror.IsZero() && !s.o.ConfigureApt {
		return problem.New("--apt-mirror", "requires --configure-apt as well")
	}
	return nil
}

func qcow2NeedsImage(s Spec) []error {
	if s.o.ConvertQcow2 && s.o.Image == "" {
		return problem.New("--convert-qcow2", "qcow2 can only be made with --image")
	}
	return nil
}

func tarballExcludesOthers(s Spec) []error {
	var problems []error
	if s.o.Tarball != "" && s.o.Image != "" {
		problems = append(problems, problem.New("--tarball", "use --image or --tarball, not both")...)
	}
	if s.o.Tarball != "" && s.o.Squash != "" {
		problems = append(problems, problem.New("--tarball", "use --squash or --tarball, not both")...)
	}
	return problems
}

// oldNamesNeedInitramfs: without networkd, interfaces get their old names through a file in the initramfs.
func oldNamesNeedInitramfs(s Spec) []error {
	if !s.o.SystemdNetworkd && !s.o.UpdateInitramfs && s.release.Systemd() {
		return problem.New("--no-systemd-networkd", "requires updating the initramfs: drop --no-update-initramfs")
	}
	return nil
}

// isWheezy: two rules are about this release alone.
func (s Spec) isWheezy() bool { return s.release.Codename == "wheezy" }

func wheezyBootsNoExt4(s Spec) []error {
	if s.isWheezy() && s.o.Roottype == "ext4" {
		return problem.New("--roottype", "Wheezy images using ext4 will not be able to boot: use ext2 or ext3")
	}
	return nil
}
