// SPDX-License-Identifier: Apache-2.0

package dpkg

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// RunExtract extracts packages into a directory, without registering them: debootstrap does that with the required
// packages, so that a dpkg is there which can install them. The arguments are the directory and the names of the
// packages, below it. All are decompressed in advance and in parallel, and their files written in the order of the
// packages, as tar --keep-old-files would: what exists is an error, unless both are directories. It returns an exit
// status.
func RunExtract(p Process) int {
	const name = "extract-packages"
	if len(p.Args) < 1 {
		fmt.Fprintf(p.Stderr, "%s: usage: %s DIRECTORY PACKAGE...\n", name, name)
		return statusUsage
	}
	p.openPackages()
	if err := p.extractAll(context.Background(), p.Args[0], p.Args[1:]); err != nil {
		fmt.Fprintf(p.Stderr, "%s: %v\n", name, err)
		return statusFailed
	}
	return 0
}

// extractAll extracts packages, whose names are relative to dir.
func (p Process) extractAll(ctx context.Context, dir string, names []string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	files := make([]string, len(names))
	for i, name := range names {
		files[i] = filepath.Join(dir, name)
	}
	inside, leave, err := enter(dir)
	if errors.Is(err, unix.EPERM) { // as in a container that Docker made: unshare(2) is not among what its filter allows
		fmt.Fprintf(p.Stdout, "I: Extracting by tar, because a thread cannot have a root directory of its own here\n")
		for _, file := range files {
			if err := p.extractWithTar(ctx, dir, file); err != nil {
				return fmt.Errorf("extract %s: %w", file, err)
			}
		}
		return nil
	}
	if err != nil {
		return err
	}
	defer leave()
	packages := newReader(int64(runtime.NumCPU()), p.packages).readAll(ctx, files)
	u := &unpacker{Process: p, began: p.Now(), users: map[string]int{}, groups: map[string]int{}}
	for i, pending := range packages {
		d, err := pending.wait()
		if err == nil {
			inside(func() { err = u.extract(d) })
		} else {
			err = notOurs("%w", err)
		}
		pending.release()
		if errors.Is(err, errNotOurs) {
			err = p.extractWithTar(ctx, dir, files[i])
		}
		if err != nil {
			return fmt.Errorf("extract %s: %w", files[i], err)
		}
	}
	return nil
}

// enter makes dir the root directory of one thread, so that no link in it leads out. inside runs a function there;
// others, such as those that start programs of the directory outside, stay where they are.
func enter(dir string) (inside func(func()), leave func(), err error) {
	work := make(chan func())
	ready := make(chan error)
	go func() {
		// The thread ends with the goroutine, which never unlocks it.
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_FS)
		if err == nil { // otherwise all threads would have the new root directory
			err = errors.Join(unix.Chroot(dir), unix.Chdir("/"))
		}
		ready <- err
		for f := range work {
			f()
			ready <- nil
		}
	}()
	if err := <-ready; err != nil {
		close(work)
		return nil, nil, fmt.Errorf("enter %s: %w", dir, err)
	}
	return func(f func()) { work <- f; <-ready }, func() { close(work) }, nil
}

// extract writes the files of one package, by names relative to the root directory, where it is: in a container without
// mounts, absolute names in /proc mean that of the container. It wraps errNotOurs, and has written nothing, if the
// package has members that this program does not know.
func (u *unpacker) extract(d *deb) error {
	for _, m := range d.members {
		switch m.header.Typeflag {
		case tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink:
		default:
			return notOurs("%s has the type %q", m.path, m.header.Typeflag)
		}
	}
	var dirs []member
	for _, m := range d.members {
		err := u.make(m, "."+m.path)
		switch {
		case m.header.Typeflag != tar.TypeDir:
		case err == nil:
			dirs = append(dirs, m)
		case errors.Is(err, fs.ErrExist):
			if info, statErr := os.Stat("." + m.path); statErr == nil && info.IsDir() {
				err = nil
			}
		}
		if err != nil {
			return err
		}
	}
	// Their files have changed their times.
	for _, m := range slices.Backward(dirs) {
		at := unix.NsecToTimespec(m.header.ModTime.Unix() * int64(time.Second))
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, "."+m.path, []unix.Timespec{at, at}, 0); err != nil {
			return &os.PathError{Op: "set the time of", Path: m.path, Err: err}
		}
	}
	return nil
}

// extractWithTar has the real programs extract a package.
func (p Process) extractWithTar(ctx context.Context, dir, file string) error {
	deb := exec.CommandContext(ctx, realBackend, "--fsys-tarfile", file)
	unpack := exec.CommandContext(ctx, "tar", "--keep-old-files", "--extract", "--file=-", "--directory="+dir)
	for _, cmd := range []*exec.Cmd{deb, unpack} {
		cmd.Env, cmd.Stderr = p.Environ, p.Stderr
	}
	pipe, err := deb.StdoutPipe()
	if err != nil {
		return err
	}
	unpack.Stdin, unpack.Stdout = pipe, p.Stdout
	if err := deb.Start(); err != nil {
		return err
	}
	return errors.Join(unpack.Run(), deb.Wait())
}
