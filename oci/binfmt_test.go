// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// alpha and sparc are architectures that no test machine has.
var (
	alpha = elf.FileHeader{Class: elf.ELFCLASS64, Data: elf.ELFDATA2LSB, Machine: elf.EM_ALPHA}
	sparc = elf.FileHeader{Class: elf.ELFCLASS32, Data: elf.ELFDATA2MSB, Machine: elf.EM_SPARC}
)

// foreignProgram returns a file that looks like a program of that kind.
func foreignProgram(h elf.FileHeader, kind elf.Type) []byte {
	var order binary.ByteOrder = binary.LittleEndian
	if h.Data == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	file := make([]byte, 64)
	copy(file, elf.ELFMAG)
	file[elf.EI_CLASS], file[elf.EI_DATA], file[elf.EI_VERSION] = byte(h.Class), byte(h.Data), byte(elf.EV_CURRENT)
	file[elf.EI_OSABI] = byte(elf.ELFOSABI_LINUX)
	order.PutUint16(file[16:], uint16(kind))
	order.PutUint16(file[18:], uint16(h.Machine))
	return file
}

// foreignContainer returns a container with the test binary and foreign programs: /bin/alpha,
// /bin/alpha-pie and /bin/sparc.
func foreignContainer(t *testing.T, e *Engine) *Container {
	t.Helper()
	c := scratch(t, e)
	for name, file := range map[string][]byte{
		"/bin/alpha": foreignProgram(alpha, elf.ET_EXEC), "/bin/alpha-pie": foreignProgram(alpha, elf.ET_DYN),
		"/bin/sparc": foreignProgram(sparc, elf.ET_EXEC),
	} {
		if err := c.WriteFile(name, file, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// testEmulator returns the path of a copy of the test binary, with a name that binfmt_misc would
// split.
func testEmulator(t *testing.T) string {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), `emulator:\x2f`)
	// As in WriteFile: a process that is forked meanwhile must not have it open for writing.
	syscall.ForkLock.RLock()
	err = os.WriteFile(name, self, 0o755)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func TestForeignProgramsRunUnderTheirEmulator(t *testing.T) {
	needsNamespaces(t)
	t.Parallel()
	e := openEngine(t)
	c := foreignContainer(t, e)
	for _, tt := range []struct {
		header elf.FileHeader
		name   string
	}{{alpha, "/bin/alpha"}, {alpha, "/bin/alpha-pie"}, {sparc, "/bin/sparc"}} {
		e.Emulate(tt.header, testEmulator(t))
		p := newProcess()
		p.Args = []string{tt.name, "a", "b c"}
		want := "emulating " + tt.name + " a b c\n"
		if got := output(t, c, p); got != want {
			t.Errorf("%s printed %q, want %q", tt.name, got, want)
		}
		// As a program in a chroot, started by a native program of another container.
		tools := scratch(t, e)
		got := output(t, tools, newProcess("exec", "/target"+tt.name), c.MountAt("/target")...)
		if got != "emulating /target"+tt.name+"\n" {
			t.Errorf("the toolbox's %s printed %q", tt.name, got)
		}
	}
	entries, err := c.ReadDir("/bin")
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 4 {
		t.Errorf("the container has unexpected programs: %v", entries)
	}
}

func TestEmulationChangesNothingElse(t *testing.T) {
	needsNamespaces(t)
	t.Parallel()
	e := openEngine(t)
	c := foreignContainer(t, e)
	native := output(t, c, newProcess("look"))
	e.Emulate(alpha, testEmulator(t))
	if got := output(t, c, newProcess("look")); got != native {
		t.Errorf("with an emulator programs see\n%s, without\n%s", got, native)
	}
	if got := output(t, c, newProcess("write", "/owned", "x")); got != "" {
		t.Error(got)
	}
	info, err := c.Lstat("/owned")
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); st.Uid != 0 || st.Gid != 0 {
		t.Errorf("a file of the container's root belongs to %d:%d", st.Uid, st.Gid)
	}
}

func TestEmulationIsLimitedToOneKindAndEnds(t *testing.T) {
	needsNamespaces(t)
	t.Parallel()
	e := openEngine(t)
	c := foreignContainer(t, e)
	run := func(name string) error {
		p := newProcess()
		p.Args = []string{name}
		return c.Run(t.Context(), p, nil, nil, nil)
	}
	e.Emulate(alpha, testEmulator(t))
	if err := run("/bin/alpha"); err != nil {
		t.Error(err)
	}
	if err := run("/bin/sparc"); err == nil || !strings.Contains(err.Error(), "exec format error") {
		t.Errorf("a program of another kind: %v", err)
	}
	e.Emulate(elf.FileHeader{}, "")
	if err := run("/bin/alpha"); err == nil || !strings.Contains(err.Error(), "exec format error") {
		t.Errorf("after the end: %v", err)
	}
}

func TestEmulatorMustExist(t *testing.T) {
	needsNamespaces(t)
	t.Parallel()
	e := openEngine(t)
	c := foreignContainer(t, e)
	missing := filepath.Join(t.TempDir(), "qemu-none")
	e.Emulate(alpha, missing)
	err := c.Run(t.Context(), newProcess("cat"), nil, nil, nil)
	if err == nil || !strings.Contains(err.Error(), missing) || errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("got %v, want an error that names %s and does not blame the host", err, missing)
	}
}

