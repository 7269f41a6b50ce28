// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// mediumDir is the directory of a root file system whose content belongs on the live medium itself, beside the
// squashfs, such as the packages that an installer needs. live-boot mounts the medium at /run/live/medium.
const mediumDir = "var/lib/live/medium"

// mediumFiles returns the files in mediumDir by their names on the medium; none if there is no such directory. They
// have the time made, and are read when the medium is written.
func mediumFiles(files target.Files, made time.Time) ([]diskimage.Entry, error) {
	// mediumDir is left out of the squashfs by its name, so it must be where its name says.
	for dir := "/" + mediumDir; dir != "/"; dir = path.Dir(dir) {
		info, err := files.Lstat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			return nil, fmt.Errorf("%s is not a directory", dir)
		}
	}
	var found []diskimage.Entry
	var read func(dir string) error
	read = func(dir string) error {
		entries, err := files.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, d := range entries {
			name := path.Join(dir, d.Name())
			e, err := mediumEntry(files, name, made)
			if err != nil {
				return err
			}
			found = append(found, e)
			if e.IsDir() {
				if err := read(name); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return found, read("/" + mediumDir)
}

// mediumEntry returns one of mediumFiles.
func mediumEntry(files target.Files, name string, made time.Time) (diskimage.Entry, error) {
	info, err := files.Lstat(name)
	if err != nil {
		return diskimage.Entry{}, err
	}
	onMedium := strings.TrimPrefix(name, "/"+mediumDir+"/")
	mode := uint32(info.Mode().Perm())
	switch info.Mode().Type() {
	case fs.ModeDir:
		return diskimage.DirEntry(onMedium, mode, made), nil
	case fs.ModeSymlink:
		text, err := files.Readlink(name)
		return diskimage.SymlinkEntry(onMedium, text, made), err
	case 0:
		e := diskimage.FileEntry(onMedium, mode, nil, made)
		e.Size = info.Size()
		e.Open = func() (diskimage.Content, error) {
			data, err := files.ReadFile(name)
			return readFile{bytes.NewReader(data)}, err
		}
		return e, nil
	}
	return diskimage.Entry{}, fmt.Errorf("%s is no file, directory or symbolic link", name)
}

// readFile is the content of a file that has been read.
type readFile struct{ *bytes.Reader }

// Close implements diskimage.Content.
func (readFile) Close() error { return nil }
