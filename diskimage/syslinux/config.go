package syslinux

import (
	"fmt"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// mbrSize is the room for code in sector 0, before the disk signature of an msdos table.
const mbrSize = 440

// MBRCode is the boot code for sector 0: mbr.bin of syslinux-common for an msdos table, which starts the active
// partition, or gptmbr.bin, which starts the one with the attribute legacy_boot.
func MBRCode(code []byte) (diskimage.Patch, error) {
	if len(code) == 0 || len(code) > mbrSize {
		return diskimage.Patch{}, fmt.Errorf("boot code of %d bytes; sector 0 has room for %d", len(code), mbrSize)
	}
	return diskimage.Patch{Offset: 0, Data: code, What: "syslinux boot code of sector 0"}, nil
}

// Config is a configuration that boots one kernel.
type Config struct {
	// Kernel and Initrd are paths in the file system; "" leaves an initrd out.
	Kernel, Initrd string
	// Append is the rest of the kernel's command line.
	Append string
	// SerialBaud, if not 0, has syslinux use the first serial port as well, at this speed.
	SerialBaud int
}

// Bytes is the text of extlinux.conf (or syslinux.cfg). The serial line comes first, as syslinux wants it: what it
// prints before would not be seen there (syslinux.cfg(5), SERIAL).
func (c Config) Bytes() []byte {
	var b strings.Builder
	if c.SerialBaud != 0 {
		fmt.Fprintf(&b, "serial 0 %d\n", c.SerialBaud)
	}
	// The unit of the timeout is 0.1 s.
	fmt.Fprintf(&b, "default linux\ntimeout 1\n\nlabel linux\n\tkernel %s\n\tappend ", c.Kernel)
	if c.Initrd != "" {
		fmt.Fprintf(&b, "initrd=%s ", c.Initrd)
	}
	b.WriteString(c.Append + "\n")
	return []byte(b.String())
}
