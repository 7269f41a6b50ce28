// SPDX-License-Identifier: Apache-2.0

package run

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/dirfd"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
)

// Programs of another processor run under an emulator that the kernel starts in their place: binfmt_misc, see
// Documentation/admin-guide/binfmt-misc.rst of Linux. Since 6.7 each user namespace has its own table of them. So a run
// with an emulator gets a user namespace of its own, with the same ids as the one around it, and pid 1 writes the
// table there. Nothing else sees it, for root neither, and it is gone with the run.

// Annotations of a Spec, the only words of ours in it: for its emulator, and for what pid 1 answers for programs.
const (
	// annotationSingle is there if the container has a single id.
	annotationSingle = "vmdebootstrap.single-id"
	// annotationProcProxy is there if programs get to see /proc through pid 1.
	annotationProcProxy = "vmdebootstrap.proc-proxy"
	// annotationFormat is the part of a line for binfmt_misc's file register that comes before the interpreter.
	annotationFormat = "vmdebootstrap.binfmt.format"
	// annotationInterpreter is the emulator's file, by its name on the host.
	annotationInterpreter = "vmdebootstrap.binfmt.interpreter"
	// annotationSmall is there if the programs keep places in directories in 32 bits, see package supervise.
	annotationSmall = "vmdebootstrap.binfmt.small"
)

// binfmtFlags are those with which Debian registers qemu-user, but for P: the kernel opens the interpreter at once (F),
// so that the container need not have it, and the program for the interpreter (O), and takes setuid bits and file
// capabilities from the program (C). With P emulators older than QEMU 6 would take the program's name for its first
// argument.
const binfmtFlags = "OCF"

// emulator runs foreign programs of one kind.
type emulator struct {
	header      elf.FileHeader
	interpreter string
}

// Emulate has all runs from now on start foreign programs, told by Class, Data and Machine of their ELF header, under
// interpreter; an empty name ends that. See oci.Engine.Emulate.
func (r *Runner) Emulate(header elf.FileHeader, interpreter string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if interpreter == "" {
		r.emulator = nil
		return
	}
	r.emulator = &emulator{header, interpreter}
}

// emulate adds the emulator to a spec, if there is one.
func (r *Runner) emulate(spec *specs.Spec) error {
	r.mu.Lock()
	emulator := r.emulator
	r.mu.Unlock()
	if emulator == nil {
		return nil
	}
	if err := nest(spec, r.Place.OwnRange); err != nil {
		return err
	}
	spec.Annotations = map[string]string{
		annotationFormat: binfmtFormat(emulator.header), annotationInterpreter: emulator.interpreter,
	}
	if emulator.header.Class == elf.ELFCLASS32 {
		spec.Annotations[annotationSmall] = "true"
	}
	return nil
}

// Places in an ELF header, see elf(5), and its length as far as it is compared.
const (
	elfOSABI      = elf.EI_OSABI
	elfABIVersion = elf.EI_ABIVERSION
	elfType       = 16
	elfMachine    = 18
	elfCompared   = 20
)

// binfmtFormat describes executable files and shared objects, which position-independent programs are, with
// that header. Their ABI is left open: Debian's tools write various ones.
func binfmtFormat(h elf.FileHeader) string {
	magic, mask := make([]byte, elfCompared), make([]byte, elfCompared)
	for i := range mask {
		mask[i] = 0xff
	}
	copy(magic, elf.ELFMAG)
	magic[elf.EI_CLASS], magic[elf.EI_DATA], magic[elf.EI_VERSION] = byte(h.Class), byte(h.Data), byte(elf.EV_CURRENT)
	mask[elfOSABI], mask[elfABIVersion] = 0, 0
	low, high := 0, 1
	if h.Data == elf.ELFDATA2MSB {
		low, high = 1, 0
	}
	// ET_EXEC and ET_DYN differ in one bit.
	magic[elfType+low], mask[elfType+low] = byte(elf.ET_EXEC), ^byte(elf.ET_EXEC^elf.ET_DYN)
	magic[elfMachine+low], magic[elfMachine+high] = byte(h.Machine), byte(h.Machine>>8)
	return ":foreign:M::" + escaped(magic) + ":" + escaped(mask) + ":"
}

// escaped writes bytes as binfmt_misc reads them.
func escaped(data []byte) string {
	var b strings.Builder
	for _, c := range data {
		fmt.Fprintf(&b, `\x%02x`, c)
	}
	return b.String()
}

// register enters the emulator of a spec in the table of this user namespace, which must be new. The table holds as
// long as the file that it gives.
func register(spec *specs.Spec) (*os.File, error) {
	name := spec.Annotations[annotationInterpreter]
	if name == "" {
		return nil, nil
	}
	table, err := newBinfmtTable()
	if err != nil {
		return nil, &deniedError{host.TryBinfmt, "mount binfmt_misc", err}
	}
	if err := writeTable(table, spec.Annotations[annotationFormat], name); err != nil {
		return nil, errors.Join(err, table.Close())
	}
	return table, nil
}

// newBinfmtTable mounts binfmt_misc, nowhere: no program of the container need see it.
func newBinfmtTable() (*os.File, error) {
	context, err := unix.Fsopen("binfmt_misc", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer unix.Close(context)
	if err := unix.FsconfigCreate(context); err != nil {
		return nil, err
	}
	mount, err := unix.Fsmount(context, unix.FSMOUNT_CLOEXEC,
		unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(mount), "binfmt_misc"), nil
}

// writeTable adds a line to the table. The interpreter is named by a descriptor: its real name may have a colon in it,
// or be too long.
func writeTable(table *os.File, format, interpreter string) (err error) {
	f, err := os.Open(interpreter)
	if err != nil {
		return fmt.Errorf("open the emulator: %w", err)
	}
	defer f.Close()
	fd, err := unix.Openat(int(table.Fd()), "register", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("register the emulator %s: %w", interpreter, err)
	}
	register := os.NewFile(uintptr(fd), "register")
	defer func() { err = errors.Join(err, register.Close()) }()
	if _, err := register.WriteString(format + dirfd.ProcPath(int(f.Fd())) + ":" + binfmtFlags); err != nil {
		return fmt.Errorf("register the emulator %s: %w", interpreter, err)
	}
	return nil
}

// deniedError is an attempt that the host did not allow.
type deniedError struct {
	try  host.Attempt
	text string
	err  error
}

func (r *deniedError) Error() string { return r.text + ": " + r.err.Error() }
func (r *deniedError) Unwrap() error { return r.err }
