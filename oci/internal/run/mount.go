// SPDX-License-Identifier: Apache-2.0

package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/dirfd"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/mounts"
)

// mounter makes the mounts of a container in its mount namespace.
type mounter struct {
	// root is the mount of the root file system.
	root uint64
	// created are the files and directories that were made to mount on, as far as they are in the root file system.
	created []string
	// single: there is but one id.
	single bool
	// hidden and readonly are files of /proc and /sys.
	hidden, readonly []string
	// kernel says where the first proc and the first copy of the host's /sys are, by those names. All others
	// are copies of them, with what is mounted there.
	kernel map[string]string
}

// enterRoot makes the root file system of a spec the root directory of this process, with all mounts of the spec.
//
// Sources are opened before the root changes and the mounts made after it. So each name means what it says, sources on
// the host and destinations in the container. Symbolic links in there are resolved here: while the old root is mounted
// over the new one, the kernel would follow "/.." to it.
func (m *mounter) enterRoot(spec *specs.Spec) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	trees, err := openTrees(spec.Mounts)
	// A tree that stays open is a way to the host.
	defer closeTrees(trees)
	if err != nil {
		return err
	}
	m.hidden, m.readonly, m.kernel = spec.Linux.MaskedPaths, spec.Linux.ReadonlyPaths, map[string]string{}
	root := spec.Root.Path
	if err := unix.Mount(root, root, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind the root file system %s: %w", root, err)
	}
	if err := mounts.SetAttributes(root, unix.MOUNT_ATTR_NODEV, true); err != nil {
		return fmt.Errorf("let no device be opened in %s: %w", root, err)
	}
	if err := unix.Chdir(root); err != nil {
		return fmt.Errorf("change to the root file system: %w", err)
	}
	oldRoot, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the host's root directory: %w", err)
	}
	defer unix.Close(oldRoot)
	// The old root is then mounted over the new one, see pivot_root(2), but names still begin at the new one.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("make %s the root directory: %w", root, err)
	}
	if m.root, err = mounts.ID("/"); err != nil {
		return err
	}
	// The old root stays until the mounts are made: the kernel allows a new proc only where one can be seen.
	for i, mnt := range spec.Mounts {
		resolved := mnt
		if resolved.Destination, err = securejoin.SecureJoin("/", mnt.Destination); err == nil {
			err = m.mount(resolved, trees[i])
		}
		if err != nil {
			return fmt.Errorf("mount %s on %s: %w", mnt.Source, mnt.Destination, err)
		}
	}
	if err := unix.Fchdir(oldRoot); err != nil {
		return fmt.Errorf("leave the host's root directory: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the host's root directory: %w", err)
	}
	return unix.Chdir("/")
}

// noTree stands for mounts without a source on the host.
const noTree = -1

// openTrees takes a copy of every mount tree that is to be bound. Proc gets the host's, in case that a new one is not
// allowed.
func openTrees(list []specs.Mount) ([]int, error) {
	trees := make([]int, len(list))
	for i := range trees {
		trees[i] = noTree
	}
	for i, mnt := range list {
		source, recursive := mnt.Source, has(mnt, "rbind")
		switch mnt.Type {
		case "bind":
		case "proc":
			source, recursive = "/proc", true
		default:
			continue
		}
		var err error
		if trees[i], err = mounts.OpenTree(source, recursive); err != nil {
			return trees, fmt.Errorf("mount %s on %s: %w", source, mnt.Destination, err)
		}
	}
	return trees, nil
}

func closeTrees(trees []int) {
	for _, tree := range trees {
		if tree != noTree {
			unix.Close(tree)
		}
	}
}

// mount makes one mount below the new root.
func (m *mounter) mount(mnt specs.Mount, tree int) error {
	kernel := path.Join("/", mnt.Source)
	if kernel != "/proc" && kernel != "/sys" {
		return m.mountNew(mnt, tree)
	}
	first, ok := m.kernel[kernel]
	if ok {
		if err := m.ensureDir(mnt.Destination); err != nil {
			return err
		}
		tree, err := mounts.OpenTree(first, true)
		if err != nil {
			return err
		}
		defer unix.Close(tree)
		return mounts.Attach(tree, mnt.Destination)
	}
	m.kernel[kernel] = mnt.Destination
	if err := m.mountNew(mnt, tree); err != nil {
		return err
	}
	return m.protect(kernel, mnt.Destination)
}

// protect hides files of a proc or sysfs, told by where it usually is, and makes some read-only.
func (m *mounter) protect(usual, dst string) error {
	for _, kind := range []struct {
		what  string
		names []string
		do    func(string) error
	}{{"hide", m.hidden, mask}, {"make read-only", m.readonly, makeReadonly}} {
		for _, name := range kind.names {
			if !dirfd.Within(name, usual) {
				continue
			}
			name = path.Join(dst, name[len(usual):])
			if err := kind.do(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s %s: %w", kind.what, name, err)
			}
		}
	}
	return nil
}