// The test cannot use a kernel before 6.7; a namespace in which no other may be created fails in
// the same way.
func TestHostWithoutEmulationIsReported(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root's limit applies to the whole machine")
	}
	out, err := command(t, "emulate", stateDir(t), "limited").Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// The limit is that of the outer namespace, or 0.
	if text := string(out); !strings.HasPrefix(text, "unsupported: ") ||
		!strings.Contains(text, "user.max_user_namespaces") {
		t.Errorf("got %q, want the limit named", out)
	}
}

// TestHostRunsNoForeignProgramWhileAContainerDoes: the emulator is registered for the container alone.
func TestHostRunsNoForeignProgramWhileAContainerDoes(t *testing.T) {
	program := filepath.Join(t.TempDir(), "alpha")
	if err := os.WriteFile(program, foreignProgram(alpha, elf.ET_EXEC), 0o755); err != nil {
		t.Fatal(err)
	}
	before := registered(t)
	cmd := command(t, "emulate", stateDir(t))
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer waitForNone(t)
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	var line string
	if _, err := fmt.Fscanf(pipe, "emulating %s wait\n", &line); err != nil {
		t.Fatalf("the container does not run a foreign program: %v", err)
	}
	if err := exec.Command(program).Run(); !errors.Is(err, unix.ENOEXEC) {
		t.Errorf("the host runs a foreign program: %v", err)
	}
	if after := registered(t); after != before {
		t.Errorf("the host's table was %q, now is %q", before, after)
	}
}

// registered returns the host's list of emulators, and whether it is mounted at all.
func registered(t *testing.T) string {
	t.Helper()
	names, err := filepath.Glob("/proc/sys/fs/binfmt_misc/*")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ") + "\n" + hostMounts(t)
}

// emulate STATEDIR [limited] runs a foreign program that waits in a container. With "limited", no
// user namespace can be created for it.
func emulate(args []string) error {
	goInside()
	if len(args) > 1 {
		if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
			return err
		}
	}
	ctx := context.Background()
	e, c, err := openScratch(ctx, args[0])
	if err != nil {
		return err
	}
	if err := c.WriteFile("/bin/alpha", foreignProgram(alpha, elf.ET_EXEC), 0o755); err != nil {
		return err
	}
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	e.Emulate(alpha, self)
	p := newProcess()
	p.Args = []string{"/bin/alpha", "wait"}
	p.Env = append(p.Env, os.Environ()...)
	err = c.Run(ctx, p, nil, nil, os.Stdout)
	if errors.Is(err, errors.ErrUnsupported) {
		fmt.Println("unsupported:", err)
		return e.Close()
	}
	return err
}
