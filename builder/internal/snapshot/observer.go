// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// mostWatched is how many directories are watched: more than a desktop has, and about 60 MB of the kernel's memory.
// What sees more of them, because somebody builds in a home directory, is not worth the wait.
const mostWatched = 65536

// usage is what was done with files of directories that were watched.
type usage struct {
	// opened are files that were opened, or executed, and directories that were listed.
	opened []string
	// changed are names that were made, removed, or given other contents or attributes.
	changed []string
}

// observe runs something while directories are watched, each without those in it. unknown says why not all of the usage
// could be seen; err is that of run. tmp is a directory for files of the watch itself.
func observe(dirs []string, tmp string, run func() error) (use usage, unknown, err error) {
	marks, err := os.MkdirTemp(tmp, "observe-")
	if err != nil {
		return usage{}, nil, err
	}
	watch, unknown := watchDirs(dirs, marks)
	if err = run(); unknown == nil {
		use, unknown = watch.finish()
	}
	return use, unknown, errors.Join(err, os.RemoveAll(marks))
}

// observer watches directories (inotify(7)).
type observer struct {
	events *os.File
	marks  string
	done   chan struct{}

	// What the reader finds out, to be looked at when done is closed.
	opened, changed map[string]bool
	trouble         error // why not everything was seen
}

// Events of a watched directory that are use of a file, and change.
const (
	changeEvents = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MODIFY | unix.IN_MOVE | unix.IN_ATTRIB
	useEvents    = unix.IN_OPEN | changeEvents
)

// watchDirs begins to watch directories. marks is an empty directory that nobody else uses.
func watchDirs(dirs []string, marks string) (_ *observer, err error) {
	if len(dirs) > mostWatched {
		return nil, &tooMuchError{dirs[0], fmt.Sprintf("%d directories", mostWatched)}
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch files: %w", err)
	}
	o := &observer{
		events: os.NewFile(uintptr(fd), "inotify"), marks: marks, done: make(chan struct{}),
		opened: map[string]bool{}, changed: map[string]bool{},
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, o.events.Close())
		}
	}()
	watched := map[int32]string{}
	add := func(dir string, mask uint32) error {
		wd, err := unix.InotifyAddWatch(fd, dir, mask|unix.IN_ONLYDIR|unix.IN_DONT_FOLLOW)
		if err != nil {
			return fmt.Errorf("watch %s: %w", dir, err)
		}
		watched[int32(wd)] = dir
		return nil
	}
	if err := add(marks, unix.IN_CREATE); err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		if err := ignoreDenied(add(dir, useEvents)); err != nil {
			return nil, err
		}
	}
	go o.read(watched)
	return o, nil
}

// ignoreDenied drops the error of what a hook, with the caller's permissions, cannot see either.
func ignoreDenied(err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// read gathers events until there is one in the directory of marks.
func (o *observer) read(watched map[int32]string) {
	defer close(o.done)
	buf := make([]byte, 1<<16)
	for {
		n, err := o.events.Read(buf)
		if err != nil {
			o.trouble = fmt.Errorf("watch files: %w", err)
			return
		}
		for rest := buf[:n]; len(rest) >= unix.SizeofInotifyEvent; {
			// struct inotify_event of inotify(7): wd, mask, cookie, len, name.
			wd, mask := int32(binary.NativeEndian.Uint32(rest)), binary.NativeEndian.Uint32(rest[4:])
			length := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(rest[12:]))
			base := bytes.TrimRight(rest[unix.SizeofInotifyEvent:length], "\x00")
			rest = rest[length:]
			dir := watched[wd]
			switch {
			case dir == o.marks && mask&unix.IN_CREATE != 0:
				return
			case mask&unix.IN_Q_OVERFLOW != 0:
				o.trouble = errors.New("more files were opened than the kernel could tell")
			case mask&changeEvents != 0:
				o.changed[filepath.Join(dir, string(base))] = true
			case mask&unix.IN_OPEN != 0:
				o.opened[filepath.Join(dir, string(base))] = true
			}
		}
	}
}

// finish ends the watch. The error says why not everything was seen.
func (o *observer) finish() (usage, error) {
	if err := os.WriteFile(filepath.Join(o.marks, rand.Text()), nil, 0o600); err != nil {
		return usage{}, errors.Join(err, o.events.Close())
	}
	<-o.done
	use := usage{slices.Sorted(maps.Keys(o.opened)), slices.Sorted(maps.Keys(o.changed))}
	return use, errors.Join(o.trouble, o.events.Close())
}