// mountNew makes one mount that is no copy of another.
func (m *mounter) mountNew(mnt specs.Mount, tree int) error {
	dst := mnt.Destination
	options, err := mounts.ParseOptions(mnt.Options)
	if err != nil {
		return err
	}
	if mnt.Type == "bind" {
		return m.bind(tree, dst, options)
	}
	if err := m.ensureDir(dst); err != nil {
		return err
	}
	var before []copiedFile
	if options.CopyUp {
		if before, err = readTree(dst); err != nil {
			return err
		}
	}
	err = unix.Mount(mnt.Source, dst, mnt.Type, options.Flags, options.Data)
	if mnt.Type == "devpts" && errors.Is(err, unix.EINVAL) && m.single {
		// The group that terminals belong to is not there.
		options.Data = strings.Join(slices.DeleteFunc(strings.Split(options.Data, ","),
			func(o string) bool { return strings.HasPrefix(o, "gid=") }), ",")
		err = unix.Mount(mnt.Source, dst, mnt.Type, options.Flags, options.Data)
	}
	if mnt.Type == "proc" && errors.Is(err, unix.EPERM) {
		return mounts.Attach(tree, dst)
	}
	if err != nil {
		return err
	}
	if err := writeTree(dst, before); err != nil {
		return err
	}
	if mnt.Type == "tmpfs" && path.Base(dst) == "dev" {
		return linkDevices(dst)
	}
	return nil
}

// bind mounts a tree on a file or directory.
func (m *mounter) bind(tree int, dst string, options mounts.Options) error {
	var st unix.Stat_t
	if err := unix.Fstat(tree, &st); err != nil {
		return err
	}
	ensure := m.ensureFile
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		ensure = m.ensureDir
	}
	if err := ensure(dst); err != nil {
		return err
	}
	if err := mounts.Attach(tree, dst); err != nil {
		return err
	}
	if !options.Devices {
		if err := mounts.SetAttributes(dst, unix.MOUNT_ATTR_NODEV, true); err != nil {
			return err
		}
	}
	return mounts.SetAttributes(dst, options.Attributes, options.Recursive)
}

// mask hides a file behind /dev/null, a directory behind an empty one.
func mask(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return unix.Mount("tmpfs", name, "tmpfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "size=0")
	}
	tree, err := mounts.OpenTree("/dev/null", false)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	if err := mounts.Attach(tree, name); err != nil {
		return err
	}
	return mounts.SetAttributes(name, unix.MOUNT_ATTR_RDONLY, false)
}

func makeReadonly(name string) error {
	tree, err := mounts.OpenTree(name, true)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	if err := mounts.Attach(tree, name); err != nil {
		return err
	}
	return mounts.SetAttributes(name, unix.MOUNT_ATTR_RDONLY, true)
}

// linkDevices makes the links of /dev that the runtime specification asks for.
func linkDevices(dev string) error {
	for _, link := range [][2]string{
		{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"},
		{"/proc/self/fd/2", "stderr"},
		{"pts/ptmx", "ptmx"},
	} {
		if err := os.Symlink(link[0], path.Join(dev, link[1])); err != nil {
			return err
		}
	}
	return nil
}

// ensureDir makes a directory to mount on.
func (m *mounter) ensureDir(dir string) error {
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: dir, Err: unix.ENOTDIR}
		}
		return nil
	}
	if parent := filepath.Dir(dir); parent != dir {
		if err := m.ensureDir(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	return m.note(dir)
}

// ensureFile makes a file to mount on.
func (m *mounter) ensureFile(name string) error {
	if _, err := os.Stat(name); err == nil {
		return nil
	}
	if err := m.ensureDir(filepath.Dir(name)); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDONLY, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), m.note(name))
}

// note remembers what was made in the root file system; on a mount it is gone with that.
func (m *mounter) note(name string) error {
	id, err := mounts.ID(name)
	if err == nil && id == m.root {
		m.created = append(m.created, name)
	}
	return err
}

// copiedFile is a file or directory that a tmpfs begins with.
type copiedFile struct {
	name string
	mode fs.FileMode
	data []byte
}

// readTree reads the files and directories below dir; it is meant for a handful of small ones.
func readTree(dir string) ([]copiedFile, error) {
	var files []copiedFile
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == dir || !d.IsDir() && !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		f := copiedFile{name: name[len(dir):], mode: info.Mode()}
		if !d.IsDir() {
			if f.data, err = os.ReadFile(name); err != nil {
				return err
			}
		}
		files = append(files, f)
		return nil
	})
	return files, err
}

// writeTree makes what readTree found.
func writeTree(dir string, files []copiedFile) error {
	for _, f := range files {
		name := path.Join(dir, f.name)
		var err error
		if f.mode.IsDir() {
			err = os.Mkdir(name, f.mode.Perm())
		} else {
			err = os.WriteFile(name, f.data, f.mode.Perm())
		}
		if err != nil {
			return err
		}
		// Whatever the umask, and with the sticky bit.
		if err := os.Chmod(name, f.mode); err != nil {
			return err
		}
	}
	return nil
}
