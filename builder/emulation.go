// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// Programs of another architecture run under qemu-user, in the very places where they would run natively: so
// debootstrap needs no second stage, and hooks can use chroot as ever. The emulator comes with the toolbox,
// is of this machine's architecture and never in the image.

// emulatorParts are what the toolbox has for one foreign architecture; none where there is no need.
type emulatorParts struct {
	packages []string
	// programs are the names that the emulator may have; all others of its kind are left out, being 20 MB each.
	programs []string
}

// emulatorDir and emulatorPrefix begin the names of all emulators.
const (
	emulatorDir    = "/usr/bin"
	emulatorPrefix = "qemu-"
)

// testPrograms holds a small static program for each architecture, which does nothing but succeed (package arch-test).
const testPrograms = "/usr/lib/arch-test"

// toolboxEmulator says what the toolbox needs to run the image's programs.
func toolboxEmulator(s Spec, index *archive.Index) emulatorParts {
	if !s.NeedsEmulation() {
		return emulatorParts{}
	}
	parts := emulatorParts{packages: []string{"arch-test"}}
	if s.foreignEmulator() != "" {
		return parts
	}
	// In trixie the package became links to qemu-user, whose programs are static since; after that it went away.
	emulators := "qemu-user-static"
	if index.Lookup(emulators) == nil {
		emulators = "qemu-user"
	}
	parts.packages = append(parts.packages, emulators)
	parts.programs = []string{emulatorPrefix + s.arch.Qemu + "-static", emulatorPrefix + s.arch.Qemu}
	return parts
}

// removeOthers removes the emulators of other architectures from a new toolbox.
func (p emulatorParts) removeOthers(t Target) error {
	if len(p.programs) == 0 {
		return nil
	}
	entries, err := t.ReadDir(emulatorDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), emulatorPrefix) || slices.Contains(p.programs, e.Name()) {
			continue
		}
		if err := t.Remove(path.Join(emulatorDir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// emulator returns the toolbox's emulator by its path on the host: of its names one is a file, another may be a link.
func (p emulatorParts) emulator(t Target) (string, error) {
	for _, name := range p.programs {
		name = path.Join(emulatorDir, name)
		if info, err := t.Lstat(name); err == nil && info.Mode().IsRegular() {
			return filepath.Join(t.Root(), name), nil
		}
	}
	return "", fmt.Errorf("the toolbox has no %s", strings.Join(p.programs, " or "))
}

// emulate makes the image's programs run, and tries one of them in an empty root file system before the long
// work begins. Where the kernel has no table of emulators for a user, one that the host has for all does. It returns
// the variables by which all programs set the emulator.
func (x *Executor) emulate(ctx context.Context, s Spec, src Sources, toolbox Target) (environ []string, err error) {
	interpreter := s.foreignEmulator()
	if interpreter == "" {
		if interpreter, err = toolboxEmulator(s, src.Toolbox).emulator(toolbox); err != nil {
			return nil, fmt.Errorf("--arch %s: %w", s.arch.Name, err)
		}
	}
	empty, err := x.Engine.Scratch(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, empty.Close()) }()
	x.Progress.Message(fmt.Sprintf("run programs of %s under %s", s.arch.Name, filepath.Base(interpreter)))
	x.Engine.Emulate(s.arch.ELF, interpreter)
	environ, err = tryEmulator(ctx, s.arch, empty, toolbox)
	if errors.Is(err, errors.ErrUnsupported) {
		x.Engine.Emulate(elf.FileHeader{}, "")
		var hostErr error
		if environ, hostErr = tryEmulator(ctx, s.arch, empty, toolbox); hostErr != nil {
			return nil, err
		}
		x.Log.Info("programs are run by the emulator that is registered on the host", "arch", s.arch.Name,
			"reason", err)
		return environ, nil
	}
	if err != nil {
		flag := "--arch"
		if s.foreignEmulator() != "" {
			flag = "--foreign"
		}
		return nil, fmt.Errorf("%s: run a program of %s under %s: %w", flag, s.arch.Name, interpreter, err)
	}
	return environ, nil
}

// tryEmulator runs a program of the architecture, and returns the variables that it worked with.
func tryEmulator(ctx context.Context, a debian.Arch, empty, toolbox Target) (environ []string, err error) {
	if a.QemuCPU != "" {
		environ = []string{"QEMU_CPU=" + a.QemuCPU}
		err := tryForeign(ctx, a, environ, empty, toolbox)
		if err == nil || errors.Is(err, errors.ErrUnsupported) {
			return environ, err
		}
	}
	return nil, tryForeign(ctx, a, nil, empty, toolbox) // QEMU before 6.0 knows no pauth
}

// tryForeign runs a program of the architecture in a root file system that has no file. For architectures that have no
// such program, it runs one of the toolbox: that shows at least whether the host refuses.
func tryForeign(ctx context.Context, a debian.Arch, environ []string, empty, toolbox Target) error {
	program := path.Join(testPrograms, a.Name)
	process := func(name string) *specs.Process {
		return &specs.Process{Args: []string{name}, Cwd: "/", Env: slices.Concat(step.BaseEnv, environ)}
	}
	if there, err := target.Exists(toolbox, program); err != nil {
		return err
	} else if !there {
		return toolbox.Run(ctx, process("true"), nil, strings.NewReader(""), nil)
	}
	const inside = "/run/arch-test"
	mounts := []specs.Mount{target.Bind(filepath.Join(toolbox.Root(), program), inside, "ro")}
	return empty.Run(ctx, process(inside), mounts, strings.NewReader(""), nil)
}

// emulatorExists: QEMU has none for a few architectures of Debian Ports.
func emulatorExists(s Spec) []error {
	if s.arch.Name == "" || !s.NeedsEmulation() || s.arch.Qemu != "" || s.foreignEmulator() != "" {
		return nil
	}
	return problem.New("--arch", "QEMU has no emulator for programs of %s: build on such a machine", s.arch.Name)
}

// foreignEmulator is the program of --foreign; empty for that of the toolbox, which also stands in for one that is not
// there: an old script works on a machine without qemu-user-static.
func (s Spec) foreignEmulator() string {
	if s.o.Foreign == "" {
		return ""
	}
	if _, err := s.w.Stat(s.o.Foreign); errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return s.o.Foreign
}

// foreignProgram: --foreign names an emulator that works without any file of the image. In a dry run it is
// not looked at: that tells what another machine would do.
func foreignProgram(s Spec) []error {
	if s.foreignEmulator() == "" || s.o.DryRun || s.arch.Name == "" || !s.NeedsEmulation() {
		return nil
	}
	refuse := func(format string, args ...any) []error {
		const cure = "; without --foreign the right emulator is found"
		return problem.New("--foreign", format+cure, args...)
	}
	data, err := s.w.ReadFile(s.o.Foreign)
	if err != nil {
		return refuse("%w", err)
	}
	program, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return refuse("%q is not a program: %w", s.o.Foreign, err)
	}
	host, _ := debian.LookupArch(s.w.HostArch)
	if s.arch.Runs(program.FileHeader) {
		return refuse("%q is itself a program of %s: it must be one of %s that runs those", s.o.Foreign, s.arch.Name,
			s.w.HostArch)
	}
	if host.Name != "" && !host.Runs(program.FileHeader) {
		return refuse("%q is not a program of %s", s.o.Foreign, s.w.HostArch)
	}
	if slices.ContainsFunc(program.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		return refuse("%q is not statically linked, so that it would not run in the image", s.o.Foreign)
	}
	return nil
}
