// SPDX-License-Identifier: Apache-2.0

package step

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// Sysupdate has systemd-sysupdate(8) update the system as a whole: the root file system and its hash tree in the slot
// that is not in use, and the kernel image on the EFI system partition.
type Sysupdate struct {
	base
	// Name and Version are those of the image, see IMAGE_ID in os-release(5).
	Name, Version string
	// Source is a URL with http or https, or a directory.
	Source string
	// Root and Verity are the types of the partitions; Verity is empty if there is no hash tree.
	Root   string
	Verity string `json:",omitempty"`
	// Key is a copy of the user's file of public keys that sign updates, Digest that of its content; empty for none.
	Key    string `json:"-"`
	Digest string `json:",omitempty"`
}

func (Sysupdate) Kind() string { return "sysupdate" }

func (u Sysupdate) Title() string {
	return "have systemd-sysupdate update version " + u.Version + " from " + u.Source
}

// Files that Sysupdate writes.
const (
	osRelease = "/usr/lib/os-release"
	// TransferDir is the directory of what is transferred in an update. The kernel image is the last one: when it is
	// there, the version can start.
	TransferDir = "/usr/lib/sysupdate.d"
	// updateKeys are the keys that systemd-pull(8) verifies SHA256SUMS.gpg with.
	updateKeys = "/etc/systemd/import-pubring.gpg"
	// volatileRoot is where systemd looks for the device that is beneath a root file system in memory.
	volatileRoot = "/usr/lib/tmpfiles.d/vmdebootstrap-sysupdate.conf"
	// loaderUpdate is the unit that replaces the boot loader on the ESP by that of the root file system, which is not
	// signed with the user's key, and for all versions of the image at once.
	loaderUpdate = systemUnits + "systemd-boot-update.service"
)

func (u Sysupdate) Run(_ context.Context, s *Context) error {
	text, err := s.Target.ReadFile(osRelease)
	if err != nil {
		return err
	}
	if err := s.Target.WriteFile(osRelease, u.release(text), 0o644); err != nil {
		return err
	}
	for name, text := range u.Transfers() {
		if err := target.WriteFileIn(s.Target, TransferDir+"/"+name, text, 0o644); err != nil {
			return err
		}
	}
	link := fmt.Sprintf("# Written by vmdebootstrap: systemd-sysupdate finds the disk by this link.\n"+
		"L+ /run/systemd/volatile-root - - - - /dev/disk/by-partlabel/%s_%s\n", u.Name, u.Version)
	if err := target.WriteFileIn(s.Target, volatileRoot, link, 0o644); err != nil {
		return err
	}
	if err := s.Target.Symlink("/dev/null", loaderUpdate); err != nil || u.Key == "" {
		return err
	}
	keys, err := binaryKeys(u.Key)
	if err != nil {
		return err
	}
	return target.WriteFileIn(s.Target, updateKeys, string(keys), 0o644)
}

// release returns os-release(5) with name and version of the image. Units of systemd find the version there as %A, and
// systemd-boot sorts kernel images by it.
func (u Sysupdate) release(text []byte) []byte {
	var out bytes.Buffer
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "IMAGE_ID=") && !strings.HasPrefix(line, "IMAGE_VERSION=") {
			out.WriteString(line)
		}
	}
	fmt.Fprintf(&out, "IMAGE_ID=%q\nIMAGE_VERSION=%q\n", u.Name, u.Version)
	return out.Bytes()
}

// Transfers returns the files of sysupdate.d(5), by name.
func (u Sysupdate) Transfers() map[string]string {
	const two = "InstancesMax=2\n"
	partition := func(kind, label string) string {
		return "Type=partition\nPath=auto\nMatchPattern=" + label + "\nMatchPartitionType=" + kind + "\nReadOnly=1\n" + two
	}
	if u.Verity == "" {
		return map[string]string{
			"50-root.transfer":   u.transfer("@v.root", partition(u.Root, u.Name+"_@v")),
			"70-kernel.transfer": u.transfer("@v.efi", u.kernel()+two),
		}
	}
	// The IDs of the partitions are the halves of the root hash, by which the initramfs finds them.
	return map[string]string{
		"50-root.transfer":   u.transfer("@v_@u.root", partition(u.Root, u.Name+"_@v")),
		"60-verity.transfer": u.transfer("@v_@u.verity", partition(u.Verity, u.Name+"_@v_verity")),
		"70-kernel.transfer": u.transfer("@v.efi", u.kernel()+two),
	}
}

// kernel returns the target of kernel images. A new one has three tries to start, see "Automatic Boot Assessment" of
// systemd: systemd-boot counts them in the name, until systemd-bless-boot.service removes the counter.
func (u Sysupdate) kernel() string {
	return "Type=regular-file\nPath=/EFI/Linux\nPathRelativeTo=boot\n" +
		strings.ReplaceAll("MatchPattern=NAME_@v+@l-@d.efi NAME_@v+@l.efi NAME_@v.efi\n", "NAME", u.Name) +
		"Mode=0644\nTriesLeft=3\nTriesDone=0\n"
}

// transfer returns the file of one transfer.
func (u Sysupdate) transfer(pattern, to string) string {
	kind, verify := "regular-file", ""
	if !strings.HasPrefix(u.Source, "/") {
		kind = "url-file"
		if u.Digest == "" {
			verify = "Verify=no\n"
		}
	}
	return "# Written by vmdebootstrap, see sysupdate.d(5).\n" +
		"[Transfer]\nProtectVersion=%A\n" + verify +
		"\n[Source]\nType=" + kind + "\nPath=" + strings.ReplaceAll(u.Source, "%", "%%") + "\nMatchPattern=" + u.Name + "_" +
		pattern + "\n\n[Target]\n" + to
}

// binaryKeys returns the keys in a file in the form that gpg reads as a key ring.
func binaryKeys(name string) (_ []byte, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	keys, err := archive.ReadKeyring(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var out bytes.Buffer
	for _, key := range keys {
		if err := key.Serialize(&out); err != nil {
			return nil, fmt.Errorf("write the keys of %s: %w", name, err)
		}
	}
	return out.Bytes(), nil
}
