// SPDX-License-Identifier: Apache-2.0

// Package depmod answers the calls of depmod(8) by kernel packages with indexes that were made before.
//
// When a kernel is configured, its postinst has depmod decompress each of its 4500 modules, for 4 to 6 seconds, to
// write the indexes modules.dep, modules.alias and so on. They depend on nothing but the kernel's package and that of
// depmod. So a build has them made once, by the same depmod, in a container of these signed packages alone, and keeps
// them with the packages (Index). In the target, this program is depmod while dpkg configures packages (Hold). It
// writes the indexes that were made if everything that depmod would read is what it was then, and has the real depmod
// take its place otherwise (Run). So a target in which a package or a hook has changed a module, a setting or depmod
// itself gets indexes of its own.
//
// The source for what is read and written is kmod's tools/depmod.c, of version 34.
package depmod

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Name is the base name under which this program is depmod.
const Name = "depmod"

// outputs are the files that depmod writes to the directory of a kernel's modules. Versions of it write some of them.
var outputs = []string{
	"modules.dep", "modules.dep.bin", "modules.alias", "modules.alias.bin", "modules.softdep", "modules.weakdep",
	"modules.symbols", "modules.symbols.bin", "modules.builtin.bin", "modules.builtin.alias.bin", "modules.devname",
}

// read are the files that it reads there, apart from modules.
var read = []string{"modules.order", "modules.builtin", "modules.builtin.modinfo"}

// settings are the directories of its configuration (depmod.d(5)).
var settings = []string{"etc/depmod.d", "run/depmod.d", "usr/local/lib/depmod.d", "usr/lib/depmod.d", "lib/depmod.d"}

// programs are files that decide about what runs as depmod, apart from libraries.
var programs = []string{"bin/kmod", "etc/ld.so.preload"}

// errUnknown is wrapped by the reasons for which it is not certain what depmod would read.
var errUnknown = errors.New("not certain what depmod reads")

// libraries returns the names of all shared libraries of a root file system. In one that has nothing but depmod and
// what it depends on, these are those that depmod may load.
func libraries(root fs.FS) ([]string, error) {
	all, err := fs.Glob(root, "lib/*/*.so*")
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(name string) bool {
		info, err := fs.Stat(root, name)
		return err != nil || !info.Mode().IsRegular()
	}), nil
}

