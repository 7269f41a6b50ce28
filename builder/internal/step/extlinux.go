// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"path"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/syslinux"
)

// Extlinux writes extlinux.conf and installs a kernel hook that updates it, now and whenever the booted system installs
// or removes a kernel. The assembler writes the boot code outside of file systems.
type Extlinux struct {
	base
	// Directory is the directory of extlinux.conf, the top of a file system: "/", or "/boot" if that is a partition.
	Directory string
	// SerialBaud, if not 0, is the speed at which extlinux uses the first serial port as well.
	SerialBaud int
	// Arguments are the kernel arguments.
	Arguments string
}

func (Extlinux) Kind() string { return "extlinux" }

func (Extlinux) Title() string { return "configure extlinux" }

// extlinuxHook is the kernel hook that writes the kernels to extlinux.conf.
const extlinuxHook = "/etc/kernel/postinst.d/" + syslinux.KernelHookName

func (e Extlinux) Run(ctx context.Context, s *Context) error {
	if err := e.Write(s.Target); err != nil {
		return err
	}
	return s.inTarget(ctx, extlinuxHook)
}

// Write writes everything except the kernels in extlinux.conf.
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
	// A file that the user's hook wrote stays.
	exists, err := target.Exists(f, e.Config())
	if err != nil || exists {
		return err
	}
	return f.WriteFile(e.Config(), syslinux.Config{SerialBaud: e.SerialBaud}.Bytes(), 0o644)
}

// Config returns the path of extlinux.conf.
func (e Extlinux) Config() string { return path.Join(e.Directory, syslinux.ConfigName) }
