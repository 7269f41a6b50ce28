// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/snapshot/snapshottest"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
)

// program is an ELF file with that header; an interpreter makes it a dynamically linked one.
func program(h elf.FileHeader, interpreter bool) []byte {
	var order binary.ByteOrder = binary.LittleEndian
	if h.Data == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	ident := [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(h.Class), byte(h.Data), byte(elf.EV_CURRENT)}
	segment := elf.PT_LOAD
	if interpreter {
		segment = elf.PT_INTERP
	}
	var file bytes.Buffer
	write := func(v any) {
		if err := binary.Write(&file, order, v); err != nil {
			panic(err)
		}
	}
	if h.Class == elf.ELFCLASS64 {
		write(elf.Header64{Ident: ident, Type: uint16(elf.ET_EXEC), Machine: uint16(h.Machine), Version: 1, Phoff: 64,
			Ehsize: 64, Phentsize: 56, Phnum: 1})
		write(elf.Prog64{Type: uint32(segment)})
	} else {
		write(elf.Header32{Ident: ident, Type: uint16(elf.ET_EXEC), Machine: uint16(h.Machine), Version: 1, Phoff: 52,
			Ehsize: 52, Phentsize: 32, Phnum: 1})
		write(elf.Prog32{Type: uint32(segment)})
	}
	return file.Bytes()
}

func TestForeignMustBeAnEmulatorThatNeedsNoFile(t *testing.T) {
	t.Parallel()
	w := testWorld()
	stat := w.Stat
	w.Stat = func(name string) (fs.FileInfo, error) {
		if name == "/missing" || name == "new.img" {
			return stat(name)
		}
		return stat(".")
	}
	w.ReadFile = func(name string) ([]byte, error) {
		switch name {
		case "/usr/bin/qemu-arm-static":
			return program(headerOf("amd64"), false), nil
		case "/work/qemu-here":
			return program(headerOf("amd64"), false), nil
		case "/usr/bin/qemu-arm":
			return program(headerOf("amd64"), true), nil
		case "/target/bin/true":
			return program(headerOf("armhf"), false), nil
		case "/s390x/qemu-arm":
			return program(headerOf("s390x"), false), nil
		case "/bin/script":
			return []byte("#!/bin/sh\n"), nil
		}
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	for _, tt := range []struct{ foreign, want string }{
		{"/usr/bin/qemu-arm-static", ""},
		{"qemu-here", ""},
		{"/usr/bin/qemu-arm", "not statically linked"},
		{"/target/bin/true", "itself a program of armhf"},
		{"/s390x/qemu-arm", "not a program of amd64"},
		{"/bin/script", "is not a program"},
		{"/missing", ""},
	} {
		o := options(func(o *Options) { o.Arch, o.Foreign, o.Extlinux = "armhf", tt.foreign, false })
		o.DryRun = false
		s, err := NewSpec(o, w)
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.foreign, err)
		case tt.want == "":
			warned := slices.ContainsFunc(s.Warnings(),
				func(text string) bool { return strings.Contains(text, "--foreign: there is no /missing") })
			if warned != (tt.foreign == "/missing") {
				t.Errorf("%s: warned of %q", tt.foreign, s.Warnings())
			}
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), "--foreign: ") ||
			!strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "without --foreign")):
			t.Errorf("%s: got %v, want an error of --foreign with %q and a cure", tt.foreign, err, tt.want)
		}
	}
}

func TestForeignIsNotLookedAtWhereItIsNotNeeded(t *testing.T) {
	t.Parallel()
	o := options(func(o *Options) { o.Arch, o.Distribution, o.Foreign = "i386", "bookworm", "/missing" })
	o.DryRun = false
	s, err := NewSpec(o, testWorld())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(s.Warnings(),
		func(text string) bool { return strings.Contains(text, "--foreign has no effect") }) {
		t.Errorf("nobody is warned: %q", s.Warnings())
	}
	if parts := toolboxEmulator(s, nil); len(parts.packages) > 0 || s.NeedsEmulation() {
		t.Errorf("i386 on amd64 takes %v", parts)
	}
}

