// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/imagetree"
)

// Loader is a program that firmware starts.
type Loader struct {
	// Name is "grub", "syslinux", "systemd-boot", "shim", "linux" for a kernel that is started by the firmware itself, or
	// "unknown".
	Name     string `json:"name"`
	Firmware string `json:"firmware"` // "bios" or "uefi"
	// File is the program in the system or, if that does not mount the file system, below the partition's name; empty for
	// the boot code of a BIOS.
	File string `json:"file,omitempty"`
}

// String returns the name, and in parentheses the firmware and the file.
func (l Loader) String() string {
	if l.File == "" {
		return l.Name + " (" + l.Firmware + ")"
	}
	return l.Name + " (" + l.Firmware + ": " + l.File + ")"
}

// bootCode are texts in the first sector: boot.img of GRUB, and mbr.bin and gptmbr.bin of syslinux.
var bootCode = []struct{ text, name string }{
	{"GRUB ", "grub"}, {"Missing operating system.", "syslinux"}, {"Missing OS", "syslinux"},
}

// programs are texts in programs for UEFI: of systemd's src/boot, of shim, of the modules of GRUB, and the section of a
// unified kernel image. The first that fits counts, because a unified kernel image also has systemd's text.
var programs = []struct{ text, name string }{
	{".linux\x00\x00", "linux"}, {"LoaderInfo: systemd-boot", "systemd-boot"}, {"UEFI SHIM", "shim"},
	{"grub_mod_init", "grub"},
}

// loaders returns the boot loaders: of a BIOS by the boot sector, of UEFI by the programs in the directories EFI of FAT
// file systems, or of the tree if there is no disk.
func loaders(index diskimage.Index, disk *imagetree.Disk) ([]Loader, error) {
	found := []Loader{}
	places := map[string]diskimage.Index{"": index}
	if disk != nil {
		sector, err := disk.BootSector()
		if err != nil {
			return nil, fmt.Errorf("read boot sector: %w", err)
		}
		for _, c := range bootCode {
			if bytes.Contains(sector, []byte(c.text)) {
				found = append(found, Loader{Name: c.name, Firmware: "bios"})
				break
			}
		}
		for _, f := range disk.FileSystems {
			if f.Type != "vfat" || f.Tree == nil || f.MountPoint != "" {
				continue
			}
			esp, err := diskimage.NewIndex(f.Tree)
			if err != nil {
				return nil, fmt.Errorf("partition %d: %w", f.Partition, err)
			}
			places[fmt.Sprintf("partition %d:", f.Partition)] = esp
		}
	}
	for _, place := range slices.Sorted(maps.Keys(places)) {
		for _, name := range slices.Sorted(maps.Keys(places[place])) {
			if !isProgram(name) {
				continue
			}
			kind, err := programName(places[place][name])
			if err != nil {
				return nil, fmt.Errorf("%s/%s: %w", place, name, err)
			}
			found = append(found, Loader{Name: kind, Firmware: "uefi", File: place + "/" + name})
		}
	}
	return found, nil
}

// isProgram reports whether firmware looks for programs under such a name: in EFI of an EFI system partition. What
// packages have elsewhere, below /usr, is only copied there.
func isProgram(name string) bool {
	upper := strings.ToUpper(name)
	for _, top := range []string{"", "EFI/", "BOOT/", "BOOT/EFI/"} {
		if rest, ok := strings.CutPrefix(upper, top+"EFI/"); ok && strings.Count(rest, "/") == 1 {
			return path.Ext(rest) == ".EFI"
		}
	}
	return false
}

// programName returns what a program for UEFI is.
func programName(e diskimage.Entry) (name string, err error) {
	const most = 4 << 20 // those of shim and GRUB have up to 3 MB; the header of a unified kernel image is at its start
	if e.Open == nil {
		return "unknown", nil
	}
	content, err := e.Open()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	data, err := io.ReadAll(io.NewSectionReader(content, 0, min(e.Size, most)))
	if err != nil {
		return "", err
	}
	for _, p := range programs {
		if bytes.Contains(data, []byte(p.text)) {
			return p.name, nil
		}
	}
	return "unknown", nil
}
