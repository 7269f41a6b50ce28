// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// SystemdBoot has kernel-install(8) in the booted system make unified kernel images, as the assembler does for the
// kernels that are there from the beginning.
type SystemdBoot struct {
	base
	// EntryToken begins the names of the images.
	EntryToken string
	// Arguments are the kernel's.
	Arguments string
}

// kernelInstallConfig names what is there in all images, so that what is installed later does not change the kind.
const kernelInstallConfig = "layout=uki\nuki_generator=ukify\n"

func (SystemdBoot) Kind() string { return "systemd-boot" }

func (SystemdBoot) Title() string { return "configure systemd-boot" }

func (b SystemdBoot) Run(_ context.Context, s *Context) error { return b.Write(s.Target) }

func (b SystemdBoot) Write(f target.Files) error {
	if err := f.MkdirAll("/etc/kernel", 0o755); err != nil {
		return err
	}
	if err := WriteKernelArguments(f, b.Arguments); err != nil {
		return err
	}
	if err := f.WriteFile("/etc/kernel/entry-token", []byte(b.EntryToken+"\n"), 0o644); err != nil {
		return err
	}
	return f.WriteFile("/etc/kernel/install.conf", []byte(kernelInstallConfig), 0o644)
}
