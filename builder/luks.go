// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/luks"
)

// luksKey opens the encrypted root partition.
type luksKey struct {
	text     secret.Text
	recovery bool
	// enrols says that the machine enrols its TPM with the key, and then removes it.
	enrols bool
}

// luksKeys are the keys of the options, in the order of their key slots.
func luksKeys(o Options) []luksKey {
	all := []luksKey{{text: o.LUKSPassphrase}, {text: o.LUKSKeyFile},
		{text: o.LUKSRecoveryKey, recovery: true}}
	return slices.DeleteFunc(all, func(k luksKey) bool { return k.text.IsZero() })
}

// NewRecoveryKey returns a random recovery key for Options.LUKSRecoveryKey.
func NewRecoveryKey() Secret { return secret.New(luks.NewRecoveryKey()) }

const (
	// rootMapping and swapMapping are names in /dev/mapper, in the style of Debian's installer.
	rootMapping = "root_crypt"
	swapMapping = "swap_crypt"
)

// crypttab names what is unlocked: the root file system in the initramfs, with a passphrase, and swap with a random key
// each time. Requests to discard blocks reach the disk, as in systems that Debian's installer has encrypted: the image
// shows already which blocks are used.
func (d Disk) crypttab() step.Crypttab {
	entries := []step.CrypttabEntry{
		{Name: rootMapping, Device: "UUID=" + d.Root().LUKS.String(), Key: "none", Options: "luks,discard,initramfs"},
	}
	if p, ok := d.Layout.Partition(diskimage.RoleSwap); ok {
		entries = append(entries, step.CrypttabEntry{Name: swapMapping, Device: "PARTUUID=" + p.PartUUID,
			Key: "/dev/urandom", Options: "swap,discard,cipher=aes-xts-plain64,size=512"})
	}
	return step.Crypttab{Entries: entries}
}

// withEnrolmentKey returns the disk with a new key for step.EnrolTPM2, in a key slot behind the others. It is made when
// the image is written, so that no step, cached result, tar archive or container image has it: only the image does, in
// its encrypted file system.
func (d Disk) withEnrolmentKey() Disk {
	if d.EnrolTPM2 {
		d.LUKSKeys = append(slices.Clone(d.LUKSKeys), luksKey{text: NewRecoveryKey(), enrols: true})
	}
	return d
}

// enrolmentEntries are the files of the root file system with the key of withEnrolmentKey.
func (d *Disk) enrolmentEntries() []diskimage.Entry {
	var entries []diskimage.Entry
	for _, k := range d.LUKSKeys {
		if k.enrols {
			entries = append(entries, diskimage.FileEntry(strings.TrimPrefix(step.EnrolTPM2Key, "/"), 0o600,
				[]byte(k.text.Reveal()), d.Time))
		}
	}
	return entries
}

// filesystemSize is the length of a partition's file system.
func filesystemSize(p diskimage.Partition) diskimage.Size {
	if p.LUKS == uuid.Nil {
		return p.Size
	}
	return p.Size - min(p.Size, luks.HeaderSize)
}

// encrypted returns the content of a partition with the file system, which is encrypted if the partition is to be.
func (d Disk) encrypted(p diskimage.Partition, plain diskimage.Volume) (diskimage.Volume, error) {
	if p.LUKS == uuid.Nil {
		return plain, nil
	}
	var keys []luks.Key
	for _, k := range d.LUKSKeys {
		keys = append(keys, luks.Key{Secret: []byte(k.text.Reveal()), Recovery: k.recovery})
	}
	container, err := luks.New(p.LUKS, keys)
	if err != nil {
		return nil, fmt.Errorf("encrypt %s of %s: %w", p, d.Image, err)
	}
	volume, err := container.Volume(p.Size, plain)
	if err != nil {
		return nil, fmt.Errorf("encrypt %s of %s: %w", p, d.Image, err)
	}
	return volume, nil
}

// luksPackages are the packages that unlock the disk.
func (s Spec) luksPackages() []string {
	if !s.o.LUKS {
		return nil
	}
	packages := []string{"cryptsetup-initramfs", "initramfs-tools"}
	if s.o.Swap > 0 && s.release.Since("trixie", "plucky") {
		packages = append(packages, "systemd-cryptsetup") // part of systemd before
	}
	if s.o.LUKSTPM2 {
		packages = append(packages, "clevis-initramfs", "clevis-tpm2")
	}
	return packages
}

