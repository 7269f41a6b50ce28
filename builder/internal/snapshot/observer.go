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

// maxWatched limits the number of watched directories: more than a desktop has, and about 60 MB of kernel memory.
const maxWatched = 65536

// usage is what happened to files of watched directories.
type usage struct {
	// opened are files that were opened or executed, and directories that were listed.
	opened []string
	// changed are names that were created, removed, or whose contents or attributes changed.
	changed []string
}

// observe calls run while it watches directories, not recursively. unknown is the reason why the usage is
// incomplete; err is the error of run. tmp is a directory for files of the watch itself.
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

	// The results of read, valid when done is closed.
	opened, changed map[string]bool
	err             error // why the results are incomplete
}

// The events that mean use and change of a file.
const (
	changeEvents = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MODIFY | unix.IN_MOVE | unix.IN_ATTRIB
	useEvents    = unix.IN_OPEN | changeEvents
)

// watchDirs starts watching directories. marks is an empty directory that nothing else uses.
func watchDirs(dirs []string, marks string) (_ *observer, err error) {
	if len(dirs) > maxWatched {
		return nil, &tooLargeError{dirs[0], fmt.Sprintf("%d directories", maxWatched)}
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

// ignoreDenied drops errors for files that a hook, with the caller's permissions, cannot see either.
func ignoreDenied(err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// read collects events until there is one in the directory of marks.
func (o *observer) read(watched map[int32]string) {
	defer close(o.done)
	buf := make([]byte, 1<<16)
	for {
		n, err := o.events.Read(buf)
		if err != nil {
			o.err = fmt.Errorf("watch files: %w", err)
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
				o.err = errors.New("the kernel's queue of file events has overflowed")
			case mask&changeEvents != 0:
				o.changed[filepath.Join(dir, string(base))] = true
			case mask&unix.IN_OPEN != 0:
				o.opened[filepath.Join(dir, string(base))] = true
			}
		}
	}
}

// finish ends the watch. The error says why the usage is incomplete.
func (o *observer) finish() (usage, error) {
	if err := os.WriteFile(filepath.Join(o.marks, rand.Text()), nil, 0o600); err != nil {
		return usage{}, errors.Join(err, o.events.Close())
	}
	<-o.done
	use := usage{slices.Sorted(maps.Keys(o.opened)), slices.Sorted(maps.Keys(o.changed))}
	return use, errors.Join(o.err, o.events.Close())
}
