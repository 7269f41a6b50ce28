// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

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
	// Slots reports whether systemd-sysupdate alone writes kernels to the ESP: one that a package installs is gone at the
	// next start, with its modules.
	Slots bool `json:",omitempty"`
}

// kernelInstallConfig selects the layout and its generator explicitly, so that packages installed later do not change
// them.
const kernelInstallConfig = "layout=uki\nuki_generator=ukify\n"

// noKernelInstallConfig has kernel-install write nothing: its plugins leave an unknown layout alone.
const noKernelInstallConfig = "layout=other\n"

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
	config := kernelInstallConfig
	if b.Slots {
		config = noKernelInstallConfig
	}
	return f.WriteFile("/etc/kernel/install.conf", []byte(config), 0o644)
}

// KernelArgumentsFile is the file from which kernel-install(8) reads the arguments for kernels; so does our kernel hook
// for extlinux.
const KernelArgumentsFile = "/etc/kernel/cmdline"

// WriteKernelArguments writes the file. Arguments that the user's hooks have put there come last, so that they take
// precedence. If they contain root=, the file stays as it is.
func WriteKernelArguments(t target.Files, arguments string) error {
	text, err := t.ReadFile(KernelArgumentsFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	own := strings.Fields(string(text))
	if slices.ContainsFunc(own, func(word string) bool { return strings.HasPrefix(word, "root=") }) {
		return nil
	}
	all := append(strings.Fields(arguments), own...)
	return t.WriteFile(KernelArgumentsFile, []byte(strings.Join(all, " ")+"\n"), 0o644)
}