const (
	// longestPassphrase is what cryptsetup reads from a terminal (DEFAULT_PASSPHRASE_SIZE_MAX), and longestKeyFile what it
	// reads from a file (DEFAULT_KEYFILE_SIZE_MAXKB).
	longestPassphrase = 512
	longestKeyFile    = 8 << 20
)

// luksPossible: the image has a root partition that can be encrypted, and somebody can unlock it when it boots.
func luksPossible(s Spec) []error {
	const flag = "--luks"
	if !s.o.LUKS {
		return luksNeeded(s)
	}
	if s.o.Image == "" {
		return problem.New(flag, "needs --image as well")
	}
	problems := luksSecrets(s)
	switch {
	case !s.release.Since("buster", "focal"):
		problems = append(problems, problem.New(flag, "%s is too old: it needs the cryptsetup of Debian buster or Ubuntu "+
			"focal", s.release.Codename)...)
	case !s.o.UpdateInitramfs:
		problems = append(problems, problem.New(flag, "requires updating the initramfs, which unlocks the root file system: "+
			"drop --no-update-initramfs")...)
	case filesystem.Lookup(s.o.Roottype).NoUUID:
		problems = append(problems, problem.New(flag, "a %s has no UUID by which it is found once it is unlocked: choose "+
			"another --roottype, such as erofs", s.o.Roottype)...)
	default:
		problems = append(problems, tpm2Possible(s)...)
	}
	return problems
}

// otherInits are the packages of Debian that take the place of systemd as process 1.
var otherInits = []string{"sysvinit-core", "runit-init"}

// tpm2Possible: the initramfs of the release unlocks with a TPM, and the key for the enrolment reaches no other place
// than the encrypted file system, which the machine can remove it from.
func tpm2Possible(s Spec) []error {
	const flag = "--luks-tpm2"
	root := filesystem.Lookup(s.o.Roottype)
	switch {
	case !s.o.LUKSTPM2:
		return nil
	case !s.release.Since("bullseye", "jammy"):
		return problem.New(flag, "%s is too old: it needs the clevis of Debian bullseye or Ubuntu jammy", s.release.Codename)
	case slices.ContainsFunc(packageNames(s.o.Packages), func(p string) bool { return slices.Contains(otherInits, p) }):
		return problem.New(flag, "systemd starts the enrolment: leave %s out of --package", strings.Join(otherInits, " or "))
	case root.ReadOnly:
		return problem.New(flag, "a root file system of type %s never changes, so the machine could not remove the key with "+
			"which it enrols its TPM: choose another --roottype", s.o.Roottype)
	case root.Program != nil:
		return problem.New(flag, "the program that makes %s would write the key with which the machine enrols its TPM to "+
			"this machine's disk, unencrypted: choose ext4 or another --roottype", s.o.Roottype)
	}
	return nil
}

// luksNeeded: nothing is said about the encryption of a disk that is not encrypted.
func luksNeeded(s Spec) []error {
	var problems []error
	for _, option := range []struct {
		flag string
		text secret.Text
	}{
		{"--luks-passphrase", s.o.LUKSPassphrase}, {"--luks-key-file", s.o.LUKSKeyFile},
		{"--luks-recovery-key", s.o.LUKSRecoveryKey},
	} {
		if !option.text.IsZero() {
			problems = append(problems, problem.New(option.flag, "needs --luks as well")...)
		}
	}
	if s.o.LUKSTPM2 {
		problems = append(problems, problem.New("--luks-tpm2", "needs --luks as well")...)
	}
	return problems
}

// luksSecrets: the keys are such that cryptsetup accepts them, and one of them can be typed.
func luksSecrets(s Spec) []error {
	passphrase, file := s.o.LUKSPassphrase.Reveal(), s.o.LUKSKeyFile.Reveal()
	switch {
	case passphrase == "" && s.o.LUKSRecoveryKey.IsZero():
		return problem.New("--luks", "there is no passphrase that could be typed at the boot: add --luks-passphrase, or "+
			"--luks-recovery-key")
	case len(passphrase) > longestPassphrase:
		return problem.New("--luks-passphrase", "it has %d bytes; cryptsetup reads %d", len(passphrase), longestPassphrase)
	case strings.ContainsAny(passphrase, "\n\x00"):
		return problem.New("--luks-passphrase", "it has several lines or a zero byte, which cannot be typed")
	case len(file) > longestKeyFile:
		return problem.New("--luks-key-file", "the file has %d bytes; cryptsetup reads %d", len(file), longestKeyFile)
	}
	return nil
}
