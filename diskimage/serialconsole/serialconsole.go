// SPDX-License-Identifier: Apache-2.0

// Package serialconsole gives the kernels of an existing disk image a serial console, by changes of
// a few bytes that can be written to a copy or an overlay of it:
//
//	found, err := serialconsole.Find(file, size, "ttyS0")
//	for _, patch := range found.Patches { … }
//
// It adds the argument console=DEVICE to the kernels in the configuration of extlinux or GRUB. The
// changes keep the length of a file, so that no metadata of the file system changes: the room comes
// from comments, indentation and the argument "quiet". systemd starts a login on such a console.
//
// Not supported: file systems other than ext2, ext3, ext4 and FAT, unified kernel images, init
// systems that do not start a login by the kernel's arguments.
package serialconsole

import (
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/imagetree"
)

// Found is the serial console of an image. Without Patches and Present, no configuration was found
// that could be changed.
type Found struct {
	// Present reports whether the first kernel of a configuration has a serial console.
	Present bool
	Patches []diskimage.Patch
}

// configs are the names of configurations, relative to the top of a file system, which may be that
// of / or of /boot (syslinux: core/fs/lib/loadconfig.c and core/fs/fat.c).
var configs = []string{
	"extlinux.conf", "boot/extlinux.conf", "extlinux/extlinux.conf", "boot/extlinux/extlinux.conf",
	"syslinux.cfg", "syslinux/syslinux.cfg", "boot/syslinux/syslinux.cfg",
	"grub/grub.cfg", "boot/grub/grub.cfg",
}

// Find looks for kernels in the boot loaders' configurations on a disk of size bytes. device is the
// kernel's name of the console: "ttyS0".
func Find(r io.ReaderAt, size diskimage.Size, device string) (Found, error) {
	disk, err := imagetree.ReadDisk(r, size)
	if err != nil {
		return Found{}, err
	}
	volumes, err := disk.Readable()
	if err != nil {
		return Found{}, err
	}
	var found Found
	for _, v := range volumes {
		for e, err := range v.Tree.Entries() {
			if err != nil {
				return Found{}, err
			}
			if e.Open == nil || e.Size > maxConfig || !slices.Contains(configs, path.Clean(e.Name)) {
				continue
			}
			patches, present, err := inFile(e, v.Start, device)
			if err != nil {
				return Found{}, fmt.Errorf("%s: %w", e.Name, err)
			}
			found.Present = found.Present || present
			found.Patches = append(found.Patches, patches...)
		}
	}
	return found, nil
}

// maxConfig is larger than any configuration: a grub.cfg with two kernels has 10 KiB.
const maxConfig = 1 << 20

// inFile returns the changes to one configuration in the file system that begins at start.
func inFile(e diskimage.Entry, start int64, device string) (patches []diskimage.Patch, present bool, err error) {
	content, err := e.Open()
	if err != nil {
		return nil, false, err
	}
	defer content.Close()
	config := make([]byte, e.Size)
	if _, err := content.ReadAt(config, 0); err != nil {
		return nil, false, err
	}
	changed, present, ok := addConsole(string(config), device)
	places, known := content.(diskimage.OnDisk)
	if !ok || !known {
		return nil, present, nil
	}
	for _, extent := range places.OnDisk() {
		patches = append(patches, diskimage.Patch{Offset: start + extent.Offset, Data: []byte(changed[:extent.Length]),
			What: "serial console in " + e.Name})
		changed = changed[extent.Length:]
	}
	if changed != "" { // a hole
		return nil, false, nil
	}
	return patches, false, nil
}

// addConsole adds the console to the arguments of each kernel, and keeps the length of the
// configuration. present reports whether the first kernel has it; ok is false if nothing was
// changed: there is no kernel, or not enough room.
func addConsole(config, device string) (changed string, present, ok bool) {
	argument := "console=" + device
	lines := strings.SplitAfter(config, "\n")
	kernels := 0
	for i, line := range lines {
		if !hasArguments(line) {
			continue
		}
		kernels++
		fields := strings.Fields(line)
		has := slices.ContainsFunc(fields, func(s string) bool { return s == argument || strings.HasPrefix(s, argument+",") })
		if has && kernels == 1 {
			return config, true, false
		}
		if has {
			continue
		}
		lines[i] = quiet.ReplaceAllString(strings.TrimRight(line, " \t\r\n"), "$1") + " " + argument + "\n"
	}
	if kernels == 0 {
		return config, false, false
	}
	for i := len(lines) - 1; i >= 0; i-- {
		if text := strings.TrimLeft(lines[i], " \t"); strings.HasPrefix(text, "#") || strings.TrimSpace(text) == "" {
			lines[i] = ""
		} else {
			lines[i] = text
		}
	}
	changed = strings.Join(lines, "")
	if len(changed) > len(config) {
		return config, false, false
	}
	return changed + strings.Repeat("\n", len(config)-len(changed)), false, true
}

// quiet matches the argument that hides the kernel's messages.
var quiet = regexp.MustCompile(`[ \t]quiet([ \t]|$)`)

// hasArguments reports whether a line has the arguments of a kernel: "append" of syslinux, "linux"
// of GRUB.
func hasArguments(line string) bool {
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return false
	}
	switch strings.ToLower(fields[0]) {
	case "append":
		return true
	case "linux", "linux16", "linuxefi":
		return len(fields) > 2
	}
	return false
}
