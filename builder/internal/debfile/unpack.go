// SPDX-License-Identifier: Apache-2.0

package debfile

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	pathrs "github.com/cyphar/filepath-securejoin/pathrs-lite"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder/guard"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Options says how Unpack writes the files of packages. The zero value writes all of them unchanged.
type Options struct {
	// Exclude names directories whose content is left out, such as "usr/share/doc"; see Documentation.
	Exclude []string
	// MergedUsr makes /bin, /sbin and /lib* links to the directories of the same names in /usr, as in every Debian
	// since bookworm, and writes the packages' files for them there.
	MergedUsr bool
	// SkipOwners leaves all files to the user that writes them, for a user namespace with a single ID.
	SkipOwners bool
	// Workers is the number of packages unpacked at the same time; 0 stands for 2. More than the number of processors
	// is of no use.
	Workers int
	// Unpacked, which may be nil, is called with the number of packages that are unpacked, one call at a time.
	Unpacked func(n int)
}

// Documentation returns a list for Options.Exclude: directories that programs do not need, with more than half of the
// files.
func Documentation() []string {
	return []string{
		"usr/share/bug", "usr/share/doc", "usr/share/doc-base", "usr/share/info", "usr/share/lintian",
		"usr/share/locale", "usr/share/man",
	}
}

// mergedDirs are the directories that a merged /usr replaces by links.
var mergedDirs = []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"}

