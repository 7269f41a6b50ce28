// SPDX-License-Identifier: Apache-2.0

package step

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Clean removes files that the build left in the target: downloaded packages and lists, logs, the machine ID,
// the host's name servers, and everything in directories that are mount points at boot.
type Clean struct{ base }

func (Clean) Kind() string { return "clean" }

func (Clean) Title() string { return "clean up" }

// cleanFiles are the files to remove.
var cleanFiles = []string{
	localSources,
	"/var/cache/apt/pkgcache.bin",
	"/var/cache/apt/srcpkgcache.bin",
	"/var/cache/ldconfig/aux-cache", // inode numbers of the build
	"/var/log/alternatives.log",
	"/var/log/apt/eipp.log.xz",
	"/var/log/apt/history.log",
	"/var/log/apt/term.log",
	"/var/log/bootstrap.log",
	"/var/log/dpkg.log",
	"/var/lib/dpkg/available-old",
	"/var/lib/dpkg/diversions-old",
	"/var/lib/dpkg/statoverride-old",
	"/var/lib/dpkg/status-old",
	"/var/cache/debconf/config.dat-old",
	"/var/cache/debconf/templates.dat-old",
}

// cleanDirs are the directories to empty.
var cleanDirs = []string{
	"/dev", "/proc", "/run", "/sys", "/tmp", "/var/tmp",
	archivesDir,
	listsDir,
}

func (Clean) Run(_ context.Context, s *Context) error {
	for _, name := range cleanFiles {
		if err := s.Target.Remove(name); err != nil {
			return err
		}
	}
	for _, dir := range cleanDirs {
		if err := empty(s.Target, dir); err != nil {
			return err
		}
	}
	// The first boot fills in an empty machine-id (machine-id(5)); otherwise all clones would have the same.
	id, err := s.Target.ReadFile(machineIDName)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && string(id) != uninitialized {
		if err := s.Target.WriteFile(machineIDName, nil, 0o444); err != nil {
			return err
		}
	}
	// D-Bus uses the same ID. If its file is not a link to machine-id, it is made again at boot.
	if info, err := s.Target.Lstat("/var/lib/dbus/machine-id"); err == nil && info.Mode().IsRegular() {
		if err := s.Target.Remove("/var/lib/dbus/machine-id"); err != nil {
			return err
		}
	}
	for _, name := range resolverFiles {
		// A file that a hook wrote stays, and so does a link.
		info, err := s.Target.Lstat(name)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		text, err := s.Target.ReadFile(name)
		if err != nil {
			return err
		}
		if bytes.Equal(text, s.Resolver) {
			if err := s.Target.Remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// resolverFiles may hold the name servers of the host: debootstrap copies its resolv.conf, and the maintainer script of
// systemd-resolved copies that when it makes the link.
var resolverFiles = []string{"/etc/resolv.conf", "/etc/.resolv.conf.systemd-resolved.bak"}

// Cleaned returns the tree as Clean would leave it, for an image of a build that has not reached Clean.
func Cleaned(tree diskimage.Tree, resolver []byte) diskimage.Tree {
	tree = diskimage.WithoutContents(tree, relative(cleanDirs))
	files, resolvers := relative(cleanFiles), relative(resolverFiles)
	machineIDs := relative([]string{machineIDName, "/var/lib/dbus/machine-id"})
	tree = diskimage.Filter(tree, func(e diskimage.Entry) bool {
		switch {
		case slices.Contains(files, e.Name), e.Name == machineIDs[1] && e.IsRegular():
			return false
		case slices.Contains(resolvers, e.Name) && e.IsRegular():
			return !holds(e, resolver)
		}
		return true
	})
	return diskimage.Map(tree, func(e diskimage.Entry) diskimage.Entry {
		if e.Name == machineIDs[0] && e.IsRegular() && !holds(e, []byte(uninitialized)) {
			e.Mode, e.Size, e.Data, e.Open = e.Mode&^0o7777|0o444, 0, nil, nil
		}
		return e
	})
}

// relative turns names of a Target into names of a Tree.
func relative(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = strings.TrimPrefix(name, "/")
	}
	return out
}

// holds reports whether a file has the content text. Read errors are reported when the file is written.
func holds(e diskimage.Entry, text []byte) bool {
	if e.Size != int64(len(text)) || e.Open == nil {
		return false
	}
	content, err := e.Open()
	if err != nil {
		return false
	}
	defer content.Close()
	data := make([]byte, len(text))
	n, _ := content.ReadAt(data, 0)
	return bytes.Equal(data[:n], text)
}

// empty removes the content of a directory, but not the directory.
func empty(t target.Target, dir string) error {
	info, err := t.Lstat(dir)
	if err != nil || !info.IsDir() {
		return nil
	}
	entries, err := t.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := t.RemoveAll(path.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