func TestArchitecturesWithoutEmulatorAreRefused(t *testing.T) {
	t.Parallel()
	_, err := NewSpec(options(func(o *Options) { o.Arch = "ia64" }), testWorld())
	if got := problemsOf(err); len(got) != 1 || got[0].Flag != "--arch" {
		t.Errorf("got %v, want a problem of --arch", err)
	}
}

func TestEveryArchitectureHasItsOwnKindOfPrograms(t *testing.T) {
	t.Parallel()
	type kind struct {
		class   elf.Class
		data    elf.Data
		machine elf.Machine
	}
	seen := map[kind]string{}
	for _, a := range debian.Arches() {
		k := kind{a.ELF.Class, a.ELF.Data, a.ELF.Machine}
		if k.class == 0 || k.data == 0 || k.machine == 0 {
			t.Errorf("%s: incomplete %v", a.Name, k)
		}
		other := seen[k]
		if other != "" && other+a.Name != "armelarmhf" {
			t.Errorf("%s has the header of %s", a.Name, other)
		}
		seen[k] = a.Name
	}
}

// toolIndex has packages of these names.
func toolIndex(t *testing.T, names ...string) *archive.Index {
	t.Helper()
	var text strings.Builder
	for _, name := range names {
		fmt.Fprintf(&text, "Package: %s\nVersion: 1\nArchitecture: amd64\nFilename: pool/%s.deb\nSize: 1\nSHA256: %064d\n\n", name, name, 1)
	}
	index, err := archive.ReadIndex(strings.NewReader(text.String()), "http://mirror.example")
	if err != nil {
		t.Fatal(err)
	}
	return index
}

