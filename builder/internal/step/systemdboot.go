// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// SystemdBoot configures kernel-install(8) in the booted system to make unified kernel images, as the
// assembler does for the kernels of the build.
type SystemdBoot struct {
	base
	// EntryToken is the prefix of the names of the images.
	EntryToken string
	// Arguments are the kernel arguments.
	Arguments string
}

// kernelInstallConfig selects the layout and its generator explicitly, so that packages installed later do not change
// them.
const kernelInstallConfig = "layout=uki\nuki_generator=ukify\n"

func (SystemdBoot) Kind() string { return "systemd-boot" }

func (SystemdBoot) Title() string { return "configure systemd-boot" }

func (b SystemdBoot) Run(_ context.Context, s *Context) error { return b.Write(s.Target) }

// Write writes the configuration to f.
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
