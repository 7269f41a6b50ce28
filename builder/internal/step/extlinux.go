// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"path"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/syslinux"
)

// Extlinux writes extlinux.conf, and puts a program into the target that keeps it in step with the kernels there,
// now and when the booted system gets others. The boot code outside of file systems is the assembler's work.
type Extlinux struct {
	base
	// Directory is where extlinux.conf goes, the top of a file system: "/", or "/boot" if that is a partition.
	Directory string
	// SerialBaud, if not 0, has extlinux use the first serial line as well.
	SerialBaud int
	// Arguments are the kernel's.
	Arguments string
}

func (Extlinux) Kind() string { return "extlinux" }

func (Extlinux) Title() string { return "configure extlinux" }

// extlinuxHook is the program that writes the kernels into extlinux.conf.
const extlinuxHook = "/etc/kernel/postinst.d/" + syslinux.KernelHookName

func (e Extlinux) Run(ctx context.Context, s *Context) error {
	if err := e.Write(s.Target); err != nil {
		return err
	}
	return s.inTarget(ctx, extlinuxHook)
}

// Write writes everything but the kernels.
func (e Extlinux) Write(f target.Files) error {
	const removal = "/etc/kernel/postrm.d/" + syslinux.KernelHookName
	for _, name := range []string{extlinuxHook, removal} {
		if err := f.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
	}
	if err := f.WriteFile(extlinuxHook, syslinux.KernelHook(), 0o755); err != nil {
		return err
	}
	if err := f.Symlink("../postinst.d/"+syslinux.KernelHookName, removal); err != nil {
		return err
	}
	if err := WriteKernelArguments(f, e.Arguments); err != nil {
		return err
	}
	// What the user's own program wrote stays.
	there, err := target.Exists(f, e.Config())
	if err != nil || there {
		return err
	}
	return f.WriteFile(e.Config(), syslinux.Config{SerialBaud: e.SerialBaud}.Bytes(), 0o644)
}

// Config is the name of extlinux.conf.
func (e Extlinux) Config() string { return path.Join(e.Directory, syslinux.ConfigName) }