// inputsOf lists what depmod reads to make the indexes of a version of the kernel, its program and the given libraries
// included: lines with a SHA-256 digest and a name.
func inputsOf(root fs.FS, version string, libraries []string) (string, error) {
	var names []string
	for _, dir := range settings {
		entries, err := fs.ReadDir(root, dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		for _, e := range entries {
			names = append(names, path.Join(dir, e.Name()))
		}
	}
	for _, name := range slices.Concat(programs, read) {
		if slices.Contains(read, name) {
			name = path.Join(modulesDir(version), name)
		}
		if _, err := fs.Stat(root, name); err == nil {
			names = append(names, name)
		}
	}
	err := fs.WalkDir(root, modulesDir(version), func(name string, d fs.DirEntry, err error) error {
		base := path.Base(name)
		switch {
		case err != nil:
			return err
		case d.IsDir() && base != version && (strings.HasPrefix(base, ".") || base == "build" || base == "source"):
			return fs.SkipDir
		case d.IsDir(), base == "build", base == "source", strings.HasPrefix(base, "."):
			return nil
		case !d.Type().IsRegular():
			return fmt.Errorf("%s is no file: %w", name, errUnknown)
		case isModule(base):
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	var list strings.Builder
	for _, name := range append(names, libraries...) {
		digest, err := digestOf(root, name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&list, "%s  %s\n", digest, name)
	}
	return list.String(), nil
}

// modulesDir is the directory of the modules of a version of the kernel.
func modulesDir(version string) string { return path.Join("lib/modules", version) }

// isModule reports whether depmod takes the file for a module.
func isModule(base string) bool {
	return slices.ContainsFunc([]string{".ko", ".ko.gz", ".ko.xz", ".ko.zst"},
		func(suffix string) bool { return strings.HasSuffix(base, suffix) })
}

func digestOf(root fs.FS, name string) (string, error) {
	f, err := root.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// inputsName is the name of the list of inputs in an archive of indexes.
const inputsName = "inputs"

// writeArchive writes the indexes that depmod has made in a root file system, and the inputs that it had, as a tar
// archive.
func writeArchive(w io.Writer, root fs.FS, version, inputs string) error {
	files := map[string][]byte{inputsName: []byte(inputs)}
	for _, name := range outputs {
		data, err := fs.ReadFile(root, path.Join(modulesDir(version), name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		files[name] = data
	}
	const least = 2 // the list alone is no result
	if len(files) < least {
		return fmt.Errorf("depmod has written no index of %s", version)
	}
	t := tar.NewWriter(w)
	for _, name := range append([]string{inputsName}, outputs...) {
		data, ok := files[name]
		if !ok {
			continue
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(data)), Mode: 0o644}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := t.Write(data); err != nil {
			return err
		}
	}
	return t.Close()
}

// ArchiveName is the name of the archive of indexes of a version of the kernel, in the directory of Process.Dir.
func ArchiveName(version string) string { return "modules-" + version }

// archivePattern matches each ArchiveName.
const archivePattern = "modules-*"

// Process is what the program has from its caller.
type Process struct {
	// Args are the arguments without the name of the program.
	Args    []string
	Environ []string
	Stdout  io.Writer
	Stderr  io.Writer
	// Root is the root directory, "/" in a target.
	Root string
	// Dir has the archives of Index, and nothing that can write to it is in the container.
	Dir string
}

// Run does what depmod does. It returns an exit status, unless the real depmod takes the place of this program.
func Run(p Process) int {
	version, done, err := p.Write()
	switch {
	case err != nil:
		fmt.Fprintf(p.Stderr, "%s: %v\n", Name, err)
		return 1
	case done:
		fmt.Fprintf(p.Stdout, "%s: took the indexes of the modules of %s that were made before\n", Name, version)
		return 0
	}
	if version != "" {
		fmt.Fprintf(p.Stdout, "%s: no indexes were made of the modules of %s as they are here\n", Name, version)
	}
	err = unix.Exec(p.path(heldPath), append([]string{Name}, p.Args...), p.Environ)
	fmt.Fprintf(p.Stderr, "%s: run %s: %v\n", Name, heldPath, err)
	return 1
}

// path is a file in the root directory.
func (p Process) path(name string) string { return filepath.Join(p.Root, name) }

// Write writes the indexes that the call asks for, if they were made from what is there; done reports whether they
// were.
func (p Process) Write() (version string, done bool, err error) {
	if len(p.Args) != 1 || strings.HasPrefix(p.Args[0], "-") || path.Base(p.Args[0]) != p.Args[0] ||
		slices.ContainsFunc(p.Environ, func(v string) bool { return strings.HasPrefix(v, "LD_") }) {
		return "", false, nil
	}
	version = p.Args[0]
	data, err := os.ReadFile(filepath.Join(p.Dir, ArchiveName(version)))
	if err != nil {
		return version, false, nil // there is none
	}
	t := tar.NewReader(bytes.NewReader(data))
	h, err := t.Next()
	if err != nil || h.Name != inputsName {
		return version, false, fmt.Errorf("read the indexes of %s: no list of inputs", version)
	}
	want, err := io.ReadAll(t)
	if err != nil {
		return version, false, fmt.Errorf("read the indexes of %s: %w", version, err)
	}
	got, err := inputsOf(os.DirFS(p.Root), version, librariesOf(string(want)))
	if err != nil || got != string(want) {
		return version, false, nil // the real depmod has the words for what is wrong
	}
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return version, true, nil
		}
		if err == nil {
			err = p.writeIndex(version, h, t)
		}
		if err != nil {
			return version, false, fmt.Errorf("write the indexes of %s: %w", version, err)
		}
	}
}

// writeIndex writes one index, as a whole.
func (p Process) writeIndex(version string, h *tar.Header, content io.Reader) error {
	if !slices.Contains(outputs, h.Name) {
		return fmt.Errorf("%q is no index", h.Name)
	}
	data, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	name := p.path(path.Join(modulesDir(version), h.Name))
	const mode = 0o644
	if err := os.WriteFile(name+".new", data, mode); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// librariesOf returns the names of libraries in a list of inputs.
func librariesOf(inputs string) []string {
	var all []string
	for line := range strings.Lines(inputs) {
		_, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		if ok, err := path.Match("lib/*/*.so*", name); ok && err == nil {
			all = append(all, name)
		}
	}
	return all
}

// Where depmod is, and where it is while this program is in its place.
const (
	depmodPath = "/sbin/depmod"
	heldPath   = depmodPath + ".vmdebootstrap"
)

// Hold puts program in the place of depmod, if there are archives in dir and depmod is kmod under another name, as in
// Debian. release undoes that; it is nil if nothing was done.
func Hold(root, dir, program string) (release func() error, err error) {
	if found, err := filepath.Glob(filepath.Join(dir, archivePattern)); err != nil || len(found) == 0 {
		return nil, err
	}
	own, held := filepath.Join(root, depmodPath), filepath.Join(root, heldPath)
	target, err := os.Readlink(own)
	if err == nil && target == program {
		// A dpkg that was killed has left it.
		if err := os.Rename(held, own); err != nil {
			return nil, err
		}
		target, err = os.Readlink(own)
	}
	if err != nil || path.Base(target) != "kmod" {
		return nil, nil // there is no depmod, or another
	}
	if err := os.Rename(own, held); err != nil {
		return nil, err
	}
	if err := os.Symlink(program, own); err != nil {
		return nil, errors.Join(err, os.Rename(held, own))
	}
	return func() error {
		if target, err := os.Readlink(own); err == nil && target == program {
			return os.Rename(held, own)
		}
		return os.Remove(held) // a package has brought another
	}, nil
}

// Index has run make the indexes of a version of the kernel, by its arguments, and writes an archive of them to w. The
// root file system must hold nothing but the kernel, depmod, and what that depends on.
func Index(w io.Writer, root fs.FS, version string, run func(args ...string) error) error {
	all, err := libraries(root)
	if err != nil {
		return err
	}
	inputs, err := inputsOf(root, version, all)
	if err != nil {
		return err
	}
	if err := run(Name, version); err != nil {
		return err
	}
	return writeArchive(w, root, version, inputs)
}
