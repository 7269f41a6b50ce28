// SPDX-License-Identifier: Apache-2.0

package grub

import (
	"bytes"
	"fmt"
	"strings"
)

// Menu is a grub.cfg for the kernels of one system, similar to that of update-grub, for a root file
// system in which no programs can be run.
type Menu struct {
	// Title is the name of the system: "Debian GNU/Linux".
	Title string
	// Boot is the file system with the kernels, and KernelDir their directory in it: "/boot", or ""
	// if it is that of /boot.
	Boot      Place
	KernelDir string
	// Modules are needed to read Boot.
	Modules []string
	// Kernels are in the order of the menu. The first one is the default, after Timeout seconds.
	Kernels []MenuKernel
	Timeout int
	// Arguments apply to all kernels, QuietArguments to all entries except those for recovery.
	Arguments, QuietArguments string
	// Terminal are the commands that enable a serial line.
	Terminal []string
	// Live says that the menu is on a medium that nothing changes: update-grub is not mentioned, and there is no
	// environment block.
	Live bool
}

// MenuKernel is one kernel.
type MenuKernel struct {
	// File and Initrd are names in KernelDir; Initrd may be empty.
	File, Initrd, Version string
}

// Bytes returns the text of grub.cfg.
func (m Menu) Bytes() []byte {
	var b bytes.Buffer
	if m.Live {
		b.WriteString("# Written by vmdebootstrap.\n")
	} else {
		b.WriteString(`# Written by vmdebootstrap. update-grub, which kernel packages run, writes it anew from /etc/default/grub.
if [ -s $prefix/grubenv ]; then
	load_env
fi
`)
	}
	b.WriteString("set default=0\n")
	fmt.Fprintf(&b, "set timeout=%d\n", m.Timeout)
	for _, line := range m.Terminal {
		b.WriteString(line + "\n")
	}
	if len(m.Kernels) == 0 {
		return b.Bytes()
	}
	m.entry(&b, "", m.Title, m.Kernels[0], strings.TrimSpace(m.Arguments+" "+m.QuietArguments))
	fmt.Fprintf(&b, "submenu %s {\n", quote("Advanced options for "+m.Title))
	for _, k := range m.Kernels {
		title := m.Title + ", with Linux " + k.Version
		m.entry(&b, "\t", title, k, strings.TrimSpace(m.Arguments+" "+m.QuietArguments))
		m.entry(&b, "\t", title+" (recovery mode)", k, strings.TrimSpace(m.Arguments+" single"))
	}
	b.WriteString("}\n")
	return b.Bytes()
}

func (m Menu) entry(b *bytes.Buffer, indent, title string, k MenuKernel, arguments string) {
	fmt.Fprintf(b, "%smenuentry %s --class gnu-linux --class os {\n", indent, quote(title))
	for _, module := range m.Modules {
		fmt.Fprintf(b, "%s\tinsmod %s\n", indent, module)
	}
	fmt.Fprintf(b, "%s\tsearch --no-floppy --fs-uuid --set=root %s\n", indent, m.Boot.UUID)
	fmt.Fprintf(b, "%s\tlinux %s/%s %s\n", indent, m.KernelDir, k.File, arguments)
	if k.Initrd != "" {
		fmt.Fprintf(b, "%s\tinitrd %s/%s\n", indent, m.KernelDir, k.Initrd)
	}
	b.WriteString(indent + "}\n")
}

// quote returns text as a word of GRUB's language, which has the quotes of the shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