func TestToolboxHasTheEmulatorOfItsRelease(t *testing.T) {
	t.Parallel()
	arm64 := func(o *Options) { o.Arch, o.UseUEFI, o.Grub = "arm64", true, true }
	withForeign := func(o *Options) { arm64(o); o.Foreign = "qemu-aarch64-static" }
	missing := func(o *Options) { arm64(o); o.Foreign = "/usr/bin/qemu-aarch64-static" }
	for _, tt := range []struct {
		name    string
		options func(*Options)
		has     []string
		want    string
	}{
		{"static package", arm64, []string{"qemu-user", "qemu-user-static"}, "arch-test qemu-user-static"},
		{"static by itself", arm64, []string{"qemu-user"}, "arch-test qemu-user"},
		{"one that is given", withForeign, []string{"qemu-user"}, "arch-test"},
		{"one that is given and not there", missing, []string{"qemu-user"}, "arch-test qemu-user"},
		{"native", nil, []string{"qemu-user"}, ""},
	} {
		parts := toolboxEmulator(mustSpec(t, tt.options), toolIndex(t, tt.has...))
		if got := strings.Join(parts.packages, " "); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestToolboxKeepsOneEmulator(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, map[string]string{
		"/usr/bin/qemu-aarch64": "x", "/usr/bin/qemu-aarch64_be": "x", "/usr/bin/qemu-arm": "x", "/usr/bin/true": "x",
	})
	if err := f.Symlink("qemu-aarch64", "/usr/bin/qemu-aarch64-static"); err != nil {
		t.Fatal(err)
	}
	parts := emulatorParts{programs: []string{"qemu-aarch64-static", "qemu-aarch64"}}
	if err := parts.removeOthers(f); err != nil {
		t.Fatal(err)
	}
	entries, err := f.ReadDir("/usr/bin")
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if got := strings.Join(left, " "); got != "qemu-aarch64 qemu-aarch64-static true" {
		t.Errorf("left: %s", got)
	}
	// The link's target is a name in the toolbox; the file itself is what the host can open.
	if got, err := parts.emulator(f); err != nil || got != f.Path("/usr/bin/qemu-aarch64") {
		t.Errorf("got %s, %v", got, err)
	}
}

// emulatingEngine is a host that lets programs run by the emulators that are registered so.
type emulatingEngine struct {
	snapshottest.Engine
	empty *targettest.Target
	used  []string
	// own is what comes of a run with an emulator of our own, host of one without. settings is what comes of a run
	// with settings of the emulator, if not nil.
	own, host, settings error
}

func (e *emulatingEngine) Emulate(h elf.FileHeader, interpreter string) {
	e.used = append(e.used, fmt.Sprintf("%d:%s", h.Machine, filepath.Base(interpreter)))
}

func (e *emulatingEngine) Scratch(context.Context) (Rootfs, error) {
	e.empty.On = func(args []string, _ io.Writer) error {
		if slices.Contains(e.empty.Env[len(e.empty.Env)-1], "QEMU_CPU=max,pauth=off") && e.settings != nil {
			return e.settings
		}
		if strings.HasSuffix(e.used[len(e.used)-1], ":.") { // no emulator
			return e.host
		}
		return e.own
	}
	return e.empty, nil
}

func TestEmulationIsTriedBeforeTheWork(t *testing.T) {
	t.Parallel()
	refused := fmt.Errorf("an old kernel: %w", errors.ErrUnsupported)
	broken := errors.New("exec format error")
	const registered, ended = "183:qemu-aarch64", "0:."
	for _, tt := range []struct {
		name                string
		own, host, settings error
		want                error
		used, environ       []string
	}{
		{"as it should be", nil, broken, nil, nil, []string{registered}, []string{"QEMU_CPU=max,pauth=off"}},
		{"an old kernel with a registration", refused, nil, nil, nil, []string{registered, ended},
			[]string{"QEMU_CPU=max,pauth=off"}},
		{"an old kernel without", refused, broken, nil, refused, []string{registered, ended}, nil},
		{"an emulator that does not run", broken, nil, nil, broken, []string{registered}, nil},
		{"an emulator without these settings", nil, nil, broken, nil, []string{registered}, nil},
	} {
		e := &emulatingEngine{empty: targettest.New(t, nil), own: tt.own, host: tt.host, settings: tt.settings}
		x := &Executor{Engine: e, Log: slog.New(slog.DiscardHandler)}
		toolbox := targettest.New(t, map[string]string{"/usr/bin/qemu-aarch64": "x", "/usr/lib/arch-test/arm64": "x"})
		s := mustSpec(t, func(o *Options) { o.Arch, o.UseUEFI, o.Grub = "arm64", true, true })
		environ, err := x.emulate(t.Context(), s, Sources{Toolbox: toolIndex(t, "qemu-user")}, toolbox)
		if !slices.Equal(environ, tt.environ) {
			t.Errorf("%s: programs get %q, want %q", tt.name, environ, tt.environ)
		}
		if !errors.Is(err, tt.want) || tt.want == nil && err != nil {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
		if !slices.Equal(e.used, tt.used) {
			t.Errorf("%s: emulators were %q, want %q", tt.name, e.used, tt.used)
		}
		if got := strings.Join(e.empty.Transcript, "; "); !strings.HasPrefix(got, "/run/arch-test") {
			t.Errorf("%s: tried with %q", tt.name, got)
		}
	}
}

func TestWithoutATestProgramTheHostIsTried(t *testing.T) {
	t.Parallel()
	toolbox := targettest.New(t, map[string]string{"/usr/bin/": ""})
	empty := targettest.New(t, nil)
	loong64, _ := debian.LookupArch("loong64")
	if err := tryForeign(t.Context(), loong64, nil, empty, toolbox); err != nil {
		t.Fatal(err)
	}
	if len(empty.Transcript) > 0 || !slices.Equal(toolbox.Transcript, []string{"true"}) {
		t.Errorf("ran %q in the empty one, %q in the toolbox", empty.Transcript, toolbox.Transcript)
	}
	if _, err := os.Stat(toolbox.Path("/run")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("something is left in the toolbox")
	}
}

// headerOf is what programs of an architecture begin with.
func headerOf(arch string) elf.FileHeader {
	a, _ := debian.LookupArch(arch)
	return a.ELF
}