// Unpack writes the files of packages below the directory root, without running any of them. It keeps owners, modes
// with setuid bits, times, hard and symbolic links. Device nodes, which no package of Debian has, are an error.
//
// Nothing is written outside of root, whatever names and links the packages and root contain. The result does
// not depend on the order in which the workers finish: of two packages with the same file, the one later in
// debs wins, and a directory wins over a symbolic link of the same name, as links are made last. The
// attributes of a directory are from the first package that has it.
func Unpack(ctx context.Context, debs []string, root string, opts Options) (err error) {
	u := &unpacker{opts: opts, names: map[string]entry{}}
	if u.root, err = os.OpenFile(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	defer func() { err = errors.Join(err, u.root.Close()) }()
	if opts.MergedUsr {
		if err := mergeUsr(u.root); err != nil {
			return fmt.Errorf("unpack: %w", err)
		}
	}
	g, groupCtx := errgroup.WithContext(ctx)
	const defaultWorkers = 2
	g.SetLimit(defaultWorkers)
	if opts.Workers > 0 {
		g.SetLimit(opts.Workers)
	}
	unpacked, counting := 0, sync.Mutex{}
	for _, rank := range largestFirst(debs) {
		deb := debs[rank]
		g.Go(func() error {
			if err := guard.Parse(func() error { return u.unpack(groupCtx, deb, rank) }); err != nil {
				return fmt.Errorf("unpack %s: %w", deb, err)
			}
			if opts.Unpacked != nil {
				counting.Lock()
				defer counting.Unlock()
				unpacked++
				opts.Unpacked(unpacked)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := u.finish(ctx); err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	return nil
}

// largestFirst returns the indices of the files by size, the largest first, so that the workers finish at
// about the same time.
func largestFirst(debs []string) []int {
	sizes := make([]int64, len(debs))
	order := make([]int, len(debs))
	for i, deb := range debs {
		order[i] = i
		if info, err := os.Stat(deb); err == nil { // otherwise opening it reports the error
			sizes[i] = info.Size()
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(sizes[b], sizes[a]) })
	return order
}

// mergeUsr makes the links of a merged /usr that are missing.
func mergeUsr(root *os.File) error {
	for _, name := range mergedDirs {
		dir, err := pathrs.MkdirAllHandle(root, "usr/"+name, 0o755)
		if err != nil {
			return err
		}
		if err := dir.Close(); err != nil {
			return err
		}
	}
	// Reopened: root is only a path (O_PATH).
	dir, err := pathrs.Reopen(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return err
	}
	defer dir.Close()
	for _, name := range mergedDirs {
		if err := unix.Symlinkat("usr/"+name, int(dir.Fd()), name); err != nil && !errors.Is(err, unix.EEXIST) {
			return &os.PathError{Op: "symlink", Path: "/" + name, Err: err}
		}
	}
	return nil
}

// unpacker is the state shared by the workers of one Unpack.
type unpacker struct {
	root *os.File // O_PATH
	opts Options

	// naming is held from an entry's claim of a name until the entry has that name in the tree. Otherwise a
	// package that lost the name in between would overwrite the winner's file.
	naming sync.Mutex

	mu    sync.Mutex
	names map[string]entry // by name, the winning entry
	links []entry          // symbolic links, made last
}

// entry is one member of a data.tar.
type entry struct {
	name   string // relative to the root, clean, and below /usr if that is merged
	rank   int    // index of its package in debs
	header *tar.Header
}

func (e entry) isDir() bool  { return e.header.Typeflag == tar.TypeDir }
func (e entry) isLink() bool { return e.header.Typeflag == tar.TypeSymlink }

// claim reports whether an entry wins its name, and records it if so.
func (u *unpacker) claim(e entry) (bool, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if old, taken := u.names[e.name]; taken {
		switch {
		case e.isDir() && old.isDir():
			if e.rank > old.rank {
				return false, nil
			}
		case e.isDir() && old.isLink():
		case e.isLink() && old.isDir():
			return false, nil
		case e.isDir() || old.isDir():
			return false, errors.New("a directory in one package and a file in another")
		case e.rank < old.rank:
			return false, nil
		}
	}
	u.names[e.name] = e
	return true, nil
}

// unpack writes one package, except its symbolic links.
func (u *unpacker) unpack(ctx context.Context, deb string, rank int) (err error) {
	f, err := diskimage.OpenRegular(deb)
	if err != nil {
		return err
	}
	defer f.Close()
	plain, err := OpenData(f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plain.Close()) }()
	w := &worker{unpacker: u, buf: make([]byte, 128<<10)}
	defer w.close()
	t := tar.NewReader(plain)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		header, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("data.tar: %w", err)
		}
		if err := w.write(t, header, rank); err != nil {
			return fmt.Errorf("%q: %w", header.Name, err)
		}
	}
	// Read to the end of the compressed data, where its checksum is.
	if _, err := io.Copy(io.Discard, plain); err != nil {
		return fmt.Errorf("data.tar: %w", err)
	}
	return nil
}

// targetName returns the name below the root that a member is written to; "" is the root itself.
func (u *unpacker) targetName(name string) (target string, wanted bool) {
	target = strings.TrimPrefix(path.Clean("/"+name), "/") // ".." ends at the root
	if u.opts.MergedUsr {
		top, _, deeper := strings.Cut(target, "/")
		if slices.Contains(mergedDirs, top) {
			if !deeper {
				return "", false // the directory itself, or the link in newer packages
			}
			target = "usr/" + target
		}
	}
	for _, dir := range u.opts.Exclude {
		if strings.HasPrefix(target, dir+"/") {
			return "", false
		}
	}
	return target, true
}

// finish makes the symbolic links and then sets the attributes of directories, which writing into them would change.
func (u *unpacker) finish(ctx context.Context) error {
	w := &worker{unpacker: u}
	defer w.close()
	slices.SortStableFunc(u.links, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	for _, e := range u.links {
		if err := ctx.Err(); err != nil {
			return err
		}
		if u.names[e.name] != e {
			continue
		}
		if err := w.link(e); err != nil {
			return fmt.Errorf("%q: %w", e.name, err)
		}
	}
	var dirs []entry
	for _, e := range u.names {
		if e.isDir() {
			dirs = append(dirs, e)
		}
	}
	// Descending, so that a directory comes after those below it.
	slices.SortFunc(dirs, func(a, b entry) int { return strings.Compare(b.name, a.name) })
	for _, e := range dirs {
		dir, err := pathrs.MkdirAllHandle(u.root, e.name, 0o755)
		if err != nil {
			return fmt.Errorf("%q: %w", e.name, err)
		}
		if err := errors.Join(u.setAttributes(dir, e.header), dir.Close()); err != nil {
			return fmt.Errorf("%q: %w", e.name, err)
		}
	}
	return nil
}

// setAttributes sets owner, mode and time of a file or directory, in the order in which none changes another.
func (u *unpacker) setAttributes(f *os.File, h *tar.Header) error {
	fd := int(f.Fd())
	if !u.opts.SkipOwners {
		if err := unix.Fchown(fd, h.Uid, h.Gid); err != nil {
			return fmt.Errorf("set owner %d:%d: %w", h.Uid, h.Gid, err)
		}
	}
	const permissions = 0o7777 // setuid, setgid and sticky bits too
	if err := unix.Fchmod(fd, uint32(h.Mode)&permissions); err != nil {
		return fmt.Errorf("set mode %o: %w", h.Mode, err)
	}
	// Through the open file: another worker may have replaced its name. Times in .debs are whole seconds.
	at := unix.NsecToTimeval(h.ModTime.UnixNano())
	if err := unix.Futimes(fd, []unix.Timeval{at, at}); err != nil {
		return fmt.Errorf("set time: %w", err)
	}
	return nil
}
