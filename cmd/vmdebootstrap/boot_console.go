// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/format"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/serialconsole"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/vm"
)

// inspect reads from the image what the machine depends on, and gives it a serial console if that is used. dir is for
// temporary files.
func (b *bootCall) inspect(ctx context.Context, dir string) (err error) {
	m := &b.machine
	if m.CD { // its boot loader's configuration is not changed, but systemd can be asked
		if !m.Graphics && m.PC() {
			m.Strings = append(m.Strings, serialStrings...)
		}
		return nil
	}
	f, err := diskimage.OpenImage(m.Image)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	disk, err := format.Open(f)
	if err != nil {
		// QEMU reads more than this program, such as a disk that is based on another.
		if b.verbose {
			fmt.Fprintf(b.err, "%s is taken as it is: %v\n", m.Image, err)
		}
		return nil
	}
	size := diskimage.Size(disk.Size())
	if len(m.Args) == 0 && !diskimage.IsDisk(disk, size) {
		return fmt.Errorf("%s is not a disk image: it has neither a partition table nor a boot sector", m.Image)
	}
	m.SectorSize = int(diskimage.DetectSectorSize(disk, size))
	if m.Graphics || !m.PC() { // there the firmware tells Linux which console to use
		return nil
	}
	return b.addSerialConsole(ctx, disk, dir)
}

// serialDevice is Linux's name of QEMU's first serial port in PCs.
const serialDevice = "ttyS0"

// serialStrings ask for a serial console without a change of the image: systemd from 256 on for a login, and its stub,
// from 254 on, for the kernel's messages (systemd.system-credentials(7), systemd-stub(7)).
var serialStrings = []string{
	"io.systemd.credential:getty.ttys.serial=" + serialDevice,
	"io.systemd.stub.kernel-cmdline-extra=console=" + serialDevice,
}

// addSerialConsole makes the machine use a serial console if the image has none: in an overlay where the boot loader's
// configuration can be read, else by serialStrings.
func (b *bootCall) addSerialConsole(ctx context.Context, disk format.OpenDisk, dir string) error {
	m := &b.machine
	found, err := serialconsole.Find(diskimage.CancelReaderAt(ctx, disk), diskimage.Size(disk.Size()), serialDevice)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case found.Present:
		return nil
	case err != nil || len(found.Patches) == 0:
		// A file system that cannot be read here may boot all the same.
		m.Strings = append(m.Strings, serialStrings...)
		if b.verbose {
			fmt.Fprintln(b.err, "the image has no boot loader configuration that can be read: "+
				"systemd is asked for a serial console")
		}
		return nil
	}
	patches := make([]vm.Patch, len(found.Patches))
	for i, p := range found.Patches {
		patches[i] = vm.Patch{Offset: p.Offset, Data: p.Data}
	}
	overlay, err := vm.Overlay(ctx, m.Image, m.Format, dir, patches)
	if err != nil {
		return err
	}
	kept := ""
	if !m.Snapshot {
		kept = "; what the machine writes is discarded"
	}
	fmt.Fprintf(b.err, "%s has no serial console: a snapshot of it gets one%s\n", m.Image, kept)
	m.Image, m.Format, m.Snapshot = overlay, "qcow2", true
	return nil
}

// hasDisplay reports whether QEMU can open a window.
func (e environment) hasDisplay() bool {
	return e.getenv("DISPLAY") != "" || e.getenv("WAYLAND_DISPLAY") != ""
}

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
